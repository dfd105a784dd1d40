"""How do lookups become instructions? Gather and Scatter on one axis, by an index that does not depend on parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch

from tpdyn.recorder.lowering.builder import LoweredBuilder, common_shape, letters_but
from tpdyn.recorder.lowering.rules import views
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.values import Handle, Known, Number, Refusal, Tensor


def _index(index: Any) -> Known:
    if not isinstance(index, Known):
        raise Refusal("an index that depends on parameters")
    return index


def _wrapped(index: Known, size: int) -> Known:
    """Count negative positions from the end; a mask becomes the positions where it holds."""
    if index.tensor.dtype == torch.bool:
        if index.tensor.ndim != 1:
            raise Refusal("a mask of several dims as index")
        return Known(index.tensor.nonzero().flatten(), index.kind, None, index.name)
    if bool((index.tensor < 0).any()):
        return Known(torch.where(index.tensor < 0, index.tensor + size, index.tensor), index.kind, None, index.name)
    return index


def embedding(b: LoweredBuilder, weight: Any, index: Any, *_: Any, **__: Any) -> Tensor:
    """Return weight[index]."""
    batch = list(range(len(b.shape(index))))
    return b.gather(weight, ["row", "feature"], _index(index), batch, "row", [*batch, "feature"])


def embedding_backward(b: LoweredBuilder, grad: Any, index: Any, rows: int, padding: int, by_frequency: bool) -> Tensor:
    """Add up each row's gradients."""
    index = _index(index)
    if by_frequency:
        raise Refusal("nn.Embedding(scale_grad_by_freq=True)")
    batch = list(range(len(b.shape(index))))
    if padding >= 0 and bool((index.tensor == padding).any()):
        counted = Known((index.tensor != padding).to(torch.float64), "data", None, "not_padding")
        grad = b.contract([*batch, "feature"], (grad, [*batch, "feature"]), (counted, batch))
    return b.scatter(b.value(grad), [*batch, "feature"], index, batch, "row", ["row", "feature"], rows)


SUM, MEAN = 0, 1  # modes of torch.nn.EmbeddingBag


def _membership(bags: Known, sizes: Known, mode: int, index: Known, padding: int) -> Known:
    """Return what each looked-up row counts in each bag."""
    if mode not in (SUM, MEAN):
        raise Refusal("nn.EmbeddingBag(mode='max'): the largest of many embeddings, by entry; try 'sum' or 'mean'")
    member = torch.nn.functional.one_hot(bags.tensor, sizes.tensor.numel()).t().to(torch.float64)
    member = member * (index.tensor != padding)
    if mode == MEAN:
        member = member / sizes.tensor.clamp(min=1)[:, None]
    return Known(member, index.kind, None, "bags")


def embedding_bag(
    b: LoweredBuilder,
    weight: Any,
    index: Any,
    offsets: Any,
    by_frequency: bool = False,
    mode: int = SUM,
    sparse: bool = False,
    each: Any = None,
    includes_last: bool = False,
    padding: int = -1,
) -> tuple[Tensor, Known, Known, Known]:
    """Return sums or means over bags of rows of an embedding. Also return the bag of each row, and the rows of each bag."""
    index, starts = _index(index), _index(offsets).tensor
    starts = starts[:-1] if includes_last else starts
    bags = torch.searchsorted(starts, torch.arange(index.tensor.numel()), right=True) - 1
    sizes = torch.zeros(starts.numel(), dtype=torch.int64).index_add(0, bags, (index.tensor != padding).long())
    known = Known(bags, index.kind, None, "bag_of"), Known(sizes, index.kind, None, "bag_sizes")
    rows = b.gather(weight, ["row", "feature"], index, ["entry"], "row", ["entry", "feature"])
    if each is not None:
        rows = b.value(b.contract(["entry", "feature"], (rows, ["entry", "feature"]), (each, ["entry"])))
    member = _membership(*known, mode, index, padding)
    out = b.contract(["bag", "feature"], (member, ["bag", "entry"]), (rows, ["entry", "feature"]))
    return out, *known, Known(sizes, index.kind)


def embedding_bag_backward(
    b: LoweredBuilder,
    grad: Any,
    index: Any,
    offsets: Any,
    bags: Any,
    sizes: Any,
    largest: Any,
    rows: int,
    by_frequency: bool,
    mode: int,
    sparse: bool = False,
    each: Any = None,
    padding: int = -1,
) -> Tensor:
    """Give each row its share of the gradients of its bags."""
    if by_frequency:
        raise Refusal("nn.EmbeddingBag(scale_grad_by_freq=True)")
    index = _index(index)
    member = _membership(bags, sizes, mode, index, padding)
    shares = b.contract(["entry", "feature"], (member, ["bag", "entry"]), (grad, ["bag", "feature"]))
    if each is not None:
        shares = b.contract(["entry", "feature"], (shares, ["entry", "feature"]), (each, ["entry"]))
    return b.scatter(b.value(shares), ["entry", "feature"], index, ["entry"], "row", ["row", "feature"], rows)


