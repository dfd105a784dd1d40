"""Which matrices are not arrays of numbers until something reads their entries? Eigenvectors, diagonal and identity
matrices.

* `Eigenvectors`: what `eigh` of a symmetric matrix M returns. They are arbitrary in sign, and where eigenvalues coincide,
  so they are not values. `V diag(w) V^T`, however it is written, is one: `Spectral`, a function of M. Anything else is
  refused.
* `Damped`: `shift I + rest`. The entries of an identity matrix have no size that a product with it would show. Products
  with it are relabellings, and in a symmetric matrix it moves the eigenvalues. So it is kept apart.
* `Diagonal`: `diag(w)`; a product with it multiplies rows or columns.

The last two become arrays (`settled`) where something else reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch

from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.rules import strides
from tpdyn.recorder.lowering.values import Handle, Known, Refusal, Shape, StandsIn, Tensor

IN_THE_EIGENBASIS = (
    "outside the theory: entries in the eigenbasis of a matrix, which is arbitrary where eigenvalues coincide (and in sign). "
    "Functions of the matrix have rules, V @ diag(f(eigenvalues)) @ V.T"
)


@final
@dataclass(frozen=True, slots=True)
class Damped(StandsIn):
    """`shift * I + rest`, a square matrix; the shift is a number or a value without dims."""

    shift: Any
    rest: Tensor

    @property
    def shape(self) -> Shape:
        """Its shape."""
        return self.rest.shape


@final
@dataclass(frozen=True, slots=True)
class Diagonal(StandsIn):
    """`diag(entries)`."""

    entries: Handle

    @property
    def shape(self) -> Shape:
        """Its shape."""
        return (*self.entries.shape, *self.entries.shape)


@final
@dataclass(frozen=True, slots=True)
class Eigenvectors(StandsIn):
    """`V diag(weights)`, V the eigenvectors of `of`: dim `coordinate` is that of the matrix, dim `spectrum` counts them.

    All other dims have size 1. weights: a vector, or a number. descending: the order of the eigenvalues.
    """

    of: Handle
    weights: Tensor
    coordinate: int
    spectrum: int
    shape: Shape
    descending: bool = False


@final
@dataclass(frozen=True, slots=True)
class Cholesky(StandsIn):
    """The Cholesky factor of a symmetric matrix, which only solving with it reads."""

    of: Any

    @property
    def shape(self) -> Shape:
        """Its shape."""
        shape: Shape = self.of.shape
        return shape


SYMBOLIC = (Damped, Diagonal, Eigenvectors, Cholesky)


def identity_of(x: Any) -> float | None:
    """Return c, where x is the constant matrix `c I`."""
    if not isinstance(x, Known) or x.kind != "constant" or x.is_discrete or len(x.shape) != 2:
        return None
    if x.shape[0] != x.shape[1] or x.shape[0] == 1 or not x.tensor.dtype.is_floating_point:
        return None
    c = float(x.tensor[0, 0])
    if c == 0 or float(x.tensor[0, 1]) != 0:
        return None
    return c if bool((x.tensor == c * torch.eye(x.shape[0], dtype=x.tensor.dtype)).all()) else None


def damped(x: Any) -> Damped | None:
    """Write x as `shift I + rest`, where it has such a part."""
    if isinstance(x, Damped):
        return x
    number = identity_of(x)
    return None if number is None else Damped(number, Known.full(x.shape, 0.0))


def settled(b: LoweredBuilder, item: Any) -> Any:
    """Return an identity or diagonal matrix as an array. Raises Refusal for eigenvectors."""
    if isinstance(item, Damped):
        eye = Known(torch.eye(item.shape[0], dtype=torch.float64), name="identity")
        return b.combine([(1, item.rest), (1, b.product(eye, item.shift))])
    if isinstance(item, Diagonal):
        return strides.diag_embed(b, item.entries)
    if isinstance(item, Eigenvectors):
        raise Refusal(IN_THE_EIGENBASIS)
    if isinstance(item, Cholesky):
        raise Refusal("a Cholesky factor depends on the order of the coordinates; solving with it has a rule")
    return item


def diag_embed(b: LoweredBuilder, x: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """Return a diagonal matrix; several at once are arrays."""
    if len(b.shape(x)) == 1 and offset == 0 and isinstance(x, Handle) and x.shape[0] != 1:
        return Diagonal(x)
    return strides.diag_embed(b, x, offset, dim1, dim2)
