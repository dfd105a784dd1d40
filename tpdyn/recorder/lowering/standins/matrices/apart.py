"""What is a square matrix whose diagonal is not like the rest? Two values: one for all entries, one for the diagonal.

`c - eye`, `c * (1 - eye)`, `c.fill_diagonal_(0)` and a diagonal that is written in place are such matrices (`Apart`). An
entrywise function of one is the function of both values. A sum takes the diagonal of the first away and adds the second. An
array of the entries would not do: an identity matrix has no size that a product with it shows.

The entries off the diagonal, laid end to end, are `Rows`: `c[~eye]`, and the views by which Barlow Twins and VICReg cut
them out: `c.flatten()[:-1].view(n - 1, n + 1)[:, 1:]`. The first cut leaves n + 1 entries a row, of which the first is on the
diagonal (`Cut`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import torch

from tpdyn.program.instructions import Leaf, operands_of
from tpdyn.recorder.lowered import Reshape
from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.rules import elementwise, strides, views
from tpdyn.recorder.lowering.standins.matrices import kinds
from tpdyn.recorder.lowering.standins.matrices.kinds import Damped, Diagonal
from tpdyn.recorder.lowering.standins.standin import Settles
from tpdyn.recorder.lowering.values import Handle, Known, Shape, StandsIn, Tensor


@final
@dataclass(frozen=True, slots=True)
class Apart(StandsIn):
    """`rest` off the diagonal and `own` on it. What rest holds on its diagonal does not count. flat: seen as one dim."""

    rest: Tensor
    own: Tensor
    flat: bool = False

    @property
    def shape(self) -> Shape:
        """Its shape."""
        size = self.rest.shape[0]
        return (size * size,) if self.flat else (size, size)


@final
@dataclass(frozen=True, slots=True)
class Cut(StandsIn):
    """All entries of a square matrix but the last, row by row: in one dim, or n + 1 a row. of: the matrix."""

    of: Any
    shape: Shape


@final
@dataclass(frozen=True, slots=True)
class Rows(StandsIn):
    """The entries of a square matrix off the diagonal, row by row: in one dim, or n a row."""

    rest: Tensor
    shape: Shape


# -- what is such a matrix ---------------------------------------------------------------------------------------------


def constant_parts(x: Any) -> tuple[Known, Known] | None:
    """Return rest and diagonal of a constant square matrix with one number off the diagonal and another on it."""
    if not isinstance(x, Known) or x.kind != "constant" or len(x.shape) != 2 or x.number is not None:
        return None
    size = x.shape[0]
    if size != x.shape[1] or size < 2:
        return None
    off, on = x.tensor[0, 1], x.tensor[0, 0]
    if not bool((x.tensor == torch.where(torch.eye(size, dtype=torch.bool), on, off)).all()):
        return None
    shapes = ((size, size), (size,))
    first, second = (Known(part.expand(shape)) for part, shape in zip((off, on), shapes, strict=True))
    return first, second


def along_features(b: LoweredBuilder, x: Any) -> bool:
    """Tell whether both dims of a square value are dims of parameters. Those of a covariance are, tokens and samples not."""
    if not isinstance(x, Handle) or len(x.shape) != 2 or x.shape[0] != x.shape[1] or x.shape[0] < 2:
        return False
    return all(is_a_feature(b, x, dim) for dim in (0, 1))


def is_a_feature(b: LoweredBuilder, x: Handle, dim: int) -> bool:
    """Tell whether a dim is one that some parameter has."""
    return any(_is_of_a_parameter(b, x.var, k) for k, at in enumerate(x.axes) if at == dim)


def _is_of_a_parameter(b: LoweredBuilder, var: int, axis: int) -> bool:
    waiting, seen = [(var, axis)], set[tuple[int, int]]()
    while waiting:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        statement = b.statements[here[0]]
        match statement.instruction:
            case Leaf(kind="parameter"):
                return True
            case Reshape(value=value):
                sizes = enumerate(b.statements[value].shape)
                waiting += [(value, k) for k, size in sizes if size == statement.shape[here[1]]]
            case instruction:  # labels say which axes are the same, in all of them
                reads = operands_of(instruction)
                waiting += [(read.var, k) for read in reads for k, label in enumerate(read.axes) if label == here[1]]
    return False


def diagonal_of(b: LoweredBuilder, x: Any) -> Any:
    """Return the diagonal of a square matrix."""
    if isinstance(x, Known):
        return Known(x.tensor.diagonal(), x.kind, None, x.name)
    return strides.diagonal(b, x)


def parts(b: LoweredBuilder, x: Any, size: int) -> tuple[Any, Any]:
    """Return what stands off and on the diagonal, of a matrix or of what is broadcast to one."""
    square = (size, size)
    if isinstance(x, Apart) and x.shape == square:
        return x.rest, x.own
    if isinstance(x, Damped):
        return x.rest, b.combine([(1, diagonal_of(b, x.rest)), (1, x.shift)])
    if isinstance(x, Diagonal):
        return Known.full(square, 0.0), x.entries
    if isinstance(x, StandsIn):
        raise Settles
    constant = constant_parts(x)
    if constant is not None:
        return constant
    shape = b.shape(x)
    if all(extent == 1 for extent in shape):
        return x, b.reshape(x, ()) if shape else x
    return x, diagonal_of(b, b.expand(x, square))


def settled(b: LoweredBuilder, item: Any) -> Any:
    """Return the entries as an array."""
    match item:
        case Apart(rest=rest, own=own, flat=flat):
            whole = strides.diag_embed(b, own) if b.number(rest) == 0 else _array(b, rest, own)
            return b.reshape(whole, item.shape) if flat else whole
        case Cut(of=of, shape=shape):
            array = settled(b, of)
            count = math.prod(b.shape(array))
            return b.reshape(views.slice_(b, b.reshape(array, (count,)), 0, 0, count - 1), shape)
        case Rows(rest=rest, shape=shape):
            size = rest.shape[0]
            cut = settled(b, Cut(rest, (size - 1, size + 1)))
            return b.reshape(views.slice_(b, cut, 1, 1, size + 1), shape)
        case _:  # anything else is an array, or none of these
            return item


def _array(b: LoweredBuilder, rest: Tensor, own: Tensor) -> Tensor:
    mask = Known(torch.eye(rest.shape[0], dtype=torch.bool), name="diagonal")
    number = b.number(own)  # a mask is filled with it
    return elementwise.where(b, mask, b.expand(b.unsqueeze(own, 1), rest.shape) if number is None else number, rest)


def instead(b: LoweredBuilder, item: Any) -> Any:
    """Keep the diagonal of a matrix along features apart, where its kind has no rule; all others become arrays."""
    if isinstance(item, (Damped, Diagonal)):
        size = item.shape[0]
        features = item.rest if isinstance(item, Damped) else None
        if features is None or along_features(b, features):
            return Apart(*parts(b, item, size))
    return kinds.settled(b, item)
