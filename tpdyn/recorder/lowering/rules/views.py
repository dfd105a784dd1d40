"""How do views become instructions? Most are relabelled axes and cost nothing; what remains is Reshape, Slice, Concat."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.values import Known, Number, Refusal, Shape, Tensor


def _dim(b: LoweredBuilder, x: Any, dim: int, extra: int = 0) -> int:
    return dim % (len(b.shape(x)) + extra)


def view(b: LoweredBuilder, x: Any, shape: Sequence[int], *_: Any, **__: Any) -> Tensor:
    """Return the same entries in order, regrouped."""
    if not isinstance(shape, (list, tuple)):
        raise Refusal("a view as another type")
    return b.reshape(x, shape)


def squeeze(b: LoweredBuilder, x: Any, dim: Any = None) -> Tensor:
    """Drop dims of size 1."""
    dims = range(len(b.shape(x))) if dim is None else [dim] if isinstance(dim, int) else dim
    return b.squeeze(x, list(dims))


def bounds(size: int, start: int | None, end: int | None) -> tuple[int, int]:
    """Apply Python's rules for start and end."""
    first, last, _ = slice(start, end).indices(size)
    return first, max(first, last)


def slice_(
    b: LoweredBuilder, x: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """Return x[start:end:step] along dim."""
    dim = _dim(b, x, dim)
    size = b.shape(x)[dim]
    first, last = bounds(size, start, end)
    if first == 0 and last == size and step == 1:
        return b.value(x)
    length = -((first - last) // step)
    if step > 1 and first < step and length * step == size:  # one column of a dim seen as rows
        shape = b.shape(x)
        grid = b.reshape(x, (*shape[:dim], length, step, *shape[dim + 1 :]))
        return b.select(grid, dim + 1, first)
    return b.slice(x, dim, first, step, length)


def select(b: LoweredBuilder, x: Any, dim: int, index: int) -> Tensor:
    """Return x[index] along dim, which is dropped."""
    dim = _dim(b, x, dim)
    return b.select(x, dim, index % b.shape(x)[dim])


def flip(b: LoweredBuilder, x: Any, dims: Sequence[int]) -> Tensor:
    """Reverse along dims."""
    for dim in dims:
        dim = _dim(b, x, dim)
        size = b.shape(x)[dim]
        x = b.slice(x, dim, size - 1, -1, size)
    return b.value(x)


def split_with_sizes(b: LoweredBuilder, x: Any, sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Cut into consecutive pieces."""
    starts = [sum(sizes[:k]) for k in range(len(sizes))]
    return tuple(slice_(b, x, dim, start, start + size) for start, size in zip(starts, sizes))


def split(b: LoweredBuilder, x: Any, size: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut into pieces of one size (the last may be smaller)."""
    total = b.shape(x)[_dim(b, x, dim)]
    if isinstance(size, (list, tuple)):
        return split_with_sizes(b, x, size, dim)
    step = int(size)
    return split_with_sizes(b, x, [min(step, total - s) for s in range(0, total, step)], dim)


def unbind(b: LoweredBuilder, x: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Return each entry along dim."""
    return tuple(select(b, x, dim, k) for k in range(b.shape(x)[_dim(b, x, dim)]))


def cat(b: LoweredBuilder, tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """End to end; what is empty (the dims that a full rotation leaves unrotated) adds nothing."""
    tensors = [x for x in tensors if math.prod(b.shape(x))] or list(tensors[:1])
    if len(tensors) == 1:
        return b.value(tensors[0])
    return b.concat(tensors, _dim(b, tensors[0], dim), b.shape(tensors[0]))


def stack(b: LoweredBuilder, tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """Lay side by side, along a new dim."""
    dim = _dim(b, tensors[0], dim, 1)
    new = [
        Known.full((*b.shape(x)[:dim], 1, *b.shape(x)[dim:]), 0.0) if b.number(x) == 0 else b.unsqueeze(x, dim)
        for x in tensors
    ]
    return new[0] if len(new) == 1 else b.concat(new, dim, b.shape(new[0]))


def slice_backward(
    b: LoweredBuilder, grad: Any, sizes: Sequence[int], dim: int, start: int, end: int, step: int
) -> Tensor:
    """Return zeros but for the slice."""
    dim = dim % len(sizes)
    first, last = bounds(sizes[dim], start, end)
    if first == 0 and last == sizes[dim] and step == 1:
        return b.value(grad)
    if first >= last:
        return Known.full(tuple(sizes), 0.0)
    return overwrite(b, Known.full(tuple(sizes), 0.0), grad, dim, first, step)


def select_backward(b: LoweredBuilder, grad: Any, sizes: Sequence[int], dim: int, index: int) -> Tensor:
    """Return zeros but for one index."""
    dim = dim % len(sizes)
    zeros = Known.full(tuple(sizes), 0.0)
    return zeros if b.number(grad) == 0 else overwrite(b, zeros, b.unsqueeze(grad, dim), dim, index % sizes[dim])


def overwrite(b: LoweredBuilder, x: Any, source: Any, dim: int, start: int, step: int = 1) -> Tensor:
    """Return x, but for source at start, start+step, ... along dim."""
    size, length = b.shape(x)[dim], b.shape(source)[dim]
    if step != 1:
        return _overwrite_by_steps(b, x, source, dim, start, step)
    if start == 0 and length == size:
        return source if isinstance(source, Known) else b.value(source)
    parts: list[Any] = []
    if start > 0:
        parts.append(piece(b, x, dim, 0, start))
    parts.append(source)
    if start + length < size:
        parts.append(piece(b, x, dim, start + length, size))
    return b.concat(parts, dim, b.shape(x))


def _overwrite_by_steps(b: LoweredBuilder, x: Any, source: Any, dim: int, start: int, step: int) -> Tensor:
    """Return the dim as rows of `step` entries, one of which is written in each row. A last row may be too short for that.

    So the number of statements does not depend on the length. A wide dim 2m is seen as m pairs.
    """
    shape, length = b.shape(x), b.shape(source)[dim]
    first = start - start % step
    rows = min(length, (shape[dim] - first) // step)
    written_to: Tensor = x
    if rows:
        grid = b.reshape(piece(b, x, dim, first, first + rows * step), (*shape[:dim], rows, step, *shape[dim + 1 :]))
        column = piece(b, source, dim, 0, rows)
        number = b.number(column)
        shaped = (*shape[:dim], rows, 1, *shape[dim + 1 :])
        column = b.unsqueeze(column, dim + 1) if number is None else Known.full(shaped, number)
        written = overwrite(b, grid, column, dim + 1, start % step)
        written_to = overwrite(b, x, b.reshape(written, (*shape[:dim], rows * step, *shape[dim + 1 :])), dim, first)
    if rows < length:
        written_to = overwrite(b, written_to, piece(b, source, dim, rows, length), dim, start + rows * step)
    return written_to


def piece(b: LoweredBuilder, x: Any, dim: int, start: int, end: int, step: int = 1) -> Tensor:
    """Return x[start:end:step] along dim; of a constant, a constant."""
    number = b.number(x)
    if number is not None:
        shape: Shape = b.shape(x)
        return Known.full((*shape[:dim], -((start - end) // step), *shape[dim + 1 :]), number)
    return slice_(b, x, dim, start, end, step)


def slice_scatter(
    b: LoweredBuilder,
    x: Any,
    source: Any,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Tensor:
    """Return x with a slice overwritten."""
    dim = _dim(b, x, dim)
    first, last = bounds(b.shape(x)[dim], start, end)
    shape = b.shape(x)
    source = b.expand(source, (*shape[:dim], -((first - last) // step), *shape[dim + 1 :]))
    return overwrite(b, x, source, dim, first, step)


def select_scatter(b: LoweredBuilder, x: Any, source: Any, dim: int, index: int) -> Tensor:
    """Return x with one index overwritten."""
    dim = _dim(b, x, dim)
    shape = b.shape(x)
    source = b.expand(source, (*shape[:dim], *shape[dim + 1 :]))
    number = b.number(source)
    row = b.unsqueeze(source, dim) if number is None else Known.full((*shape[:dim], 1, *shape[dim + 1 :]), number)
    return overwrite(b, x, row, dim, index % shape[dim])


def pad(b: LoweredBuilder, x: Any, pad: Sequence[int], value: Number = 0) -> Tensor:
    """Pad with a constant, last dim first."""
    for k in range(len(pad) // 2):
        dim = len(b.shape(x)) - 1 - k
        before, after = pad[2 * k], pad[2 * k + 1]
        if before < 0 or after < 0:
            size = b.shape(x)[dim]
            x = slice_(b, x, dim, max(-before, 0), size - max(-after, 0))
        shape = b.shape(x)
        edges = [
            Known.full((*shape[:dim], max(size, 0), *shape[dim + 1 :]), value) if value != 0 else max(size, 0)
            for size in (before, after)
        ]
        parts = [edges[0]] * (before > 0) + [x] + [edges[1]] * (after > 0)
        x = b.concat(parts, dim, shape) if len(parts) > 1 else x
    return b.value(x)


def roll(b: LoweredBuilder, x: Any, shifts: Any, dims: Any = ()) -> Tensor:
    """Shift round and round along dims (without dims, all entries in a row)."""
    shifts = [shifts] if isinstance(shifts, int) else list(shifts)
    dims = [dims] if isinstance(dims, int) else list(dims)
    if not dims:
        shape = b.shape(x)
        return b.reshape(roll(b, b.reshape(x, (-1,)), shifts, [0]), shape)
    for shift, dim in zip(shifts, dims, strict=True):
        dim = _dim(b, x, dim)
        size = b.shape(x)[dim]
        cut = size - shift % size
        if cut != size:
            x = b.concat([slice_(b, x, dim, cut, size), slice_(b, x, dim, 0, cut)], dim, b.shape(x))
    return b.value(x)


def pixel_shuffle(b: LoweredBuilder, x: Any, factor: int) -> Tensor:
    """Move channels (c, r, r) beside pixels (h, w) -> channels c, pixels (h r, w r)."""
    *lead, channels, height, width = b.shape(x)
    n, kept = len(lead), channels // factor**2
    apart = b.reshape(x, (*lead, kept, factor, factor, height, width))
    order = [*range(n), n, n + 3, n + 1, n + 4, n + 2]
    return b.reshape(b.permute(apart, order), (*lead, kept, height * factor, width * factor))


def pixel_unshuffle(b: LoweredBuilder, x: Any, factor: int) -> Tensor:
    """Return the inverse of pixel_shuffle."""
    *lead, channels, height, width = b.shape(x)
    n = len(lead)
    apart = b.reshape(x, (*lead, channels, height // factor, factor, width // factor, factor))
    order = [*range(n), n, n + 2, n + 4, n + 1, n + 3]
    return b.reshape(b.permute(apart, order), (*lead, channels * factor**2, height // factor, width // factor))


def repeat(b: LoweredBuilder, x: Any, repeats: Sequence[int]) -> Tensor:
    """Lay copies side by side: a broadcast, then a regrouping."""
    lead = len(repeats) - len(b.shape(x))
    shape = (*(1,) * lead, *b.shape(x))
    spread = b.reshape(x, [s for size in shape for s in (1, size)])
    spread = b.expand(spread, [s for count, size in zip(repeats, shape) for s in (count, size)])
    return b.reshape(spread, [count * size for count, size in zip(repeats, shape)])


RULES: dict[str, Rule] = {
    **dict.fromkeys(("view", "_unsafe_view", "_reshape_alias", "view_copy"), view),
    "t": lambda b, x: b.transpose(x, 0, 1) if len(b.shape(x)) == 2 else b.value(x),
    "transpose": LoweredBuilder.transpose,
    "permute": LoweredBuilder.permute,
    "unsqueeze": lambda b, x, dim: b.unsqueeze(x, _dim(b, x, dim, 1)),
    "squeeze": squeeze,
    "expand": lambda b, x, shape, **_: b.expand(x, shape),
    "slice": slice_,
    "select": select,
    "flip": flip,
    **dict.fromkeys(("split", "unsafe_split"), split),
    **dict.fromkeys(("split_with_sizes", "unsafe_split_with_sizes"), split_with_sizes),
    "unbind": unbind,
    "cat": cat,
    "stack": stack,
    "slice_backward": slice_backward,
    "select_backward": select_backward,
    "slice_scatter": slice_scatter,
    "select_scatter": select_scatter,
    "constant_pad_nd": pad,
    "repeat": repeat,
    "roll": roll,
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
}