def index_select(b: LoweredBuilder, x: Any, dim: int, index: Any) -> Tensor:
    """Select x at the positions along dim."""
    dim %= len(b.shape(x))
    return b.pick(x, dim, _wrapped(_index(index), b.shape(x)[dim]))


def index_select_backward(b: LoweredBuilder, grad: Any, sizes: Sequence[int], dim: int, index: Any) -> Tensor:
    """Return the transpose of index_select."""
    dim %= len(sizes)
    return b.put(b.value(grad), dim, _index(index), sizes[dim])


def index_add(b: LoweredBuilder, x: Any, dim: int, index: Any, source: Any, *, alpha: Number = 1) -> Tensor:
    """Return x + alpha * (source scattered along dim)."""
    return b.combine([(1, x), (alpha, index_select_backward(b, source, b.shape(x), dim, index))])


@final
@dataclass(frozen=True, slots=True)
class Pick:
    """What an index of several dims picks: from which dim, by which index, a `Known` or a choice.

    Letters of x ("picked" is that dim), of the index, and of the result.
    """

    dim: int
    index: Any
    x: list[Any]
    names: list[str]
    out: list[Any]

    def shape_of(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of what is picked from a shape."""
        sizes = {**dict(zip(self.x, shape, strict=True)), **dict(zip(self.names, self.index.shape, strict=True))}
        return tuple(sizes[letter] for letter in self.out)


def picked(shape: Sequence[int], indices: Sequence[Any]) -> Pick:
    """Find which dim an advanced index picks from.

    Several indices are allowed when all but one are arange(size) along a dim of their own: those pair dims up.
    """
    given = [(d, index) for d, index in enumerate(indices) if index is not None]
    if not given:
        raise Refusal("an index without positions")
    common = common_shape(*[index.shape for _, index in given])
    names = [f"i{k}" for k in range(len(common))]
    letters: list[Any] = list(range(len(shape)))
    picks = []
    for d, index in given:
        axis = paired(index, common, shape[d]) if len(given) > 1 and isinstance(index, Known) else None
        if axis is None:
            picks.append((d, index))
        else:
            letters[d] = names[axis]
    if len(picks) != 1:
        known = all(isinstance(index, Known) for _, index in picks)
        which = "more than one of them not an arange" if known else "one of which depends on parameters"
        raise Refusal(f"several index tensors at once, {which}")
    (dim, index), dims = picks[0], [d for d, _ in given]
    letters[dim] = "picked"
    first = dims[0] if dims == list(range(dims[0], dims[0] + len(dims))) else 0
    before = [letters[d] for d in range(first) if d not in dims]
    rest = [letters[d] for d in range(first, len(shape)) if d not in dims]
    return Pick(dim, index, letters, names[len(common) - len(index.shape) :], [*before, *names, *rest])


def _given(shape: Sequence[int], indices: Sequence[Any]) -> list[Known | None]:
    return [None if index is None else _wrapped(_index(index), shape[d]) for d, index in enumerate(indices)]


def paired(index: Known, common: Sequence[int], size: int) -> int | None:
    """Return the axis of the common shape along which the index is arange(size), if it is."""
    lead = len(common) - len(index.shape)
    long = [k for k, s in enumerate(index.shape) if s != 1]
    if len(long) != 1 or common[long[0] + lead] != size:
        return None
    return long[0] + lead if torch.equal(index.tensor.flatten(), torch.arange(size)) else None


def index_(b: LoweredBuilder, x: Any, indices: Sequence[Any]) -> Tensor:
    """Return x[..., index, ...]."""
    one = _one_entry(b.shape(x), indices)
    if one is not None:
        return views.piece(b, x, one[0], one[1], one[1] + 1)
    pick = picked(b.shape(x), _given(b.shape(x), indices))
    return b.gather(x, pick.x, pick.index, pick.names, "picked", pick.out)


def _one_entry(shape: Sequence[int], indices: Sequence[Any]) -> tuple[int, int] | None:
    """Return dim and entry of an index that is a constant list of one entry (the keys of Falcon). It cuts like a slice."""
    given = [(dim, index) for dim, index in enumerate(indices) if index is not None]
    if len(given) != 1 or not isinstance(given[0][1], Known):
        return None
    dim, index = given[0]
    if index.kind != "constant" or index.shape != (1,) or index.tensor.dtype == torch.bool or dim >= len(shape):
        return None
    return dim, int(index.tensor) % shape[dim]


def index_put(
    b: LoweredBuilder, x: Any, indices: Sequence[Any], values: Any, accumulate: bool = False, *_: Any
) -> Tensor:
    """Return x with values written at the index, or added there (with accumulate, as in the backward of an index)."""
    shape = b.shape(x)
    one = _one_entry(shape, indices)
    if one is not None:
        at, entry = one
        new = b.expand(values, (*shape[:at], 1, *shape[at + 1 :]))
        if accumulate and b.number(x) != 0:
            new = b.combine([(1, views.piece(b, x, at, entry, entry + 1)), (1, new)])
        return views.overwrite(b, x, new, at, entry)
    if len(indices) == 1 and not accumulate and b.number(values) is not None and _is_whole_mask(b, indices[0], shape):
        return b.apply("where", indices[0], values, x)
    pick = picked(shape, _given(shape, indices))
    index = pick.index
    values = b.value(b.expand(values, pick.shape_of(shape)))
    result = [letter if letter != "picked" else "filled" for letter in pick.x]
    if not accumulate:
        kept = _kept(pick, shape[pick.dim])
        x = x if b.number(x) == 0 else b.contract(pick.x, (x, pick.x), kept)
    added = b.scatter(values, pick.out, index, pick.names, "filled", result, shape[pick.dim])
    return added if b.number(x) == 0 else b.combine([(1, x), (1, added)])


def _kept(pick: Pick, size: int) -> tuple[Known, list[Any]]:
    """Return 0 where an index writes and 1 elsewhere, with its letters. Dims that the index is paired with write apart."""
    apart = [k for k, name in enumerate(pick.names) if name in pick.x]
    together = [k for k in range(len(pick.names)) if k not in apart]
    rows = pick.index.tensor.permute((*apart, *together))
    rows = rows.reshape(*rows.shape[: len(apart)], -1).long()
    if bool((rows.sort(-1).values.diff(dim=-1) == 0).any()):
        raise Refusal("writing to an index that names a position twice: which value stays is not defined")
    kept = torch.ones(*rows.shape[:-1], size, dtype=torch.float64).scatter_(-1, rows, 0.0)
    return Known(kept, pick.index.kind, None, "kept"), [*(pick.names[k] for k in apart), "picked"]


def _is_whole_mask(b: LoweredBuilder, index: Any, shape: Sequence[int]) -> bool:
    """Tell whether the index says of each entry whether it is written. (What depends on parameters and is not a choice is a
    mask.)
    """
    if isinstance(index, Known) and index.tensor.dtype != torch.bool:
        return False
    return isinstance(index, (Known, Handle)) and tuple(b.shape(index)) == tuple(shape)


def gather(b: LoweredBuilder, x: Any, dim: int, index: Any, **_: Any) -> Tensor:
    """Return x picked along dim, jointly in the other dims."""
    rank, index = len(b.shape(x)), _index(index)
    dim = dim % max(rank, 1)
    _same_elsewhere(b.shape(x), index.shape, dim)
    return b.gather(x, letters_but(rank, {dim: "picked"}), index, range(rank), "picked", range(rank))


def scatter_add(b: LoweredBuilder, x: Any, dim: int, index: Any, source: Any) -> Tensor:
    """Return x + source added along dim, jointly in the other dims."""
    rank, index = len(b.shape(x)), _index(index)
    dim = dim % max(rank, 1)
    _same_elsewhere(b.shape(x), index.shape, dim)
    letters = letters_but(rank, {dim: "from"})
    source = b.value(b.expand(source, index.shape))
    added = b.scatter(source, letters, index, letters, dim, range(rank), b.shape(x)[dim])
    return added if b.number(x) == 0 else b.combine([(1, x), (1, added)])


def _same_elsewhere(shape: Sequence[int], index: Sequence[int], dim: int) -> None:
    if any(s != i for k, (s, i) in enumerate(zip(shape, index)) if k != dim):
        raise Refusal(f"an index of shape {tuple(index)} into {tuple(shape)}: other dims must be equal")


def scatter(b: LoweredBuilder, x: Any, dim: int, index: Any, source: Any, **_: Any) -> Tensor:
    """Return x with source written along dim, jointly in the other dims."""
    index = _index(index)
    dim = dim % max(len(b.shape(x)), 1)
    if int(index.tensor.sort(dim).values.diff(dim=dim).eq(0).sum()) and index.tensor.shape[dim] > 1:
        raise Refusal("writing to an index that names a position twice: which value stays is not defined")
    zeros = Known.full(b.shape(x), 0.0)
    added = scatter_add(b, zeros, dim, index, source)
    if b.number(x) == 0:
        return added
    kept = torch.ones(b.shape(x), dtype=torch.float64).scatter(dim, index.tensor, 0.0)
    return b.combine([(1, b.product(x, Known(kept, index.kind, None, "kept"))), (1, added)])


def _triangle(cut: Callable[..., torch.Tensor]) -> Rule:
    """Set zeros outside of a triangle."""
    return lambda b, x, diagonal=0: b.apply(
        "where", Known(cut(torch.ones(b.shape(x)[-2:], dtype=torch.bool), diagonal)), x, 0.0
    )


RULES: dict[str, Rule] = {
    **{name: _triangle(getattr(torch, name)) for name in ("tril", "triu")},
    "embedding": embedding,
    "embedding_dense_backward": embedding_backward,
    "_embedding_bag": embedding_bag,
    "_embedding_bag_forward_only": embedding_bag,
    "_embedding_bag_backward": embedding_bag_backward,
    "index_select": index_select,
    "index_add": index_add,
    "index": index_,
    "_unsafe_index": index_,
    "index_put": index_put,
    "_unsafe_index_put": index_put,
    "_index_put_impl": index_put,
    "gather": gather,
    "scatter_add": scatter_add,
    "scatter": scatter,
}
