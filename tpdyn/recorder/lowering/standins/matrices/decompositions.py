"""What do decompositions and inverses of a symmetric matrix become? Eigenvalues, eigenvectors, and functions of the matrix."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.rules.elementwise import LARGEST_GUARD, Rule
from tpdyn.recorder.lowering.standins.matrices.arithmetic import identity_plus
from tpdyn.recorder.lowering.standins.matrices.kinds import (
    SYMBOLIC,
    Cholesky,
    Damped,
    Diagonal,
    Eigenvectors,
    damped,
    settled,
)
from tpdyn.recorder.lowering.standins.matrices.products import function_of, mv, product
from tpdyn.recorder.lowering.symmetry import is_square_sum, is_symmetric
from tpdyn.recorder.lowering.values import Handle, Known, Refusal, Tensor


def _symmetric(b: LoweredBuilder, x: Any, what: str, why: str = "") -> tuple[Any, Handle | None]:
    """Return a symmetric matrix as the multiple of the identity in it, and the rest (None: nothing else)."""
    parts = damped(x) or Damped(0, x)
    if len(parts.shape) != 2 or isinstance(x, (Diagonal, Eigenvectors, Cholesky)):
        raise Refusal(f"{what} of several matrices at once, or of a diagonal one")
    if b.number(parts.rest) == 0:
        return parts.shift, None
    if not isinstance(parts.rest, Handle) or not is_symmetric(b, parts.rest):
        raise Refusal(
            f"outside the theory: {what} of a matrix that is not symmetric by construction"
            f"{why or '; symmetric are G @ G.T, sums and averages of such, and A + A.T'}"
        )
    return parts.shift, parts.rest


def eigenvalues(b: LoweredBuilder, shift: Any, rest: Handle, descending: bool = False) -> Tensor:
    """Return the eigenvalues of `shift I + rest`; a small shift only guards a division."""
    found = b.eigenvalues(rest, descending)
    number = b.number(shift)
    if number == 0:
        return found
    guards = number is not None and 0 < number <= LARGEST_GUARD
    return b.combine([(1, found), (1, shift)], epsilon=guards)


def eigh(b: LoweredBuilder, x: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
    """Return eigenvalues in ascending order, and eigenvectors."""
    shift, rest = _symmetric(b, x, "the eigenvalues")
    size = x.shape[0]
    if rest is None:
        return b.expand(shift, (size,)), Known(torch.eye(size, dtype=torch.float64))
    if size == 1:
        return b.reshape(b.combine([(1, rest), (1, shift)]), (1,)), Known.full((1, 1), 1.0)
    return eigenvalues(b, shift, rest), Eigenvectors(rest, Known.full((size,), 1.0), 0, 1, x.shape)


_SINGULAR = (
    ": its singular vectors are arbitrary where singular values coincide. The factor U @ V.T of a matrix of low rank, as "
    "gradients are, is undefined on its null space. A Newton-Schulz iteration has rules"
)


def svd(b: LoweredBuilder, x: Any, *_: Any, **__: Any) -> tuple[Any, Any, Any]:
    """Decompose a symmetric matrix without negative eigenvalues: those in descending order, and eigenvectors twice."""
    shift, rest = _symmetric(b, x, "the singular values", _SINGULAR)
    size = x.shape[0]
    if rest is None or size == 1:
        values, vectors = eigh(b, x)
        return vectors, values, vectors
    number = b.number(shift)
    if number is None or number < 0 or not is_square_sum(b, rest):
        raise Refusal("outside the theory: the singular values of a matrix that may have negative eigenvalues")
    left = Eigenvectors(rest, Known.full((size,), 1.0), 0, 1, x.shape, True)
    return left, eigenvalues(b, shift, rest, True), replace(left, coordinate=1, spectrum=0)


def inverse(b: LoweredBuilder, x: Any, *_: Any, **__: Any) -> tuple[Any, None]:
    """Return the inverse of a symmetric matrix: a function of it."""
    if isinstance(x, Diagonal):
        return Diagonal(b.apply("reciprocal", x.entries)), None
    shift, rest = _symmetric(b, x, "the inverse")
    if rest is None or x.shape[0] == 1:
        whole = shift if rest is None else b.combine([(1, rest), (1, shift)])
        one = b.number(whole)
        inverted = b.apply("reciprocal", whole) if one is None else 1 / one
        return (identity_plus(b, inverted, Known.full(x.shape, 0.0)) if rest is None else inverted), None
    return function_of(b, rest, b.apply("reciprocal", eigenvalues(b, shift, rest))), None


def solve(b: LoweredBuilder, x: Any, y: Any, *, left: bool = True, **_: Any) -> tuple[Any, None, None, None]:
    """Return `x^-1 y`, or `y x^-1`."""
    inverted = inverse(b, x)[0]
    if isinstance(y, SYMBOLIC):
        y = settled(b, y)
    if len(b.shape(y)) == 1:
        return mv(b, inverted, y), None, None, None
    several = list(range(len(b.shape(y)) - 2))
    out = [*several, "i", "j"]
    if left:
        return product(b, out, (inverted, ["i", "k"]), (y, [*several, "k", "j"])), None, None, None
    return product(b, out, (y, [*several, "i", "k"]), (inverted, ["k", "j"])), None, None, None


def cholesky(b: LoweredBuilder, x: Any, *_: Any, **__: Any) -> tuple[Cholesky, None]:
    """Return the factor, symbolically."""
    _symmetric(b, x, "the Cholesky factor")
    return Cholesky(x), None


def _of_cholesky(x: Any) -> Any:
    if not isinstance(x, Cholesky):
        raise Refusal("solving with a triangular matrix that is not a Cholesky factor")
    return x.of


def cholesky_solve(b: LoweredBuilder, y: Any, factor: Any, *_: Any, **__: Any) -> Any:
    """Return `(L L^T)^-1 y`."""
    return solve(b, _of_cholesky(factor), y)[0]


def cholesky_inverse(b: LoweredBuilder, factor: Any, *_: Any, **__: Any) -> Any:
    """Return `(L L^T)^-1`."""
    return inverse(b, _of_cholesky(factor))[0]


def solve_triangular(
    b: LoweredBuilder, x: Any, y: Any, *, upper: bool, left: bool = True, unitriangular: bool = False, **_: Any
) -> Any:
    """Return `x^-1 y` for matrices that are the same in every run: the factor of a covariance that is a setting."""
    if not isinstance(x, Known) or x.kind != "constant" or not left:
        raise Refusal("solving with a triangular matrix that is not made of fixed numbers, or from the right")
    several = b.shape(y)[:-2]
    eye = torch.eye(x.shape[-1], dtype=x.tensor.dtype)
    inverted = torch.linalg.solve_triangular(x.tensor, eye, upper=upper, unitriangular=unitriangular)
    letters = list(range(len(several)))
    factor = Known(inverted.expand(*several, *x.shape[-2:]))
    return product(b, [*letters, "i", "j"], (factor, [*letters, "i", "k"]), (y, [*letters, "k", "j"]))


RULES: dict[str, Rule] = {
    "linalg_solve_triangular": solve_triangular,
    "_linalg_eigh": eigh,
    "_linalg_svd": svd,
    "linalg_inv_ex": inverse,
    "_linalg_solve_ex": solve,
    "linalg_cholesky_ex": cholesky,
    "cholesky_solve": cholesky_solve,
    "cholesky_inverse": cholesky_inverse,
}
