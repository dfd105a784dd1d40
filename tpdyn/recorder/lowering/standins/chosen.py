"""How does a choice that depends on parameters become instructions? By ranks: how many entries are larger?

torch.topk, sort, max and argmax along a finite dim choose entries. The chosen index is kept as a `Chosen`: one-hot rows,
`hot[..., e] = 1` where entry e is the chosen one. They are computed from `rank_e = #{e' : x_e' > x_e}` (of equal entries
the first counts as larger). What reads the index (gather, scatter, one_hot, index, ==) becomes a product with the one-hot
rows. So a top-k router needs no instruction of its own; a shape that depends on a choice (nonzero) is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch

from tpdyn.recorder.lowering.builder import LoweredBuilder, whole_sizes
from tpdyn.recorder.lowering.rules import views
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.rules.indexing import picked
from tpdyn.recorder.lowering.standins.standin import Call, StandIn, outputs
from tpdyn.recorder.lowering.summing import reduce
from tpdyn.recorder.lowering.values import Handle, Known, Refusal, Shape, StandsIn, Tensor


@final
@dataclass(frozen=True, slots=True)
class Chosen(StandsIn):
    """An integer tensor that depends on parameters: `hot` has one more dim, the one chosen from, with a single one."""

    hot: Handle

    @property
    def shape(self) -> Shape:
        """The shape of the integers."""
        return self.hot.shape[:-1]

    @property
    def size(self) -> int:
        """How many there are to choose from."""
        return self.hot.shape[-1]


def ranks(b: LoweredBuilder, x: Any, dim: int, largest: bool = True) -> Handle:
    """Count how many entries along dim come before each: dim is moved to the end."""
    rank = len(b.shape(x))
    last = b.permute(x, [*(d for d in range(rank) if d != dim), dim])
    size = b.shape(last)[-1]
    key = ("earlier", size)
    if key not in b.indices:
        b.indices[key] = Known(torch.ones(size, size, dtype=torch.float64).tril(-1), name="earlier")
    other, mine = b.unsqueeze(last, rank - 1), b.unsqueeze(last, rank)
    before = b.apply("greater" if largest else "less", other, mine)
    tied = b.product(b.apply("equal", other, mine), b.indices[key], share=True)
    return b.value(reduce(b, b.combine([(1, before), (1, tied)], share=True), [rank], share=True))


def chosen(
    b: LoweredBuilder, x: Any, dim: int, count: int, largest: bool = True, start: int = 0
) -> tuple[Tensor, Chosen]:
    """Return the entries of ranks start, start + 1, ... along dim, and their indices."""
    dim %= max(len(b.shape(x)), 1)
    rank = len(b.shape(x))
    order = ranks(b, x, dim, largest)
    indices = Known(torch.arange(start, start + count, dtype=torch.float64).unsqueeze(1), name="ranks")
    hot = b.value(b.apply("equal", b.unsqueeze(order, rank - 1), indices))
    lead = [d for d in range(rank) if d != dim]
    back = [*lead[:dim], "rank", *lead[dim:]]
    letters: list[Any] = list(range(rank))
    letters[dim] = "entry"
    values = b.contract(back, (x, letters), (hot, [*lead, "rank", "entry"]))
    moved = [*range(dim), rank - 1, *range(dim, rank - 1), rank]
    return values, Chosen(b.permute(hot, moved))


def topk(
    b: LoweredBuilder, x: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[Tensor, Chosen]:
    """Return the k largest (or smallest), in order."""
    return chosen(b, x, dim, k, largest)


def sort(b: LoweredBuilder, x: Any, *args: Any, **options: Any) -> tuple[Tensor, Chosen]:
    """Sort all entries along dim (equal ones in the order in which they are)."""
    if args and (args[0] is None or isinstance(args[0], bool)) and len(args) > 1:  # sort.stable
        args = args[1:]
    options.pop("stable", None)
    dim = args[0] if args else options.pop("dim", -1)
    descending = args[1] if len(args) > 1 else options.pop("descending", False)
    return chosen(b, x, dim, b.shape(x)[dim], descending)


def extreme(
    b: LoweredBuilder, x: Any, dim: int | None, keepdim: bool, largest: bool, start: int = 0
) -> tuple[Tensor, Chosen]:
    """Return the first largest (or smallest) entry along dim, or of all entries, and its index. start: its rank."""
    if dim is None:
        x, dim, keepdim = b.reshape(x, (-1,)), 0, False
    value, index = chosen(b, x, dim, 1, largest, start)
    if keepdim:
        return value, index
    dim %= len(b.shape(x))
    return b.squeeze(value, [dim]), Chosen(b.squeeze(index.hot, [dim]))


def _best(largest: bool) -> Rule:
    def rule(b: LoweredBuilder, x: Any, dim: int | None = None, keepdim: bool = False) -> Chosen:
        return extreme(b, x, dim, keepdim, largest)[1]

    return rule


def minimum(b: LoweredBuilder, x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the smallest entry along a dim with its index (min), or of all entries."""
    both = extreme(b, x, dim, keepdim, False)
    return both[0] if dim is None else both


