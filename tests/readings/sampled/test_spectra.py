"""Are eigenvalues of a matrix of low rank, and functions of it, those of the dense matrix?"""

from __future__ import annotations

import pytest
import torch
from implied import implied
from torch import Tensor

from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.instructions import Apply, Combine, Contract, Eigenvalues, Operand, Spectral
from tpdyn.program.program import Program
from tpdyn.readings import finite
from tpdyn.readings.sampled import spectra
from tpdyn.readings.sampled.atoms import identity
from tpdyn.readings.sampled.matrix import Matrix, Term, entrywise, inner, outer, product

F64 = torch.float64
ONE = torch.ones((), dtype=F64)
N = 9
SIZES = {0: N, 1: N, 2: 3}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def square(*terms: Term) -> Matrix:
    return Matrix((N, N), (0, 1), terms, ONE)


def symmetric(shift: float = 0.0, copies: int = 1) -> tuple[Matrix, Tensor]:
    """`c 1 + sum of outer products` with eigenvalues of both signs; the vectors occur in several copies."""
    x, signs = normal(3, N), torch.tensor([1.0, -2.0, 0.5], dtype=F64)
    parts = [outer([(x, (2, 0)), (signs, (2,)), (x, (2, 1))], 1.0 / copies, 2) for _ in range(copies)]
    shifted = [Term(shift, identity((N,)), (0, 1))] if shift else []
    return square(*parts, *shifted), x.T @ (signs[:, None] * x) + shift * torch.eye(N, dtype=F64)


def entries(x: Matrix) -> Tensor:
    return x.tile({}, {})


@pytest.mark.parametrize(("shift", "copies"), [(0.0, 1), (0.3, 1), (-4.0, 2), (0.0, 4)])
def test_eigenvalues_and_functions_are_those_of_the_dense_matrix(shift: float, copies: int) -> None:
    """Four copies of three vectors are more vectors than the matrix has rows."""
    x, dense = symmetric(shift, copies)
    values, vectors = torch.linalg.eigh(dense)
    found = spectra.spectrum(x, (0,), (1,))
    torch.testing.assert_close(found.eigenvalues, values)
    weights = found.eigenvalues.square() + 1
    made = square(*(Term(scale, atom, (0, 1)) for scale, atom in found.function(weights)))
    expected = vectors @ torch.diag(values.square() + 1) @ vectors.T
    torch.testing.assert_close(entries(made), expected)
    a = normal(3, N, seed=5)
    torch.testing.assert_close(made.times((0, 1), a, (2, 1), (2, 0), SIZES), a @ expected)
    torch.testing.assert_close(made.times((0, 1), ONE, (), (), SIZES), expected.sum())
    torch.testing.assert_close(made.times((0, 1), a, (2, 1), (2,), SIZES), (a @ expected).sum(1))
    assert spectra.spectrum(made, (0,), (1,)).eigenvalues.sort()[0] == pytest.approx((values.square() + 1).sort()[0])


def test_products_with_an_identity_are_those_of_matrices() -> None:
    x, dense = symmetric(0.7)
    y = square(outer([(normal(2, N, seed=3), (2, 0)), (normal(2, N, seed=4), (2, 1))], 1.0, 2))
    other = entries(y)
    torch.testing.assert_close(entries(square(*product(x, (0, 2), y, (2, 1), 2))), dense @ other)
    torch.testing.assert_close(entries(square(*product(y, (2, 0), x, (2, 1), 2))), other.T @ dense)
    torch.testing.assert_close(entries(square(*product(x, (0, 2), x, (1, 2), 2))), dense @ dense)
    for labels in ((0, 1), (1, 0)):
        torch.testing.assert_close(inner(x, (0, 1), y, labels, (), SIZES), (dense * other).sum())
    torch.testing.assert_close(inner(x, (0, 1), x, (0, 1), (), SIZES), dense.square().sum())
    doubled = square(entrywise(lambda a: a.square(), [(x, (0, 1))], 2))
    cuts = {0: slice(0, 4), 1: slice(2, 7)}
    torch.testing.assert_close(doubled.tile(cuts, {}), dense.square()[:4, 2:7])


