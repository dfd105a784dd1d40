"""Mirrors tpdyn/recorder/lowering/summing.py: one product sums over any dims, kept or not, of a value or a constant."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from aten_tapes import draw

from tpdyn.program.instructions import Law, Leaf
from tpdyn.recorder.lowered import Lowered
from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.evaluate import evaluate
from tpdyn.recorder.lowering.summing import axes_of, count, reduce
from tpdyn.recorder.lowering.values import Known

X = draw(2, 3, 4)


@pytest.mark.parametrize(("dim", "axes"), [(None, [0, 1, 2]), ([], [0, 1, 2]), (-1, [2]), ((-1, 0), [0, 2]), (1, [1])])
def test_dims_may_be_negative_several_or_all(dim: Any, axes: list[int]) -> None:
    b = LoweredBuilder()
    x = b.leaf(Leaf("data", "x", Law("data")), X)
    assert axes_of(b, x, dim) == axes
    for keepdim in (False, True):
        made = reduce(b, x, axes, keepdim, scale=0.5, times=x)
        position = b.position(made)
        values = evaluate(Lowered(1, b.statements, leaf_values=b.leaf_values))
        expected = 0.5 * X.square().sum(axes, keepdim)
        assert made.shape == tuple(expected.shape)
        assert torch.allclose(values[position].reshape(expected.shape), expected)
    assert count(b, x, axes) == X.numel() // X.sum(axes).numel()


def test_a_sum_of_equal_numbers_is_known() -> None:
    made = reduce(LoweredBuilder(), Known.full((2, 3), 5.0), [1], True)
    assert isinstance(made, Known) and made.shape == (2, 1) and made.number == 15


def test_a_number_has_no_dims() -> None:
    assert axes_of(LoweredBuilder(), 3.0, -1) == []
