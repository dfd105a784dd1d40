"""Does a matrix whose norms of rows were told answer as one matrix with these norms would?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from implied import implied, matrix_of
from torch import Tensor

from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.law import Law
from tpdyn.program.program import Program
from tpdyn.readings import finite
from tpdyn.readings.sampled.gaussian import Gaussian, Orthogonal, Side, other
from tpdyn.readings.sampled.normed import Normed, with_norms

F64 = torch.float64


def made(rows: int, columns: int, seed: int = 0, kind: type[Gaussian] = Gaussian) -> Gaussian:
    generator = torch.Generator().manual_seed(seed)
    size = {"rows": rows, "columns": columns}
    draw = {
        side: lambda k, along=None, n=n: torch.randn(k, n, generator=generator, dtype=F64) for side, n in size.items()
    }
    return kind(rows, columns, 0.5, draw, np.random.default_rng(seed))  # type: ignore[arg-type]


def normal(*shape: int, seed: int = 7) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.mark.parametrize("unit", ["rows", "columns"])
@pytest.mark.parametrize("size", [150, 20])
@pytest.mark.parametrize("before", [False, True])
def test_answers_are_those_of_one_matrix_with_these_norms(unit: Side, size: int, before: bool) -> None:
    """The narrow one is drawn, the other one is not; products before the norms, and its whole norm, count."""
    rows, columns = (40, size) if unit == "rows" else (size, 40)
    operator, x = made(rows, columns), normal(3, size)
    asked = [(other(unit), x, operator.times(x, other(unit)))] if before else []
    whole = operator.squared_norm() if before else None
    operator, norms = with_norms(operator, unit, "W")
    for seed, side in enumerate((unit, other(unit), unit, other(unit))):
        x = normal(2, operator.size[side], seed=seed)
        if seed == 3:
            x = asked[-1][2] + asked[-3][2]  # within what is known
        asked.append((side, x, operator.times(x, side)))
    w = matrix_of(operator, torch.Generator().manual_seed(1))
    for side, x, y in asked:
        torch.testing.assert_close(y, x @ (w.T if side == "columns" else w), rtol=0, atol=1e-12)
    torch.testing.assert_close(w.square().sum(1 if unit == "rows" else 0), norms)
    assert isinstance(operator, Normed)
    assert (operator.stored is None) == (size == 150)
    assert operator.squared_norm() == pytest.approx(float(norms.sum()) if whole is None else whole)
    assert with_norms(operator, unit, "W")[1] is norms
    with pytest.raises(OutsideTheory, match="both rows and columns of W"):
        with_norms(operator, other(unit), "W")


def test_norms_after_the_transpose_are_refused() -> None:
    operator = made(40, 150)
    operator.times(normal(1, 40), "rows")
    with pytest.raises(OutsideTheory, match="norms of rows of W after sums over its rows"):
        with_norms(operator, "rows", "W")


def test_rows_of_an_orthogonal_matrix_have_one_norm() -> None:
    wide = made(4, 6, kind=Orthogonal)
    torch.testing.assert_close(with_norms(wide, "rows", "W")[1], torch.full((4,), 0.25, dtype=F64))
    with pytest.raises(OutsideTheory, match="orthogonal along its rows"):
        with_norms(wide, "columns", "W")


def weight_norm(width_of_rows: Scaling) -> Program:
    """Two steps of `W <- W - D x^T` for `h = tanh(g W x / |W|)`: norms of W, and of what has become of it."""
    b, n = Builder(), Scaling.of(1, 1)
    w = b.parameter("W", (n, width_of_rows), law=Law("normal", Scaling.of(1, -2), Scaling.of(1, "-1/2")))
    x = b.parameter("x", (2, width_of_rows))
    for _ in range(3):
        norm = b.apply("rsqrt", b.einsum("ij,ij->i", w, w))
        h = b.apply("tanh", b.einsum("bi,i->bi", b.einsum("bj,ij->bi", x, w), norm))
        b.mark("output", "f", b.einsum("bi,bi->b", h, h, scale=Scaling.of(1, -1)))
        d = b.einsum("bi,i->bi", h, norm)
        back = b.einsum("bi,ij->bj", d, w)
        b.mark("output", "d", b.einsum("bj,bj->b", back, back, scale=Scaling.of(1, -1)))
        along = b.einsum("ij,ij->i", b.einsum("bi,bj->ij", d, x), w)
        gradient = b.combine((1, b.einsum("bi,bj->ij", d, x)), (-0.1, b.einsum("i,ij->ij", along, w)))
        x = b.combine((1, x), (0.1, b.apply("tanh", back)))
        w = b.combine((1, w), (-0.05, gradient))
    return b.build(widths=(16, 24))


@pytest.mark.parametrize("factor", [1, 8])
def test_weight_norm_is_that_of_dense_matrices(factor: int) -> None:
    program = weight_norm(Scaling.of(factor, 1))
    named = {mark.view.var for mark in program.marks}
    values, leaves = implied(program, 40, 1, vars=named)
    dense = finite.run(program, 40, vars=named, leaves=leaves)
    for var in named:
        torch.testing.assert_close(values[var], dense[var], rtol=1e-11, atol=0)


def test_norms_that_are_drawn_apart_from_the_rows_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    program = weight_norm(Scaling.of(8, 1))
    named = {mark.view.var for mark in program.marks}
    monkeypatch.setattr(Normed, "_fresh", Gaussian._fresh)
    values, leaves = implied(program, 40, 1, vars=named)
    dense = finite.run(program, 40, vars=named, leaves=leaves)
    assert max(float((values[v] - dense[v]).abs().max() / dense[v].abs().max()) for v in named) > 1e-3