def test_what_has_no_rule_is_refused() -> None:
    x = symmetric()[0]
    found = spectra.spectrum(x, (0,), (1,))
    with pytest.raises(OutsideTheory, match="not a function of the eigenvalues"):
        found.function(normal(N))
    with pytest.raises(OutsideTheory, match="not finite at its repeated eigenvalue"):
        found.function(torch.where(found.eigenvalues.abs() < 1e-9, 1e-400, found.eigenvalues).reciprocal())
    with pytest.raises(OutsideTheory, match="neither of low rank nor a multiple of 1 more"):
        spectra.spectrum(square(entrywise(torch.tanh, [(x, (0, 1))], 2)), (0,), (1,))
    y = square(outer([(normal(2, N, seed=3), (2, 0)), (normal(2, N, seed=4), (2, 1))], 1.0, 2))
    with pytest.raises(OutsideTheory, match="not symmetric"):
        spectra.spectrum(y, (0,), (1,))
    one = square(Term(1.0, identity((N,)), (0, 1)))
    for refused in (lambda: product(one, (0, 1), y, (0, 1), 2), lambda: one.scaled_by((0, 1), normal(N), (0,), 2)):
        with pytest.raises(OutsideTheory, match="the diagonal of a matrix"):
            refused()


# -- the coupled check ----------------------------------------------------------------------------------------------


def preconditioned(descending: bool = False, folded: bool = False) -> Program:
    """Two steps of `W <- W - f(L) G f(R)`, with L and R sums of squares of gradients; `folded`: rows are two axes."""
    b, n, side = Builder(), Scaling.of(1, 1), (Scaling.of(1, 1), Scaling.of(2)) if folded else (Scaling.of(1, 1),)
    k = len(side)
    own = tuple(range(k))
    std = Scaling.of(1, "-1/2")
    w, x = b.parameter("W", (n, *side), std=std), b.parameter("x", (3, *side))
    square: int | None = None
    for _ in range(2):
        h = b.apply(
            "tanh",
            b.add(
                Contract((Operand(x, (0, *(2 + a for a in own))), Operand(w, (1, *(2 + a for a in own))))),
                (Scaling.of(3), n),
            ),
        )
        b.mark("output", "f", b.einsum("bn,bn->b", h, h, scale=Scaling.of(1, -1)))
        g = b.add(
            Contract((Operand(h, (9, 0)), Operand(x, (9, *(1 + a for a in own)))), Scaling.of(1, "-1/2")), (n, *side)
        )
        added = b.add(
            Contract((Operand(g, (9, *own)), Operand(g, (9, *(k + a for a in own)))), Scaling.of(1, -1)), (*side, *side)
        )
        square = added if square is None else b.combine((1, square), (0.5, added))
        rows, columns = tuple(1 + a for a in own), tuple(1 + k + a for a in own)
        length = Scaling.of(2 if folded else 1, 1)
        along = b.add(Eigenvalues(Operand(square, (*rows, *columns)), rows, columns, 0, descending), (length,))
        moved = b.add(Combine(((Scaling.of(1), Operand(along, (0,))),), Scaling.of(0.01)), (length,))
        weights = b.add(Apply("power", (Operand(moved, (0,)),), (Scaling.of(-0.25),)), (length,))
        root = b.add(
            Spectral(
                Operand(weights, (2 * k,)), Operand(square, (*own, *(k + a for a in own))), own,
                tuple(k + a for a in own), 2 * k, descending,
            ),
            (*side, *side),
        )  # fmt: skip
        update = b.add(
            Contract(
                (Operand(g, (0, *(9 + a for a in own))), Operand(root, (*(9 + a for a in own), *(1 + a for a in own))))
            ),
            (n, *side),
        )
        w = b.combine((1, w), (Scaling.of(-0.1), update))
    return b.build(widths=(16, 24))


def difference(program: Program, width: int = 24) -> float:
    named = {mark.view.var for mark in program.marks}
    values, leaves = implied(program, width, 1, vars=named)
    dense = finite.run(program, width, vars=named, leaves=leaves)
    return max(float((values[v] - dense[v]).abs().max() / dense[v].abs().max()) for v in named)


@pytest.mark.parametrize(("descending", "folded"), [(False, False), (True, False), (False, True)])
def test_preconditioned_steps_are_those_of_dense_matrices(descending: bool, folded: bool) -> None:
    assert difference(preconditioned(descending, folded)) < 1e-12


def test_a_function_without_the_eigenvalue_that_repeats_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = spectra.Spectrum.function
    monkeypatch.setattr(spectra.Spectrum, "function", lambda self, weights: whole(self, weights)[:1])
    assert difference(preconditioned()) > 1e-3
