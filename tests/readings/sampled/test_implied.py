"""Are simulated values those of dense matrices that give the same answers? The coupled check, on programs by hand.

proofs_checks/test_simulations_are_exact.py does the same on every script of the conformance suite.
"""

from __future__ import annotations

import pytest
import torch

from tpdyn.program.program import Program
from tpdyn.readings import finite
from tpdyn.readings.sampled import gaussian
from tpdyn.readings.sampled.gaussian import Side, other
from tpdyn.readings.sampled.implied import implied


def difference(program: Program, width: int = 40) -> float:
    named = {mark.view.var for mark in program.marks}
    values, leaves = implied(program, width, 1, vars=named)
    dense = finite.run(program, width, vars=named, leaves=leaves)
    return max(float((values[v] - dense[v]).abs().max() / dense[v].abs().max()) for v in named)


def test_gradient_descent_is_exact(sgd: Program) -> None:
    assert difference(sgd) < 1e-12


def test_an_entrywise_optimizer_is_exact(sign: Program) -> None:
    assert difference(sign) < 1e-12


def test_more_directions_than_the_matrix_has_are_exact(sgd: Program) -> None:
    assert difference(sgd, width=8) < 1e-11


def test_an_operator_without_the_dot_is_seen(sgd: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def fresh(self: gaussian.Gaussian, new: torch.Tensor, side: Side) -> torch.Tensor:
        answers = self.draw[other(side)](new.shape[0]) * self.std
        known = self.asked[other(side)]
        return known.add_to(answers, known.inner(answers), -1.0)

    monkeypatch.setattr(gaussian.Gaussian, "_fresh", fresh)
    assert difference(sgd) > 1e-3


def test_the_implied_leaves_have_the_law_of_the_program(sgd: Program) -> None:
    _, leaves = implied(sgd, 200, vars={len(sgd) - 1})
    assert leaves["W"].std() == pytest.approx(200**-0.5, rel=0.02)
