"""What can be done to a matrix of `kinds` without writing it out? It is scaled, shifted, and seen in other shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from tpdyn.recorder.lowering.builder import LoweredBuilder, whole_sizes
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.standins.matrices.kinds import (
    SYMBOLIC,
    Cholesky,
    Damped,
    Diagonal,
    Eigenvectors,
    damped,
    identity_of,
)
from tpdyn.recorder.lowering.standins.standin import Settles
from tpdyn.recorder.lowering.values import Handle, Known, Shape, Tensor


def identity_plus(b: LoweredBuilder, shift: Any, rest: Tensor) -> Any:
    """Return `shift I + rest`; the rest alone where the shift is 0."""
    number = b.number(shift)
    return rest if number == 0 else Damped(shift if number is None else number, rest)


def _one_entry(b: LoweredBuilder, x: Any, dims: int) -> Any:
    """Read x as a number or value without dims. None where it has more than one entry, or more dims than its partner."""
    if b.number(x) is not None and not b.shape(x):
        return b.number(x)
    if isinstance(x, (Handle, Known)) and len(x.shape) <= dims and all(size == 1 for size in x.shape):
        return b.reshape(x, ())
    return None


def scaled(b: LoweredBuilder, x: Any, factor: Any) -> Any:
    """Return x times a number, or a value without dims."""
    if isinstance(x, Damped):
        return identity_plus(b, b.product(x.shift, factor), b.product(x.rest, factor))
    if isinstance(x, Diagonal):
        return Diagonal(b.value(b.product(x.entries, factor)))
    number = identity_of(x)
    return b.product(x, factor) if number is None else scaled(b, damped(x), factor)


def added(b: LoweredBuilder, x: Any, y: Any, *, alpha: Any = 1, beta: Any = 1, **_: Any) -> Any:
    """Return `beta x + alpha y`."""
    if any(isinstance(arg, (Eigenvectors, Diagonal, Cholesky)) for arg in (x, y)):
        raise Settles
    parts = [damped(each) or Damped(0, each) for each in (x, y)]
    shape = next(each.shape for each in (damped(x), damped(y)) if each is not None)
    if b.broadcast(*[part.rest for part in parts]) != shape:
        raise Settles
    x, y = (scaled(b, part, factor) for part, factor in zip(parts, (beta, alpha), strict=True))
    x, y = (each if isinstance(each, Damped) else Damped(0, each) for each in (x, y))
    return identity_plus(b, b.combine([(1, x.shift), (1, y.shift)]), b.combine([(1, x.rest), (1, y.rest)], shape=shape))


def _difference(b: LoweredBuilder, x: Any, y: Any, *, alpha: Any = 1, **_: Any) -> Any:
    return added(b, x, y, alpha=b.product(alpha, -1) if isinstance(alpha, Handle) else -alpha)


def _lerp(b: LoweredBuilder, start: Any, end: Any, weight: Any) -> Any:
    w = b.number(weight)
    if w is None:
        raise Settles
    return added(b, start, end, alpha=w, beta=1 - w)


def _times(b: LoweredBuilder, x: Any, y: Any, **_: Any) -> Any:
    for one, other in ((x, y), (y, x)):
        if isinstance(one, Eigenvectors):
            return _reweighted(b, one, other)
        factor = _one_entry(b, other, 2)
        if factor is not None and (isinstance(one, Diagonal) or damped(one) is not None):
            return scaled(b, one, factor)
    raise Settles


def _over(b: LoweredBuilder, x: Any, y: Any, *, rounding_mode: str | None = None, **_: Any) -> Any:
    if rounding_mode is not None or isinstance(y, SYMBOLIC):
        raise Settles
    number = b.number(y)
    return _times(b, x, b.apply("reciprocal", y) if number is None else 1 / number)


def joint_weights(b: LoweredBuilder, one: Any, other: Any) -> Any:
    """Return the weights of both."""
    return other if b.number(one) == 1 and b.shape(other) else b.product(one, other)


def _reweighted(b: LoweredBuilder, x: Eigenvectors, factor: Any) -> Eigenvectors:
    """Multiply each eigenvector by a number of its own."""
    if isinstance(factor, SYMBOLIC):
        raise Settles
    number = _one_entry(b, factor, len(x.shape))
    if number is not None:
        return replace(x, weights=joint_weights(b, x.weights, number))
    shape = b.shape(factor)
    own = [d + len(x.shape) - len(shape) for d, size in enumerate(shape) if size != 1]
    if own != [x.spectrum] or len(shape) > len(x.shape):
        raise Settles
    return replace(x, weights=joint_weights(b, x.weights, b.reshape(factor, (-1,))))


# -- views -------------------------------------------------------------------------------------------------------------


def _same(b: LoweredBuilder, x: Any, *_: Any, **__: Any) -> Any:
    return x


def _converted(b: LoweredBuilder, x: Any, *, dtype: torch.dtype | None = None, **_: Any) -> Any:
    if dtype is not None and not dtype.is_floating_point:  # whole numbers are others
        raise Settles
    return x


def _copy(b: LoweredBuilder, x: Any, source: Any, *_: Any) -> Any:
    if b.shape(x) != source.shape:
        raise Settles
    return source


def permuted(b: LoweredBuilder, x: Any, order: Sequence[int]) -> Any:
    """Put dims in another order."""
    order = [d % len(x.shape) for d in order]
    if isinstance(x, Damped):
        return Damped(x.shift, permuted(b, x.rest, order))
    if isinstance(x, Eigenvectors):
        shape = tuple(x.shape[d] for d in order)
        return replace(x, coordinate=order.index(x.coordinate), spectrum=order.index(x.spectrum), shape=shape)
    if isinstance(x, Diagonal) or order == list(range(len(x.shape))):
        return x
    if isinstance(x, Known) and x.number is not None:
        return Known.full(tuple(x.shape[d] for d in order), x.number)
    return b.permute(x, order)


def _transposed(b: LoweredBuilder, x: Any, one: int = 0, other: int = 1) -> Any:
    order = list(range(len(x.shape)))
    order[one], order[other] = order[other], order[one]
    return permuted(b, x, order)


def _viewed(b: LoweredBuilder, x: Any, size: Sequence[int], *_: Any, **__: Any) -> Any:
    shape = whole_sizes(size, x.shape)
    if shape == x.shape:
        return x
    if isinstance(x, Eigenvectors):
        return _in_shape(x, shape)
    raise Settles


def _in_shape(x: Eigenvectors, shape: Shape) -> Eigenvectors:
    """Let dims of size 1 come and go."""
    large = [d for d, size in enumerate(shape) if size != 1]
    if [shape[d] for d in large] != [x.shape[d] for d in sorted((x.coordinate, x.spectrum))]:
        raise Settles
    first, second = large if x.coordinate < x.spectrum else large[::-1]
    return replace(x, coordinate=first, spectrum=second, shape=shape)


def _unsqueezed(b: LoweredBuilder, x: Any, dim: int) -> Any:
    if not isinstance(x, Eigenvectors):
        raise Settles
    dim %= len(x.shape) + 1
    return _in_shape(x, (*x.shape[:dim], 1, *x.shape[dim:]))


def _squeezed(b: LoweredBuilder, x: Any, *dims: Any) -> Any:
    if not isinstance(x, Eigenvectors):
        return x
    gone = range(len(x.shape)) if not dims else [dims[0]] if isinstance(dims[0], int) else dims[0]
    dropped = {d % len(x.shape) for d in gone}
    return _in_shape(x, tuple(s for d, s in enumerate(x.shape) if s != 1 or d not in dropped))


READERS: dict[str, Rule] = {
    **dict.fromkeys(("clone", "detach", "alias", "lift_fresh"), _same),
    **dict.fromkeys(("view", "_unsafe_view"), _viewed),
    "_to_copy": _converted,
    "copy": _copy,
    "add": added,
    "sub": _difference,
    "rsub": lambda b, x, y, **options: _difference(b, y, x, **options),
    "neg": lambda b, x: _times(b, x, -1),
    "mul": _times,
    "div": _over,
    "lerp": _lerp,
    "t": _transposed,
    "transpose": _transposed,
    "permute": permuted,
    "unsqueeze": _unsqueezed,
    "squeeze": _squeezed,
}
