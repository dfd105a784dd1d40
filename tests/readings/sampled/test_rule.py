"""Are simulated values those of dense matrices that give the same answers? The coupled check, on programs by hand.

proofs_checks/test_simulations_are_exact.py does the same on every script of the conformance suite.
"""

from __future__ import annotations

import pytest
import torch
from implied import implied

from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder
from tpdyn.program.law import Law
from tpdyn.program.program import Program
from tpdyn.readings import finite
from tpdyn.readings.sampled import gaussian
from tpdyn.readings.sampled.gaussian import Side, other


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
    def fresh(self: gaussian.Gaussian, new: torch.Tensor, side: Side, along: torch.Tensor) -> torch.Tensor:
        answers = self.draw[other(side)](new.shape[0]) * self.std
        known = self.asked[other(side)]
        return known.add_to(answers, known.inner(answers), -1.0)

    monkeypatch.setattr(gaussian.Gaussian, "_fresh", fresh)
    assert difference(sgd) > 1e-3


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (3, 1)])
def test_orthogonal_matrices_are_exact(shape: tuple[int, int]) -> None:
    program = orthogonal(*shape)
    assert difference(program, 24) < 1e-12
    leaves = implied(program, 24, vars={len(program) - 1})[1]
    w = leaves["W"] if shape[0] <= shape[1] else leaves["W"].T
    torch.testing.assert_close(w @ w.T, torch.eye(len(w), dtype=w.dtype) * 4)


def orthogonal(rows: int, columns: int) -> Program:
    """`y = tanh(W x), z = tanh(W^T y), u = W z`, W of rows n x columns n with orthogonal rows or columns of length 2."""
    b, high, long = Builder(), Scaling.of(rows, 1), Scaling.of(columns, 1)
    scale = Scaling.of(2 * max(rows, columns) ** -0.5, "-1/2")
    w = b.parameter("W", (high, long), law=Law("orthogonal", scale=scale))
    x = b.parameter("x", (3, long))
    y = b.apply("tanh", b.einsum("bn,mn->bm", x, w))
    z = b.apply("tanh", b.einsum("bm,mn->bn", y, w))
    u = b.einsum("bn,mn->bm", z, w)
    for name, value in (("y", y), ("z", z), ("u", u)):
        b.mark("module", name, b.einsum("bn,cn->bc", value, value))
    b.mark("output", "f", b.einsum("bm,bm->b", u, y))
    return b.build(widths=(16, 24))


def test_orthogonal_matrices_have_the_law_of_dense_ones() -> None:
    """Kernels and their squares over 300 seeds at n = 4; 5 standard errors (39 statistics, false alarms 2e-5).

    Independent entries in place of orthonormal ones are 11 standard errors off, padding by zeros 15.
    """
    program = orthogonal(1, 3)
    named = sorted({mark.view.var for mark in program.marks})
    one = torch.stack([told(implied(program, 4, seed, vars=named)[0], named) for seed in range(300)])
    two = torch.stack([told(finite.run(program, 4, vars=named, seed=seed + 999), named) for seed in range(300)])
    spread = (one.var(0) / 300 + two.var(0) / 300).sqrt()
    found = float(((one.mean(0) - two.mean(0)).abs() / spread)[spread > 1e-12].max())
    assert found < 5


def told(values: dict[int, torch.Tensor], named: list[int]) -> torch.Tensor:
    numbers = torch.cat([values[var].flatten() for var in named])
    return torch.cat([numbers, numbers.square()])


def test_the_implied_leaves_have_the_law_of_the_program(sgd: Program) -> None:
    _, leaves = implied(sgd, 200, vars={len(sgd) - 1})
    assert leaves["W"].std() == pytest.approx(200**-0.5, rel=0.02)


def test_means_constants_and_squares_of_matrices_are_exact() -> None:
    """`y = W x`, W of mean 3/n; `z = D x` and `u = (D * D) x` for `D = y x^T / n + 1/n`, entry by entry."""
    b, n = Builder(), Scaling.of(1, 1)
    law = Law("normal", Scaling.of(3, -1), Scaling.of(1, "-1/2"))
    w, x = b.parameter("W", (n, n), law=law), b.parameter("x", (n,))
    y = b.matmul(w, x)
    outer = b.einsum("i,j->ij", y, x, scale=Scaling.of(1, -1))
    moved = b.combine((1, outer), constant=Scaling.of(1, -1))
    square = b.einsum("ij,ij->ij", moved, moved)
    for name, value in (("y", y), ("z", b.matmul(moved, x)), ("u", b.matmul(square, x))):
        b.mark("module", name, value)
    assert difference(b.build(widths=(16, 24))) < 1e-12


def test_a_matrix_that_is_nothing_but_its_mean_gives_the_sum() -> None:
    b, n = Builder(), Scaling.of(1, 1)
    w = b.parameter("W", (n, n), law=Law("normal", Scaling.of(3, -1), Scaling.of(1, -9)))
    b.mark("output", "f", b.einsum("ij,j->i", w, b.constant("x", 1, (n,))))
    program = b.build(widths=(16, 24))
    (made,) = implied(program, 40, vars={program.marks[0].view.var})[0].values()
    torch.testing.assert_close(made, torch.full((40,), 3.0, dtype=torch.float64))
