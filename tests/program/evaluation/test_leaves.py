"""Mirrors tpdyn/program/evaluation/leaves.py: what is given comes first, what is stored second, a draw last."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder
from tpdyn.program.errors import ReadingError
from tpdyn.program.evaluation.leaves import draw, known
from tpdyn.program.instructions import Law, Leaf

n = Builder.n
W = Leaf("parameter", "w", Law("normal", Scaling(()), n))


def test_what_is_given_comes_before_what_is_stored_and_that_before_a_draw() -> None:
    b = Builder()
    b.parameter("w", (3,))
    program = b.build()
    stored = replace(program, arrays={"w": torch.ones(3).numpy()})
    given = {"w": torch.full((3,), 2.0)}
    assert known(program, W, (3,), 8, {}) is None
    for which, leaves, expected in ((stored, {}, 1.0), (stored, given, 2.0), (program, given, 2.0)):
        value = known(which, W, (3,), 8, leaves)
        assert value is not None and value.tolist() == [expected] * 3


def test_a_leaf_without_a_law_has_to_be_given_and_a_wrong_shape_is_refused() -> None:
    program = Builder().build()
    with pytest.raises(ReadingError, match=r"the leaf x is data: .*give it by leaves=\{'x': ...\} with shape \(2, 5\)"):
        known(program, Leaf("data", "x", Law("data")), (2, 5), 5, {})
    with pytest.raises(ReadingError, match=r"the leaf w was given with shape \(4,\); expected \(3,\) at width 8"):
        known(program, W, (3,), 8, {"w": torch.zeros(4)})


def test_a_draw_depends_on_the_seed_and_the_name_only() -> None:
    first, again = (draw(W, (4, 4), 16, torch.float64, 7) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, draw(W, (4, 4), 16, torch.float64, 8))
    assert not torch.equal(first, draw(replace(W, name="v"), (4, 4), 16, torch.float64, 7))
    seven, far = draw(W, (4,), 16, torch.float64, 7), draw(W, (4,), 16, torch.float64, 7 + 2**32)
    assert not torch.equal(seven, far)  # torch's generator reads the lowest 32 bits only: both are hashed
