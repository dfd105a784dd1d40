"""What do operations make of a matrix whose diagonal is kept apart (`apart`), and which begin to keep it so?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.rules import elementwise, functions, views
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.rules.losses import MEAN, SUM
from tpdyn.recorder.lowering.standins.matrices.apart import (
    Apart,
    Cut,
    Rows,
    along_features,
    constant_parts,
    diagonal_of,
    is_a_feature,
    parts,
    settled,
)
from tpdyn.recorder.lowering.standins.standin import Call, Settles, StandIn, outputs
from tpdyn.recorder.lowering.summing import reduce
from tpdyn.recorder.lowering.values import Handle, Known, Shape, StandsIn, Tensor


def _entrywise(b: LoweredBuilder, call: Call, rule: Rule) -> Any:
    """Apply a function entry by entry: off the diagonal and on it."""
    args = [*call.args, *call.options.values()]
    rows = next((arg for arg in args if isinstance(arg, Rows)), None)
    if rows is not None:
        made = rule(b, *(_in_rows(b, arg, rows) for arg in call.args), **call.options)
        return Rows(b.expand(made, rows.rest.shape), rows.shape)
    size = next(arg.shape[0] for arg in args if len(_shape(b, arg)) == 2)
    both = [parts(b, arg, size) for arg in call.args]
    rest, own = (rule(b, *(part[k] for part in both), **call.options) for k in (0, 1))
    return Apart(b.expand(rest, (size, size)), b.expand(own, (size,)))


def _in_rows(b: LoweredBuilder, arg: Any, rows: Rows) -> Any:
    """Return an argument as a matrix, of which the rows are taken, or as a number."""
    if isinstance(arg, Rows) and arg.shape == rows.shape:
        return arg.rest
    if not isinstance(arg, (Handle, Known)):
        return arg
    number = b.number(arg)
    if number is not None:
        return number
    if isinstance(arg, Handle) and not any(axis is not None for axis in arg.axes):  # a gradient that was expanded
        return Handle(arg.var, arg.axes, ())
    if any(size != 1 for size in arg.shape):
        raise Settles
    return b.reshape(arg, ())


def _shape(b: LoweredBuilder, x: Any) -> Shape:
    return x.shape if isinstance(x, StandsIn) and hasattr(x, "shape") else b.shape(x)


def _same(b: LoweredBuilder, x: Any, *_: Any, dtype: torch.dtype | None = None, **__: Any) -> Any:
    if dtype is not None and not dtype.is_floating_point:
        raise Settles
    return x


def _transposed(b: LoweredBuilder, x: Any, *order: Any) -> Any:
    if not isinstance(x, Apart) or x.flat:
        raise Settles
    return Apart(b.transpose(x.rest, 0, 1), x.own)


def _permuted(b: LoweredBuilder, x: Any, order: Sequence[int]) -> Any:
    return x if [d % 2 for d in order] == [0, 1] else _transposed(b, x)


def _sum(b: LoweredBuilder, x: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Any:
    """Sum the rest, without its diagonal, and what stands there instead."""
    rest, rank = x.rest, len(x.shape)
    dims = list(range(rank)) if dim is None or dim == [] else sorted({d % rank for d in _listed(dim)})
    if len(dims) == rank:
        terms = [(1, b.contract([], (rest, "ij"))), (-1, b.contract([], (rest, "ii")))]
        own = [(1, b.contract([], (x.own, "i")))] if isinstance(x, Apart) else []
        total = b.combine([*terms, *own])
        return b.reshape(total, (1,) * rank) if keepdim else total
    if not isinstance(x, Apart):
        raise Settles
    total = b.combine([(1, reduce(b, rest, dims)), (-1, diagonal_of(b, rest)), (1, x.own)])
    return b.unsqueeze(total, dims[0]) if keepdim else total


def _listed(dim: Any) -> Sequence[int]:
    return [dim] if isinstance(dim, int) else dim


def _mean(b: LoweredBuilder, x: Any, dim: Any = None, keepdim: bool = False, **options: Any) -> Any:
    total, shape = _sum(b, x, dim, keepdim), x.shape
    dims = range(len(shape)) if dim is None else _listed(dim)
    return b.combine([(1 / math.prod(shape[d] for d in dims), total)])


def _viewed(b: LoweredBuilder, x: Any, size: Sequence[int], *_: Any, **__: Any) -> Any:
    """See the entries in one of the shapes that rows of a matrix come in."""
    count = math.prod(x.shape)
    known = math.prod(s for s in size if s != -1)
    shape = tuple(count // known if s == -1 else s for s in size)
    if isinstance(x, Apart):
        n = x.rest.shape[0]
        if shape not in ((n, n), (n * n,)):
            raise Settles
        return replace(x, flat=len(shape) == 1)
    n = (x.of if isinstance(x, Cut) else x.rest).shape[0]
    n = math.isqrt(n) if isinstance(x, Cut) and len(x.of.shape) == 1 else n
    if shape not in ((count,), (n - 1, count // (n - 1))):
        raise Settles
    return replace(x, shape=shape)


def _as_square(b: LoweredBuilder, x: Any) -> Any:
    """Return what n^2 entries are as a matrix, and None where there are other entries."""
    count = math.prod(x.shape)
    n = math.isqrt(count)
    if len(x.shape) != 1 or n * n != count or n < 2:
        return None
    return replace(x, flat=False) if isinstance(x, Apart) else b.reshape(x, (n, n))


def _slice(b: LoweredBuilder, x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    """Cut the last entry off, or the first of each n + 1: those on the diagonal are gone then."""
    first, last = views.bounds(x.shape[dim], start, end)
    square = _as_square(b, x) if isinstance(x, (Apart, Handle)) else None
    if square is not None and (first, last, step) == (0, x.shape[0] - 1, 1):
        return Cut(square, (x.shape[0] - 1,))
    if isinstance(x, Cut) and len(x.shape) == 2 and (dim % 2, first, last, step) == (1, 1, x.shape[1], 1):
        return Rows(x.of.rest if isinstance(x.of, Apart) else x.of, (x.shape[0], x.shape[1] - 1))
    raise Settles


def _slice_backward(
    b: LoweredBuilder, grad: Any, sizes: Sequence[int], dim: int, start: Any, end: Any, step: int
) -> Any:
    """Put zeros on the diagonal, and then at the end."""
    first, last = views.bounds(sizes[dim], start, end)
    if isinstance(grad, Rows) and list(sizes) == [grad.shape[0], grad.shape[1] + 1] and (dim % 2, first) == (1, 1):
        zeros = Known.full(grad.rest.shape[:1], 0.0)
        return Cut(Apart(grad.rest, zeros), tuple(sizes))
    if isinstance(grad, Cut) and list(sizes) == [grad.shape[0] + 1] and (first, last) == (0, sizes[0] - 1):
        return replace(grad.of, flat=True)
    raise Settles


def _mask(indices: Any) -> tuple[bool, bool] | None:
    """Return what a mask says off and on the diagonal."""
    found = constant_parts(indices[0]) if len(indices) == 1 else None
    if found is None or found[0].tensor.dtype != torch.bool:
        return None
    return bool(found[0].number), bool(found[1].number)


def _index(b: LoweredBuilder, x: Any, indices: Any) -> Any:
    """Take the entries off the diagonal, or those on it."""
    chosen = _mask(indices)
    if chosen is None:
        raise Settles
    rest, own = parts(b, x, indices[0].shape[0])
    n = indices[0].shape[0]
    return Rows(b.expand(rest, (n, n)), (n * (n - 1),)) if chosen[0] else own


def _index_put(b: LoweredBuilder, x: Any, indices: Any, values: Any, accumulate: bool = False, *_: Any) -> Any:
    """Write the entries off the diagonal, or those on it."""
    chosen = _mask(indices)
    if chosen is None:
        raise Settles
    n = indices[0].shape[0]
    rest, own = parts(b, x, n)
    if chosen[0]:
        written = values.rest if isinstance(values, Rows) else b.number(values)
    else:
        written = values
    if written is None or isinstance(written, StandsIn):
        raise Settles
    before = rest if chosen[0] else own
    after = b.combine([(1, before), (1, written)]) if accumulate else written
    shape = (n, n) if chosen[0] else (n,)
    after = Known.full(shape, after) if isinstance(after, (int, float)) else b.expand(after, shape)
    return Apart(after, b.expand(own, (n,))) if chosen[0] else Apart(b.expand(rest, (n, n)), after)


def _diagonal(b: LoweredBuilder, x: Any, offset: int = 0, *_: Any) -> Any:
    if not isinstance(x, Apart) or offset != 0:
        raise Settles
    return x.own


def _strided(b: LoweredBuilder, x: Any, size: Sequence[int], stride: Sequence[int], offset: Any = None) -> Any:
    if not isinstance(x, Apart) or not _steps_along_diagonal(x, size, stride, offset):
        raise Settles
    return x.own


def _steps_along_diagonal(x: Any, size: Sequence[int], stride: Sequence[int], offset: Any = None) -> bool:
    n = math.isqrt(math.prod(x.shape))
    return n > 1 and n * n == math.prod(x.shape) and not offset and (list(size), list(stride)) == ([n], [n + 1])


def _with_diagonal(b: LoweredBuilder, x: Any, source: Any, offset: int = 0, *_: Any) -> Any:
    """Return a matrix with another diagonal."""
    if offset != 0 or len(x.shape) != 2 or x.shape[0] != x.shape[1] or isinstance(source, StandsIn):
        raise Settles
    return Apart(parts(b, x, x.shape[0])[0], b.expand(source, x.shape[:1]))


def _strided_scatter(b: LoweredBuilder, x: Any, source: Any, size: Any, stride: Any, offset: Any = None) -> Any:
    if not _steps_along_diagonal(x, size, stride, offset) or isinstance(source, StandsIn):
        raise Settles
    square = x if len(x.shape) == 2 else _as_square(b, x)
    return replace(_with_diagonal(b, square, source), flat=len(x.shape) == 1)


def _on_diagonal(b: LoweredBuilder, grad: Any, sizes: Sequence[int], offset: int, *_: Any) -> Any:
    """Return zeros but for the diagonal."""
    if len(sizes) != 2 or sizes[0] != sizes[1] or offset != 0 or isinstance(grad, StandsIn):
        raise Settles
    return Apart(Known.full(tuple(sizes), 0.0), b.expand(grad, tuple(sizes[:1])))


def _product(b: LoweredBuilder, x: Any, y: Any, *_: Any, **__: Any) -> Any:
    """Multiply a matrix or vector by the rest, and row by row by what the diagonal has more than it."""
    x, y = (Apart(*constant) if (constant := constant_parts(each)) is not None else each for each in (x, y))
    if isinstance(x, Apart) and isinstance(y, Apart) and not x.flat and not y.flat:
        whole, more = _product(b, x, y.rest), b.combine([(1, y.own), (-1, diagonal_of(b, y.rest))])
        rest = b.combine([(1, whole), (1, b.product(x.rest, more))])
        return Apart(rest, b.combine([(1, diagonal_of(b, whole)), (1, b.product(x.own, more))]))
    if isinstance(x, Apart) and not isinstance(y, StandsIn) and not x.flat:
        free = ["j"] if len(b.shape(y)) == 2 else []
        more = b.combine([(1, x.own), (-1, diagonal_of(b, x.rest))])
        rest = b.contract(["i", *free], (x.rest, "ik"), (y, ["k", *free]))
        return b.combine([(1, rest), (1, b.contract(["i", *free], (more, "i"), (y, ["i", *free])))])
    if isinstance(y, Apart) and not isinstance(x, StandsIn) and not y.flat and len(b.shape(x)) == 2:
        return b.transpose(_product(b, _transposed(b, y), b.transpose(x, 0, 1)), 0, 1)
    raise Settles


def _squares(b: LoweredBuilder, x: Any, target: Any, reduction: int = MEAN) -> Any:
    """Sum (or average) the squares of a difference, `F.mse_loss(c, eye)`."""
    difference = _difference(b, x, target)
    squares = Apart(_square(b, difference.rest), _square(b, difference.own))
    if reduction in (MEAN, SUM):
        return _mean(b, squares) if reduction == MEAN else _sum(b, squares)
    return squares


def _square(b: LoweredBuilder, x: Tensor) -> Tensor:
    return b.product(x, x)


def _squares_backward(b: LoweredBuilder, grad: Any, x: Any, target: Any, reduction: int) -> Any:
    if isinstance(grad, StandsIn) or reduction not in (MEAN, SUM):
        raise Settles
    difference = _difference(b, x, target)
    factor = b.reshape(b.product(grad, 2 / math.prod(difference.shape) if reduction == MEAN else 2), ())
    return Apart(b.product(difference.rest, factor), b.product(difference.own, factor))


def _difference(b: LoweredBuilder, x: Any, y: Any) -> Apart:
    (rest, own), (other, others) = (parts(b, each, x.shape[0]) for each in (x, y))
    return Apart(b.combine([(1, rest), (-1, other)]), b.combine([(1, own), (-1, others)]))


READERS: dict[str, Rule] = {
    **dict.fromkeys(("clone", "detach", "alias", "lift_fresh", "_to_copy"), _same),
    **dict.fromkeys(("view", "_unsafe_view"), _viewed),
    **dict.fromkeys(("t", "transpose"), _transposed),
    **dict.fromkeys(("mm", "mv"), _product),
    **dict.fromkeys(("diagonal", "diagonal_copy"), _diagonal),
    "permute": _permuted,
    "sum": _sum,
    "mean": _mean,
    "slice": _slice,
    "slice_backward": _slice_backward,
    "index": _index,
    "index_put": _index_put,
    "as_strided": _strided,
    "as_strided_scatter": _strided_scatter,
    "diagonal_scatter": _with_diagonal,
    "diagonal_backward": _on_diagonal,
    "trace": lambda b, x: b.contract([], (x.own, "i")),
    "masked_select": lambda b, x, mask: _index(b, x, [mask]),
    "masked_scatter": lambda b, x, mask, values: _index_put(b, x, [mask], values),
    "mse_loss": _squares,
    "mse_loss_backward": _squares_backward,
}
BEGIN: dict[str, Callable[[LoweredBuilder, Call], bool]] = {
    "slice": lambda b, call: len(call.args[0].shape) == 1 and _as_square(b, call.args[0]) is not None,
    "index": lambda b, call: _mask(call.args[1]) is not None,
    "index_put": lambda b, call: _mask(call.args[1]) is not None,
    "as_strided_scatter": lambda b, call: _steps_along_diagonal(call.args[0], *call.args[2:5]),
    "diagonal_scatter": lambda b, call: along_features(b, call.args[0]),
    **dict.fromkeys(("mm", "mv"), lambda b, call: _multiplies_features(b, call.args)),
    "diagonal_backward": lambda b, call: len(call.args[1]) == 2,
    "masked_select": lambda b, call: _mask([call.args[1]]) is not None,
    "masked_scatter": lambda b, call: _mask([call.args[1]]) is not None,
    "mse_loss": lambda b, call: _has_features(b, call.args[:2]),
    "mse_loss_backward": lambda b, call: _has_features(b, call.args[1:3]),
}
"""Operations of plain tensors after which a diagonal is apart, and when."""

ENTRYWISE: dict[str, Rule] = {
    name: rule
    for name, rule in {**elementwise.RULES, **functions.RULES}.items()
    if name not in READERS
    and name not in elementwise.SHAPE_ONLY
    and name not in ("copy", "fill", "glu", "glu_backward")
}


def _has_features(b: LoweredBuilder, args: Sequence[Any]) -> bool:
    """Tell whether a constant matrix with a diagonal of its own meets one along features."""
    return any(constant_parts(arg) is not None for arg in args) and any(along_features(b, arg) for arg in args)


def _multiplies_features(b: LoweredBuilder, args: Sequence[Any]) -> bool:
    """Tell whether a constant matrix with a diagonal of its own is multiplied by a value, summed along features."""
    x, y = args[:2]
    if isinstance(x, Handle) and constant_parts(y) is not None:
        return is_a_feature(b, x, len(x.shape) - 1)
    return isinstance(y, Handle) and constant_parts(x) is not None and is_a_feature(b, y, 0)


def read(b: LoweredBuilder, call: Call) -> tuple[Any, ...] | None:
    """Return what an operation makes that reads one of these, or that keeps a diagonal apart."""
    rule = READERS.get(call.name)
    if call.holds(Apart, Cut, Rows):
        if rule is not None:
            return outputs(rule(b, *call.args, **call.options))
        if call.name in ENTRYWISE:
            return outputs(_entrywise(b, call, ENTRYWISE[call.name]))
        raise Settles
    if call.is_known or any(issubclass(kind, StandsIn) for kind in call.kinds):
        return None
    if rule is not None and call.name in BEGIN and BEGIN[call.name](b, call):
        try:
            return outputs(rule(b, *call.args, **call.options))
        except Settles:
            return None
    if call.name in ENTRYWISE and _has_features(b, call.args):
        return outputs(_entrywise(b, call, ENTRYWISE[call.name]))
    return None


APART = StandIn("apart", read, settled)
