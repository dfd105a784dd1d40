"""What becomes of the maximum that a softmax by hand subtracts? It cancels, or it is computed by ranks.

`exp(z - m) / sum exp(z - m)` with m = max z is softmax(z), whatever m is. So m is carried along symbolically. A value is
`base + k*m` ("sum") or `base * exp(k*m)` ("factor"), and whatever reads it must know how k changes. Where k comes back to 0
the value is an ordinary one again. When all of m cancels, nothing depends on m, and the gradient through it is zero. Where
anything else reads a value with k != 0, m is `settled`: computed like any choice (`chosen`), its gradient too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, final

from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.rules import elementwise, views
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.standins.chosen import Chosen, extreme, over
from tpdyn.recorder.lowering.standins.standin import Call, Settles, StandIn, outputs
from tpdyn.recorder.lowering.summing import axes_of, reduce
from tpdyn.recorder.lowering.values import Handle, Known, Shape, StandsIn

Form = Literal["sum", "factor", "selector"]


@final
@dataclass(frozen=True, slots=True)
class Shifted(StandsIn):
    """`base + k*m` or `base * exp(k*m)` where m is the maximum of `of` (a statement and its axes) over dim `dim`.

    form "selector": the mask or index of the maximum, which only its (vanishing) gradient reads. The base of m itself is
    a tensor of zeros. keepdim: of a "selector" that is an index, whether dim is kept; None for a mask.
    """

    base: Any
    form: Form
    k: int
    of: tuple[int, tuple[int | None, ...], Shape]
    dim: int
    keepdim: bool | None = None

    @property
    def shape(self) -> Shape:
        """Its shape."""
        shape: Shape = self.base.shape
        return shape


def maximum(b: LoweredBuilder, x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the largest entry along one dim, symbolically; along several dims, by ranks."""
    dims = axes_of(b, x, dim)
    value = b.value(x)
    if len(dims) != 1:
        return over(b, x, dims, keepdim, True)
    shape = tuple(1 if d == dims[0] else s for d, s in enumerate(value.shape) if keepdim or d != dims[0])
    return Shifted(Known.full(shape, 0.0), "sum", 1, (value.var, value.axes, value.shape), dims[0])


