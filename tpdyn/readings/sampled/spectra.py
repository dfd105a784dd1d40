"""What are the eigenvalues of a matrix of low rank, at any width? Those of a small matrix, and one number for all others.

Write `S = c 1 + Q^T M Q` with k orthonormal rows Q (k, n) and M (k, k). Then S has the eigenvalues of `M + c`, and c itself
n - k times. A function of S is `f(c) 1 + Q^T (f(M + c) - f(c)) Q`: exact at every width, without storing a matrix.
Shampoo's roots and K-FAC's inverses are such functions. Their matrices are sums of a few outer products and a multiple of
1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from tpdyn.program.errors import OutsideTheory
from tpdyn.readings.sampled.atoms import Atom, Basis, Identity, Lazy, LowRank, as_lazy, identity
from tpdyn.readings.sampled.einsum import Labels
from tpdyn.readings.sampled.matrix import Matrix
from tpdyn.readings.sampled.rows import inner

EQUAL = 1e-9
"""Weights of the one eigenvalue that repeats differ by round-off at most, relative to the largest."""
SYMMETRIC = {torch.float64: 1e-6, torch.float32: 1e-2}
"""How much of the squared length of a matrix its projection onto the span of its rows may lack."""


@final
@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues of a symmetric matrix, in ascending order, and the eigenvectors that are not arbitrary.

    eigenvalues: all n. vectors: (k, n), orthonormal. places: where their eigenvalues stand among all. sizes: of the axes whose
    product a row is.
    """

    eigenvalues: Tensor
    vectors: Basis
    places: Tensor
    sizes: tuple[int, ...]

    def function(self, weights: Tensor) -> list[tuple[float, Atom]]:
        """Return `V diag(w) V^T` as atoms with factors; weights: (n,), a function of the eigenvalues in their order."""
        others = torch.ones_like(weights, dtype=torch.bool)
        others[self.places] = False
        rest = float(weights[others][0]) if bool(others.any()) else 0.0
        spread = float((weights[others] - rest).abs().max()) if bool(others.any()) else 0.0
        if not spread <= EQUAL * float(weights.abs().max()):
            raise OutsideTheory(
                "outside the sampler: a function of a matrix of low rank that is not finite at its repeated eigenvalue"
                if spread != spread or spread == float("inf")
                else "outside the sampler: weights of eigenvectors that are not a function of the eigenvalues"
            )
        core = torch.diag(weights[self.places] - rest)
        low: Atom = LowRank((self.vectors,), core, (self.vectors,))
        if len(self.sizes) > 1:
            low = _unflattened(self.vectors.vectors, core, self.sizes)
        return [(1.0, low), *([(rest, identity(self.sizes))] if rest else [])]


def _unflattened(vectors: Tensor, core: Tensor, sizes: tuple[int, ...]) -> Lazy:
    """Write `V^T core V` as a product of tensors whose rows and columns are several axes each."""
    count = len(sizes)
    rank, folded = 2 * count, vectors.reshape(-1, *sizes)
    rows, columns = tuple(range(count)), tuple(range(count, rank))
    return Lazy(((folded, (rank, *rows)), (core, (rank, rank + 1)), (folded, (rank + 1, *columns))), rank)


def spectrum(matrix: Matrix, rows: Labels, columns: Labels) -> Spectrum:
    """Find the eigenvalues of a symmetric matrix, its axes `rows` and `columns` being the sides.

    Raises OutsideTheory where a term is neither of low rank nor an identity.
    """
    sizes = tuple(matrix.shape[axis] for axis in rows)
    n = math.prod(sizes)
    shift, left, right = 0.0, [matrix.one.new_zeros(0, n)], [matrix.one.new_zeros(0, n)]
    for scale, atom, axes in matrix.terms:
        if isinstance(atom, Identity):
            if {*axes[: len(rows)]} not in ({*rows}, {*columns}):
                raise OutsideTheory(REFUSED)
            shift += scale
            continue
        sides = _sides(atom, axes, rows, columns)
        left.append(sides[0] * scale)
        right.append(sides[1])
    x, y = torch.cat(left), torch.cat(right)
    q = torch.linalg.qr(x.T)[0].T.contiguous()
    small = inner(q, x) @ inner(y, q)
    small = (small + small.T) / 2
    _expect_symmetric(small, x, y)
    values, vectors = torch.linalg.eigh(small)
    every = torch.cat([values, values.new_zeros(n - len(values))]) + shift
    ordered, order = every.sort(stable=True)
    places = torch.empty_like(order)
    places[order] = torch.arange(n, device=order.device)
    return Spectrum(ordered, Basis(vectors.T @ q), places[: len(values)], sizes)


REFUSED = "outside the sampler: eigenvalues of a matrix that is neither of low rank nor a multiple of 1 more"


def _sides(atom: Atom, axes: Labels, rows: Labels, columns: Labels) -> tuple[Tensor, Tensor]:
    """Write an atom as `X^T Y`, by vectors of both sides."""
    sides = None
    if isinstance(atom, Lazy | LowRank):
        own = tuple(tuple(axes.index(axis) for axis in side) for side in (rows, columns))
        sides = as_lazy(atom).vectors(*own)
    if sides is None:
        raise OutsideTheory(REFUSED)
    return sides


def _expect_symmetric(small: Tensor, x: Tensor, y: Tensor) -> None:
    """Raise OutsideTheory unless the symmetric part of `X^T Y`, projected onto the span of X, has the length of the whole."""
    whole = float((inner(x, x) * inner(y, y)).sum())
    if math.isfinite(whole) and not abs(whole - float(small.square().sum())) <= SYMMETRIC[x.dtype] * abs(whole):
        raise OutsideTheory("outside the sampler: eigenvalues of a matrix that is not symmetric")
