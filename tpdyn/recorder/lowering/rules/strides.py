"""How do diagonals and strided views become instructions? Strides are read back as slices, drops and permutations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch

from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.rules.views import overwrite, piece, slice_
from tpdyn.recorder.lowering.values import Known, Refusal, Tensor


def diagonal(b: LoweredBuilder, x: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Return x[..., i, ..., i + offset, ...], the diagonal last."""
    first, second = dim1 % len(b.shape(x)), dim2 % len(b.shape(x))
    shape = b.shape(x)
    start = (max(-offset, 0), max(offset, 0))
    length = min(shape[first] - start[0], shape[second] - start[1])
    x = slice_(b, slice_(b, x, first, start[0], start[0] + length), second, start[1], start[1] + length)
    letters: list[Any] = list(range(len(shape)))
    letters[first] = letters[second] = "along"
    return b.contract([*(d for d in letters if d != "along"), "along"], (x, letters))


def diag_embed(b: LoweredBuilder, x: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Return x along the diagonal of two new dims, zeros elsewhere."""
    if offset != 0:
        raise Refusal("a diagonal matrix with an offset")
    rank = len(b.shape(x)) + 1
    first, second = dim1 % rank, dim2 % rank
    size = b.shape(x)[-1]
    letters: list[Any] = [d for d in range(rank) if d not in (first, second)]
    eye = Known(torch.eye(size, dtype=torch.float64), name="diagonal")
    return b.contract(list(range(rank)), (x, [*letters, first]), (eye, [first, second]))


def diagonal_backward(b: LoweredBuilder, grad: Any, sizes: Sequence[int], offset: int, dim1: int, dim2: int) -> Tensor:
    """Return zeros but for the diagonal."""
    first, second = dim1 % len(sizes), dim2 % len(sizes)
    if sizes[first] != sizes[second]:
        raise Refusal("the diagonal of a matrix that is not square")
    return diag_embed(b, grad, offset, first, second)


def diagonal_scatter(b: LoweredBuilder, x: Any, source: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Return x with its diagonal overwritten: the difference is added there."""
    rank = len(b.shape(x))
    if offset != 0 or b.shape(x)[dim1] != b.shape(x)[dim2]:
        raise Refusal("writing to a diagonal beside the main one, or of a matrix that is not square")
    change = b.combine([(1, source), (-1, diagonal(b, x, 0, dim1, dim2))])
    return b.combine([(1, x), (1, diag_embed(b, change, 0, dim1 % rank, dim2 % rank))])


Cut = tuple[int, int, int, int | None]
"""(start, step, length, dim of the view) of each dim of a base; None: the dim is dropped."""


def contiguous_steps(shape: Sequence[int]) -> list[int]:
    """Return the strides of a contiguous tensor."""
    return [math.prod(shape[d + 1 :]) for d in range(len(shape))]


def strided_cuts(
    base: Sequence[int], size: Sequence[int], stride: Sequence[int], offset: int
) -> tuple[tuple[int, ...], list[Cut]]:
    """Find how a strided view is cut out of a contiguous tensor: the base regrouped, each dim cut.

    Where the view does not fit the base's own dims, the base is regrouped by the strides of the view. Raises Refusal where
    entries would be read twice.
    """
    whole = math.prod(base)
    radix = sorted(
        {step for step, extent in zip(stride, size, strict=True) if extent > 1 and step > 0} | {1}, reverse=True
    )
    regrouped = [whole // radix[0], *(outer // inner for outer, inner in itertools.pairwise(radix))]
    for shape in (tuple(base), tuple(regrouped)):
        cuts = _cuts(shape, size, stride, offset) if math.prod(shape) == whole else None
        if cuts is not None:
            return shape, cuts
    raise Refusal(f"as_strided with sizes {tuple(size)} and strides {tuple(stride)} of a tensor of shape {tuple(base)}")


def _cuts(base: Sequence[int], size: Sequence[int], stride: Sequence[int], offset: int) -> list[Cut] | None:
    steps = contiguous_steps(base)
    starts = [offset // step % extent for step, extent in zip(steps, base, strict=True)]
    seen: dict[int, tuple[int, int]] = {}
    for view_dim, (extent, step) in enumerate(zip(size, stride, strict=True)):
        if extent == 1:
            continue
        d = next((d for d, s in enumerate(steps) if base[d] > 1 and step > 0 and step % s == 0), None)
        if d is None or d in seen or starts[d] + (extent - 1) * (step // steps[d]) >= base[d]:
            return None
        seen[d] = (view_dim, step // steps[d])
    return [
        (starts[d], seen[d][1], size[seen[d][0]], seen[d][0]) if d in seen else (starts[d], 1, 1, None)
        for d in range(len(base))
    ]


def _is_diagonal(base: Sequence[int], size: Sequence[int], stride: Sequence[int], offset: int | None) -> bool:
    """Whether a view is the diagonal of a square matrix: autograd says so of one that was written in place."""
    square = len(base) == 2 and base[0] == base[1] > 1
    return square and not offset and tuple(size) == (base[0],) and tuple(stride) == (base[0] + 1,)


def as_strided(
    b: LoweredBuilder, x: Any, size: Sequence[int], stride: Sequence[int], offset: int | None = None
) -> Tensor:
    """Slice, drop and permute dims of a contiguous tensor, where the strides say so."""
    if _is_diagonal(b.shape(x), size, stride, offset):
        return diagonal(b, x)
    shape, cuts = strided_cuts(b.shape(x), size, stride, offset or 0)
    x = b.reshape(x, shape)
    for d, (start, step, length, view_dim) in enumerate(cuts):
        if view_dim is not None and not (start == 0 and step == 1 and length == shape[d]):
            x = b.slice(x, d, start, step, length)
    for d in range(len(cuts) - 1, -1, -1):
        if cuts[d][3] is None:
            x = b.select(x, d, cuts[d][0])
    kept = [view_dim for *_, view_dim in cuts if view_dim is not None]
    x = b.permute(x, sorted(range(len(kept)), key=kept.__getitem__))
    return b.reshape(x, size)


def as_strided_scatter(
    b: LoweredBuilder, x: Any, source: Any, size: Sequence[int], stride: Sequence[int], offset: int | None = None
) -> Tensor:
    """Return x with a strided view overwritten."""
    if _is_diagonal(b.shape(x), size, stride, offset):
        return diagonal_scatter(b, x, source)
    shape, cuts = strided_cuts(b.shape(x), size, stride, offset or 0)
    kept = [view_dim for *_, view_dim in cuts if view_dim is not None]
    source = b.reshape(b.expand(source, size), [size[view_dim] for view_dim in sorted(kept)])
    source = b.permute(source, [sorted(kept).index(view_dim) for view_dim in kept])
    source = b.reshape(source, [length for _, _, length, _ in cuts])

    def written(x: Any, source: Any, d: int) -> Any:
        if d == len(cuts):
            return source
        start, step, length, _ = cuts[d]
        if start == 0 and step == 1 and length == shape[d]:
            return written(x, source, d + 1)
        here = piece(b, x, d, start, start + (length - 1) * step + 1, step)
        return overwrite(b, x, written(here, source, d + 1), d, start, step)

    return b.reshape(written(b.reshape(x, shape), source, 0), b.shape(x))


RULES: dict[str, Rule] = {
    "diagonal": diagonal,
    "diagonal_copy": diagonal,
    "diag_embed": diag_embed,
    "diagonal_backward": diagonal_backward,
    "diagonal_scatter": diagonal_scatter,
    "as_strided": as_strided,
    "as_strided_scatter": as_strided_scatter,
}
