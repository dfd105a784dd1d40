"""Mirrors tpdyn/program/evaluation/evaluate.py: what programs do not hold but scripts do; the rest is in test_finite.py."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tpdyn.exponents import Scaling
from tpdyn.program.evaluation.evaluate import evaluate
from tpdyn.program.instructions import Apply, Combine, Concat, Contract, Gather, Law, Leaf, Operand, Scatter, Slice

ONE = Scaling.of(1)
X = torch.arange(12.0, dtype=torch.float64).reshape(3, 4)


def test_an_axis_of_size_one_is_broadcast_or_dropped_as_in_scripts() -> None:
    row, column = X[:1], X[:, :1]
    both = Combine(((ONE, Operand(0, (0, 1))), (ONE, Operand(1, (0, 1)))))
    assert torch.equal(evaluate(both, [row, column], (3, 4), 1), row + column)
    flat = Contract((Operand(0, (5, 0)),))
    assert torch.equal(evaluate(flat, [row], (4,), 1), row[0])


def test_numbers_depend_on_the_width() -> None:
    half = Combine(((Scaling.of(1, -1), Operand(0, (0, 1))),), Scaling.of(2, 1))
    assert torch.equal(evaluate(half, [X], (3, 4), 4), X / 4 + 8)
    power = Apply("power", (Operand(0, (0, 1)),), (Scaling.of(3),))
    assert torch.equal(evaluate(power, [X], (3, 4), 4), X**3)


def test_a_softmax_sums_over_an_axis_that_its_argument_lacks() -> None:
    """Three equal rows of a result: one third each."""
    made = evaluate(Apply("softmax", (Operand(0, (1,)),), along=0), [X[0]], (3, 4), 1)
    assert torch.allclose(made, torch.full((3, 4), 1 / 3, dtype=torch.float64))


@pytest.mark.parametrize("where", [torch.tensor([0, 2, -1]), torch.tensor([[1], [-3]])])
def test_a_negative_index_counts_from_the_end(where: Tensor) -> None:
    rank = where.dim()
    gather = Gather(Operand(0, (9, rank)), Operand(1, tuple(range(rank))), 9)
    shape = (*where.shape, 4)
    assert torch.equal(evaluate(gather, [X, where], shape, 1), X[where])
    scatter = Scatter(Operand(0, (*range(5, 5 + rank), 1)), Operand(1, tuple(range(5, 5 + rank))), 0)
    expected = torch.zeros(3, 4, dtype=torch.float64).index_put((where,), X[where], accumulate=True)
    assert torch.equal(evaluate(scatter, [X[where], where], (3, 4), 1), expected)


def test_a_label_of_size_one_equal_to_the_rank_is_not_taken_for_the_gathered_axis() -> None:
    gather = Gather(Operand(0, (7, 1)), Operand(1, (0,)), 7)
    where = torch.tensor([1, 0])
    assert torch.equal(evaluate(gather, [X[:, :1], where], (2,), 1), X[where, 0])


def test_a_slice_of_one_entry_keeps_its_axis_only_if_the_result_has_it() -> None:
    assert torch.equal(evaluate(Slice.of(Operand(0, (0, 1)), 0, 1, 1, 1), [X], (1, 4), 1), X[1:2])
    assert torch.equal(evaluate(Slice.of(Operand(0, (3, 0)), 3, 1, 1, 1), [X], (4,), 1), X[1])


def test_whole_numbers_stay_whole_and_bools_are_numbers() -> None:
    index = torch.tensor([3, 1])
    kept = evaluate(Slice.of(Operand(0, (0,)), 0, 1, -1, 2), [index], (2,), 1, type="int")
    assert kept.dtype == torch.int64 and kept.tolist() == [1, 3]
    joined = evaluate(Concat((Operand(0, (0,)), None), (Scaling.of(2), ONE), 0), [index], (3,), 1, type="int")
    assert joined.tolist() == [3, 1, 0]
    mask = evaluate(Apply("logical_not", (Operand(0, (0,)),)), [torch.tensor([True, False])], (2,), 1)
    assert mask.dtype == torch.float64 and mask.tolist() == [0, 1]


def test_a_leaf_is_no_step() -> None:
    with pytest.raises(ValueError, match="the leaf w is not a step"):
        evaluate(Leaf("parameter", "w", Law("zero")), [], (2,), 1)