def over(b: LoweredBuilder, x: Any, dim: Any, keepdim: bool, largest: bool) -> Tensor:
    """Return the largest (or smallest) entry along several dims, one after the other."""
    rank = len(b.shape(x))
    dims = [dim] if isinstance(dim, int) else list(dim or range(rank))
    for d in dims:
        x, _ = extreme(b, x, d % rank, True, largest)
    return b.value(x) if keepdim else b.squeeze(x, dims)


def median(b: LoweredBuilder, x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """Return the lower median along dim and its index."""
    size = math.prod(b.shape(x)) if dim is None else b.shape(x)[dim]
    both = extreme(b, x, dim, keepdim, False, (size - 1) // 2)
    return both[0] if dim is None else both


def nonzero(b: LoweredBuilder, *_: Any, **__: Any) -> Tensor:
    """Refuse: its shape is data."""
    raise Refusal(
        "a shape that depends on values: how many entries hold (torch.where, nonzero, a mask as index) depends on "
        "parameters. Multiply with the mask instead"
    )


# -- what reads an index ------------------------------------------------------------------------------------------------


def _view(name: str) -> Callable[..., Any]:
    rule = views.RULES.get(name)

    def viewed(b: LoweredBuilder, x: Chosen, *args: Any, **kwargs: Any) -> Chosen:
        rank = len(x.shape)
        if name in ("view", "_unsafe_view"):
            return Chosen(b.value(b.reshape(x.hot, [*whole_sizes(args[0], x.shape), x.size])))
        if name == "expand":
            lead = len(args[0]) - rank
            size = [x.shape[k - lead] if s == -1 else s for k, s in enumerate(args[0])]
            return Chosen(b.value(b.expand(x.hot, [*size, x.size])))
        if name == "permute":
            return Chosen(b.permute(x.hot, [*(d % rank for d in args[0]), rank]))
        if name == "repeat":
            return Chosen(b.value(views.repeat(b, x.hot, [*args[0], 1])))
        if name == "unsqueeze":
            return Chosen(b.unsqueeze(x.hot, args[0] % (rank + 1)))
        if name == "t":
            return Chosen(b.transpose(x.hot, 0, 1)) if rank == 2 else x
        if name == "squeeze" and not args:
            return Chosen(b.squeeze(x.hot, list(range(rank))))
        assert rule is not None
        dims = [
            d % rank if isinstance(d, int) and k < (2 if name == "transpose" else 1) else d for k, d in enumerate(args)
        ]
        return Chosen(b.value(rule(b, x.hot, *dims, **kwargs)))

    return viewed


def _same(b: LoweredBuilder, x: Chosen, *_: Any, dtype: torch.dtype | None = None, **__: Any) -> Any:
    if dtype is not None and dtype.is_floating_point:
        return number(b, x)
    return x


def number(b: LoweredBuilder, x: Chosen) -> Tensor:
    """Return the index as a number."""
    letters = list(range(len(x.hot.shape)))
    return b.contract(letters[:-1], (x.hot, letters), (Known(torch.arange(x.size, dtype=torch.float64)), letters[-1:]))


def _equal(b: LoweredBuilder, x: Any, y: Any) -> Tensor:
    index, other = (x, y) if isinstance(x, Chosen) else (y, x)
    if isinstance(other, Chosen):
        return _coincide(b, index.hot, other.hot)
    at = b.number(other)
    if at is not None:
        return b.select(index.hot, len(index.shape), int(at))
    if not isinstance(other, Known):
        raise Refusal("a choice compared with a value that depends on parameters")
    return _coincide(b, index.hot, _hot(other.tensor, index.size))


def _coincide(b: LoweredBuilder, one: Handle, other: Any) -> Tensor:
    """Find where one-hot rows are the same, with broadcasting."""
    rank = max(len(one.shape), len(other.shape))
    letters = [range(rank - len(rows.shape), rank) for rows in (one, other)]
    return b.contract(range(rank - 1), (one, letters[0]), (other, letters[1]))


def _hot(integers: torch.Tensor, size: int) -> Known:
    """Write known integers as one-hot rows."""
    return Known(torch.nn.functional.one_hot(integers.long(), size).double())


def _mapped(function: Callable[[torch.Tensor, Any], torch.Tensor]) -> Callable[..., Chosen]:
    """Make the rule for arithmetic of an index with a number: another index."""

    def rule(b: LoweredBuilder, x: Any, other: Any, **_: Any) -> Chosen:
        at = b.number(other)
        if not isinstance(x, Chosen) or at is None or at != int(at):
            raise Refusal(
                "arithmetic of a choice (a result of topk, sort, max or argmax) with anything but a whole number"
            )
        image = function(torch.arange(x.size), int(at))
        if bool((image < 0).any()):
            raise Refusal("a choice moved below zero")
        letters = list(range(len(x.hot.shape)))
        where = _hot(image, int(image.max()) + 1)
        moved = b.contract([*letters[:-1], "to"], (x.hot, letters), (where, [letters[-1], "to"]))
        return Chosen(b.value(moved))

    return rule


def _sort(b: LoweredBuilder, x: Chosen, *args: Any, **options: Any) -> tuple[Chosen, Chosen]:
    """Return the indices of a sort: what is sorted, and where each entry was."""
    _, where = sort(b, number(b, x), *args, **options)
    dim = args[-2] if len(args) > 1 and isinstance(args[-1], bool) else args[-1] if args else options.get("dim", -1)
    there, mine = _letters(where, dim % len(x.shape))
    values = b.contract([*mine, "of"], (where.hot, [*mine, "entry"]), (x.hot, [*there, "of"]))
    return Chosen(b.value(values)), where


def _letters(x: Chosen, dim: int) -> tuple[list[Any], list[Any]]:
    """Return the letters of a tensor indexed along dim, and of the index: the other dims are shared."""
    mine: list[Any] = list(range(len(x.shape)))
    mine[dim] = "index"
    there: list[Any] = list(range(len(x.shape)))
    there[dim] = "entry"
    return there, mine


def _gather(b: LoweredBuilder, x: Any, dim: int, index: Chosen, **_: Any) -> Tensor:
    dim %= len(b.shape(x))
    there, mine = _letters(index, dim)
    return b.contract(mine, (x, there), (index.hot, [*mine, "entry"]))


def _scattered(b: LoweredBuilder, dim: int, index: Chosen, source: Any) -> Tensor:
    there, mine = _letters(index, dim)
    source = b.expand(source, index.shape)
    return b.contract(there, (source, mine), (index.hot, [*mine, "entry"]))


def _scatter(b: LoweredBuilder, x: Any, dim: int, index: Chosen, source: Any, **_: Any) -> Tensor:
    dim %= len(b.shape(x))
    new = _scattered(b, dim, index, source)
    if b.number(x) == 0:
        return new
    there, mine = _letters(index, dim)
    written = b.contract(there, (index.hot, [*mine, "entry"]))
    return b.combine([(1, x), (-1, b.product(x, written)), (1, new)])


def _scatter_add(b: LoweredBuilder, x: Any, dim: int, index: Chosen, source: Any, **_: Any) -> Tensor:
    new = _scattered(b, dim % len(b.shape(x)), index, source)
    return new if b.number(x) == 0 else b.combine([(1, x), (1, new)])


def _index(b: LoweredBuilder, x: Any, indices: Sequence[Any]) -> Any:
    if isinstance(x, Chosen):
        raise Refusal("a choice looked up at a choice")
    pick = picked(b.shape(x), indices)
    if isinstance(x, Known) and x.is_discrete and len(x.shape) == 1 and not bool((x.tensor < 0).any()):
        there = _hot(x.tensor, int(x.tensor.max()) + 1)  # whole numbers looked up: another index
        hot = b.contract([*pick.names, "of"], (pick.index.hot, [*pick.names, "at"]), (there, ["at", "of"]))
        return Chosen(b.value(hot))
    return b.contract(pick.out, (x, pick.x), (pick.index.hot, [*pick.names, "picked"]))


def _index_put(
    b: LoweredBuilder, x: Any, indices: Sequence[Any], values: Any, accumulate: bool = False, *_: Any
) -> Any:
    pick = picked(b.shape(x), indices)
    if not accumulate:
        if len(set(pick.x) & set(pick.names)):
            raise Refusal("writing to several indices at once, one of which depends on parameters")
        return _written(b, x, pick.dim, pick.index, values)
    values = b.expand(values, pick.shape_of(b.shape(x)))
    new = b.contract(pick.x, (values, pick.out), (pick.index.hot, [*pick.names, "picked"]))
    return new if b.number(x) == 0 else b.combine([(1, x), (1, new)])


def _written(b: LoweredBuilder, x: Any, dim: int, index: Chosen, values: Any) -> Any:
    """Write entries to indices, each to one of its own (as torch asks): `x (1 - written) + new`."""
    letters: list[Any] = list(range(len(b.shape(x))))
    names = [f"i{k}" for k in range(len(index.shape))]
    if isinstance(values, Known) and values.is_discrete and isinstance(x, Known):
        if len(letters) != 1 or bool((values.tensor < 0).any()):
            raise Refusal("whole numbers written to an index that depends on parameters, along one of several dims")
        count = int(max(values.tensor.max(), x.tensor.max())) + 1
        new = b.contract(
            ["at", "of"],
            (index.hot, [*names, "at"]),
            (_hot(values.tensor.expand(index.shape), count), [*names, "of"]),
        )
        left = b.combine([(-1, b.contract(["at"], (index.hot, [*names, "at"])))], 1.0, shape=x.shape)
        kept = b.contract(["at", "of"], (left, ["at"]), (_hot(x.tensor, count), ["at", "of"]))
        return Chosen(b.value(b.combine([(1, kept), (1, new)])))
    new = _index_put(b, Known.full(b.shape(x), 0.0), [*[None] * dim, index], values, True)
    if b.number(x) == 0:
        return new
    written = b.contract(letters[dim : dim + 1], (index.hot, [*names, dim]))
    kept = b.contract(letters, (x, letters), (b.combine([(-1, written)], 1.0), [dim]))
    return b.combine([(1, kept), (1, new)])


_VIEWS = "view _unsafe_view expand repeat permute transpose t unsqueeze squeeze select slice".split()
READERS: dict[str, Callable[..., Any]] = {
    **{name: _view(name) for name in _VIEWS},
    **dict.fromkeys(("clone", "detach", "alias", "_to_copy"), _same),
    "eq": _equal,
    "ne": lambda b, x, y: b.combine([(-1, _equal(b, x, y))], 1.0),
    "sort": _sort,
    "floor_divide": _mapped(lambda index, by: index // by),
    "remainder": _mapped(lambda index, by: index % by),
    "add": _mapped(lambda index, by: index + by),
    "sub": _mapped(lambda index, by: index - by),
    "mul": _mapped(lambda index, by: index * by),
    "gather": _gather,
    "scatter": _scatter,
    "scatter_add": _scatter_add,
    "index": _index,
    "index_put": _index_put,
    "embedding": lambda b, weight, index, *_, **__: _index(b, weight, [index]),
    "index_select": lambda b, x, dim, index: _index(b, x, [*[None] * (dim % len(b.shape(x))), index]),
}


def read(b: LoweredBuilder, call: Call) -> tuple[Any, ...] | None:
    """Return what an operation makes that reads an index."""
    if not call.holds(Chosen):
        return None
    rule = READERS.get(call.name)
    if rule is None:
        raise Refusal(f"{call.name} of a choice that depends on parameters (a result of topk, sort, max or argmax)")
    return outputs(rule(b, *call.args, **call.options))


CHOSEN = StandIn("chosen", read)

RULES: dict[str, Rule] = {
    "topk": topk,
    "sort": sort,
    "argmax": _best(True),
    "argmin": _best(False),
    "min": minimum,
    "amin": lambda b, x, dim=(), keepdim=False: over(b, x, dim, keepdim, False),
    "median": median,
    "nonzero": nonzero,
    "nonzero_static": nonzero,
    "masked_select": nonzero,
}
