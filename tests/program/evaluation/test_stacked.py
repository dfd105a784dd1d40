"""Mirrors tpdyn/program/evaluation/stacked.py: an instruction on stacked values is the instruction on each of them."""

from __future__ import annotations

import pytest
import torch

from tpdyn.exponents import Scaling
from tpdyn.program.evaluation.evaluate import evaluate
from tpdyn.program.evaluation.stacked import stacked, stacked_view
from tpdyn.program.evaluation.views import to_view
from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Eigenvalues,
    Gather,
    Instruction,
    Operand,
    Scatter,
    Slice,
    Spectral,
)
from tpdyn.program.program import Factor, View

ONE, TWO = Scaling.of(1), Scaling.of(2)
CASES: list[tuple[Instruction, list[tuple[int, ...]], tuple[int, ...]]] = [
    (Contract((Operand(0, (0, 2)), Operand(1, (2, 1)))), [(3, 4), (4, 5)], (3, 5)),
    (Combine(((TWO, Operand(0, (1, 0))), (ONE, Operand(1, (0,)))), ONE), [(3, 4), (4,)], (4, 3)),
    (Apply("softmax", (Operand(0, (1, 0)),), along=0), [(3, 4)], (4, 3)),
    (Apply("tanh", (Operand(0, (0,)),)), [(3,)], (3, 2)),
    (Slice.of(Operand(0, (1, 0)), 1, 1, 2, 2), [(5, 3)], (3, 2)),
    (Slice.of(Operand(0, (0, 1)), 1, 1, 1, 1), [(5, 3)], (5,)),
    (Concat((Operand(0, (0, 1)), None, Operand(1, (0,))), (TWO, ONE, ONE), 1), [(3, 2), (3,)], (3, 4)),
    (Eigenvalues(Operand(0, (1, 2)), (1,), (2,), 0), [(4, 4)], (4,)),
    (Spectral(Operand(0, (2,)), Operand(1, (0, 1)), (0,), (1,), 2), [(4,), (4, 4)], (4, 4)),
]


@pytest.mark.parametrize(("instruction", "shapes", "shape"), CASES)
def test_runs_in_front_are_the_runs_one_by_one(
    instruction: Instruction, shapes: list[tuple[int, ...]], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    values = [torch.randn(3, *each, dtype=torch.float64) for each in shapes]
    values[-1] = values[-1][:1] if len(values) > 1 else values[-1]  # one that is the same in every run
    together = evaluate(stacked(instruction), values, (3, *shape), 7)
    for run in range(3):
        alone = evaluate(instruction, [each[min(run, len(each) - 1)] for each in values], shape, 7)
        torch.testing.assert_close(together[run], alone, rtol=1e-12, atol=1e-12)


def test_gather_and_scatter_with_an_index_that_all_runs_share() -> None:
    table, index = torch.randn(3, 6, 4, dtype=torch.float64), torch.tensor([[0, 5, 5]])
    gather = Gather(Operand(0, (2, 1)), Operand(1, (0,)), 2)
    rows = evaluate(stacked(gather), [table, index], (3, 3, 4), 7)
    assert torch.equal(rows, table[:, [0, 5, 5]])
    scatter = Scatter(Operand(0, (2, 1)), Operand(1, (2,)), 0)
    filled = evaluate(stacked(scatter), [rows, index], (3, 6, 4), 7)
    assert torch.equal(filled[:, 5], 2 * table[:, 5])
    assert (filled[:, 1:5] == 0).all()


def test_a_view_of_pieces_has_the_runs_in_front() -> None:
    pieces = {0: torch.randn(2, 3), 1: torch.randn(2, 3)}
    for view in (View((0, 1), ((0,),), stacked=0), View((0, 1), ((0,),), grid=(Factor(0, 1, 2),))):
        together = to_view(stacked_view(view), pieces)
        for run in range(2):
            assert torch.equal(together[run], to_view(view, {k: v[run] for k, v in pieces.items()}))