def maximum_and_index(b: LoweredBuilder, x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the largest entry along one dim, and where it is; without a dim, the largest of all entries."""
    if dim is None:
        return over(b, x, None, False, True)
    largest = maximum(b, x, dim, keepdim)
    return largest, Shifted(largest.base, "selector", 0, largest.of, largest.dim, keepdim)


def settled(b: LoweredBuilder, item: Any) -> Any:
    """Return a symbolic maximum, computed: what reads it does more than let it cancel.

    From then on its gradient is computed, too.
    """
    if not isinstance(item, Shifted):
        return item
    var, axes, shape = item.of
    x = Handle(var, axes, shape)
    b.settled.add((item.of, item.dim))
    value, index = extreme(b, x, item.dim, True, True)
    if item.form == "selector":
        if item.keepdim is None:
            return b.apply("equal", x, value)
        return index if item.keepdim else Chosen(b.squeeze(index.hot, [item.dim]))
    if len(item.shape) != len(shape):
        value = b.squeeze(value, [item.dim])
    if item.form == "factor":
        return b.product(item.base, b.apply("exp", b.combine([(item.k, value)])))
    return b.combine([(1, item.base), (item.k, value)])


def _with(like: Shifted, base: Any, form: Form, k: int) -> Any:
    return base if k == 0 and form != "selector" else Shifted(base, form, k, like.of, like.dim)


def read(b: LoweredBuilder, call: Call) -> tuple[Any, ...] | None:
    """Return what an operation makes that reads at least one `Shifted`."""
    if not call.holds(Shifted):
        return None
    name, rule = call.name, RULES.get(call.name)
    shifted = [x for x in call.args if isinstance(x, Shifted)]
    selects = any(x.form == "selector" for x in shifted)
    if rule is None or len({(x.of, x.dim) for x in shifted}) != 1:
        raise Settles
    if not selects:
        return outputs(rule(b, *call.args, **call.kwargs))
    if any((x.of, x.dim) in b.settled for x in shifted if x.form == "selector"):
        raise Settles
    if b.origin.phase != "backward" and name not in _VIEWS:  # a route by the index of the maximum, a mask of it
        raise Settles
    return outputs(_selected(b, name, call.args))


def _selected(b: LoweredBuilder, name: str, args: tuple[Any, ...]) -> Any:
    """Let gradients pass the maximum: zero."""
    first = args[0]
    if isinstance(first, Shifted):
        if name in ("unsqueeze", "squeeze", "view", "_unsafe_view") and first.keepdim is not None:
            seen = RULES[name](b, first, *args[1:])
            return replace(seen, keepdim=len(seen.shape) == len(first.of[2]))
        if name in ("sum", *_VIEWS) or (name in ("mul", "div") and isinstance(args[1], Shifted)):
            return first
        return Known.full(b.broadcast(_bare(first), _bare(args[1])), 0.0)
    if name == "scatter":
        return Known.full(b.shape(first), 0.0)
    return Known.full(b.broadcast(*[_bare(x) for x in args]), 0.0)


def _bare(x: Any) -> Any:
    return x.base if isinstance(x, Shifted) else x


def _parts(x: Any) -> tuple[Any, str, int]:
    return (x.base, x.form, x.k) if isinstance(x, Shifted) else (x, "", 0)


def _aligned(b: LoweredBuilder, x: Shifted, other: Any) -> None:
    """Check that m meets its argument dim by dim: it is constant along its own dim only."""
    shape = b.shape(_bare(other))
    if len(shape) not in (0, len(x.shape)):
        raise Settles


def _add(b: LoweredBuilder, x: Any, y: Any, *, alpha: Any = 1) -> Any:
    (p, form, j), (q, other, k) = _parts(x), _parts(y)
    like = x if isinstance(x, Shifted) else y
    _aligned(b, like, y if like is x else x)
    if "factor" in (form, other):
        if form != other or j != k:
            raise Settles
        return _with(like, b.combine([(1, p), (alpha, q)]), "factor", j)
    if alpha not in (1, -1):
        raise Settles
    return _with(like, b.combine([(1, p), (alpha, q)]), "sum", j + alpha * k)


def _neg(b: LoweredBuilder, x: Shifted) -> Any:
    return _with(x, b.combine([(-1, x.base)]), x.form, -x.k if x.form == "sum" else x.k)


def _product(sign: int, rule: Rule) -> Rule:
    def product(b: LoweredBuilder, x: Any, y: Any) -> Any:
        (p, form, j), (q, other, k) = _parts(x), _parts(y)
        if "sum" in (form, other):
            raise Settles
        like = x if isinstance(x, Shifted) else y
        _aligned(b, like, y if like is x else x)
        return _with(like, rule(b, p, q), "factor", j + sign * k)

    return product


def _applied(function: str, before: Form, after: Form, sign: int = 1) -> Rule:
    """Return function(x): exp makes a factor of a sum, log a sum of a factor."""

    def rule(b: LoweredBuilder, x: Shifted) -> Any:
        if x.form != before:
            raise Settles
        return _with(x, b.apply(function, x.base), after, sign * x.k)

    return rule


def _sum(b: LoweredBuilder, x: Shifted, dim: Any = None, keepdim: bool = False, **_: Any) -> Any:
    dims = axes_of(b, x.base, dim)
    if x.form != "factor" or dims != [x.dim] or len(x.shape) != len(x.of[2]):
        raise Settles
    return _with(x, reduce(b, x.base, dims, keepdim), "factor", x.k)


def _view(name: str) -> Rule:
    rule = {**views.RULES, **elementwise.RULES}[name]

    def viewed(b: LoweredBuilder, x: Shifted, *args: Any, **kwargs: Any) -> Any:
        out = rule(b, b.value(x.base), *args, **kwargs)
        shape, whole = b.shape(out), x.of[2]
        kept, dropped = (*whole[: x.dim], 1, *whole[x.dim + 1 :]), (*whole[: x.dim], *whole[x.dim + 1 :])
        if shape not in (whole, kept, dropped):
            raise Settles
        number = b.number(x.base)
        return Shifted(out if number is None else Known.full(shape, number), x.form, x.k, x.of, x.dim)

    return viewed


def _expand(b: LoweredBuilder, x: Shifted, shape: Any, **_: Any) -> Any:
    if len(shape) != len(x.shape):
        raise Settles
    return _with(x, b.expand(x.base, shape), x.form, x.k)


def _equal(b: LoweredBuilder, x: Any, y: Any) -> Any:
    like, other = (x, y) if isinstance(x, Shifted) else (y, x)
    if not isinstance(other, Handle) or (other.var, other.axes, other.shape) != like.of:
        raise Settles  # a maximum compared with anything but what it is of
    shape = b.broadcast(_bare(x), _bare(y))
    return Shifted(Known.full(shape, 0.0), "selector", 0, like.of, like.dim)


_VIEWS = ("unsqueeze", "squeeze", "clone", "detach", "alias", "_to_copy", "view", "_unsafe_view")
RULES: dict[str, Rule] = {
    "add": _add,
    "sub": lambda b, x, y, *, alpha=1: _add(b, x, y, alpha=-alpha),
    "neg": _neg,
    "mul": _product(1, elementwise.mul),
    "div": _product(-1, elementwise.div),
    "exp": _applied("exp", "sum", "factor"),
    "log": _applied("log", "factor", "sum"),
    "reciprocal": _applied("reciprocal", "factor", "factor", -1),
    "sum": _sum,
    "expand": _expand,
    **dict.fromkeys(("eq", "scatter"), _equal),
    **{name: _view(name) for name in _VIEWS},
}
SHIFTED = StandIn("shifted", read, settled)
START: dict[str, Rule] = {"amax": maximum, "max": maximum_and_index}
