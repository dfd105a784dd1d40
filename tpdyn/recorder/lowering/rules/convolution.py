"""How do convolutions become instructions? Gather the patches, then one Contract over channels and kernel positions.

Along each dim of space, `patches[o, k] = x[o*stride + k*dilation - padding]` is a Gather with a constant index, and its
transpose a Scatter. So a convolution is a product of a matrix for each kernel position with vectors of channels. Only the
channels are wide, as the theory wants it (Tensor Programs I, arXiv 1910.12478).

    out[n, g, c, o...] = sum_{i, k...} patches[n, g, i, (o, k)...] * weight[g, c, i, k...]

A transposed convolution is the same with the roles of the two sides of space swapped. So there are three products: to the
small side, to the large side, and to the weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch

from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.summing import reduce
from tpdyn.recorder.lowering.values import Known, Refusal, Tensor

LETTERS = tuple("xyz")
"""The dims of space; the positions in the kernel along them are "kx", "ky", "kz"."""


@final
@dataclass(frozen=True, slots=True)
class Window:
    """How a kernel moves along one dim of space: `size` positions, `kernel` of them seen from each of `out` positions."""

    size: int
    kernel: int
    out: int
    stride: int
    padding: int
    dilation: int


def each(values: Sequence[int], rank: int) -> list[int]:
    """Return one number a dim of space (torch allows one for all)."""
    return list(values) * rank if len(values) == 1 else list(values)


def window_index(b: LoweredBuilder, window: Window) -> Known:
    """Return the position in the padded dim that position o sees at kernel position k."""
    key = (window.out, window.kernel, window.stride, window.dilation)
    index = b.indices.get(key)
    if index is None:
        o, k = torch.arange(window.out), torch.arange(window.kernel)
        index = b.indices[key] = Known(o[:, None] * window.stride + k * window.dilation, name="patches")
    return index


def padded(b: LoweredBuilder, x: Any, dim: int, before: int, after: int) -> Tensor:
    """Lay zeros before and after along one dim; negative: cut so many off."""
    size = b.shape(x)[dim]
    if before < 0 or after < 0:
        x = b.slice(x, dim, max(-before, 0), 1, size - max(-before, 0) - max(-after, 0))
    parts = [part for part in (max(before, 0), x, max(after, 0)) if not (isinstance(part, int) and part == 0)]
    return b.concat(parts, dim, b.shape(x)) if len(parts) > 1 else b.value(x)


def patches(b: LoweredBuilder, x: Any, windows: Sequence[Window]) -> Tensor:
    """Cut [..., s1, s2] into [..., o1, k1, o2, k2]: what the kernel sees from each output position."""
    lead = len(b.shape(x)) - len(windows)
    for number, window in enumerate(windows):
        dim = lead + 2 * number
        seen = (window.out - 1) * window.stride + (window.kernel - 1) * window.dilation + 1
        x = padded(b, x, dim, window.padding, seen - window.size - window.padding)
        if window.kernel == 1:
            if window.stride != 1:
                x = b.slice(x, dim, 0, window.stride, window.out)
            x = b.unsqueeze(x, dim + 1)
            continue
        letters: list[Any] = list(range(len(b.shape(x))))
        letters[dim] = "old"
        out = [*letters[:dim], "o", "k", *letters[dim + 1 :]]
        x = b.gather(x, letters, window_index(b, window), ["o", "k"], "old", out)
    return b.value(x)


def spread(b: LoweredBuilder, x: Any, windows: Sequence[Window]) -> Tensor:
    """Return the transpose of `patches`: [..., o1, k1, o2, k2] -> [..., s1, s2], added up where patches overlap."""
    lead = len(b.shape(x)) - 2 * len(windows)
    for number, window in enumerate(windows):
        dim = lead + number
        seen = (window.out - 1) * window.stride + (window.kernel - 1) * window.dilation + 1
        if window.kernel == 1 and window.stride == 1:
            x = b.squeeze(x, [dim + 1]) if b.shape(x)[dim + 1] == 1 else x
        else:
            letters: list[Any] = list(range(len(b.shape(x))))
            letters[dim], letters[dim + 1] = "o", "k"
            out = [*letters[:dim], "new", *letters[dim + 2 :]]
            position = b.value(x)
            x = b.scatter(position, letters, window_index(b, window), ["o", "k"], "new", out, seen)
        x = padded(b, x, dim, -window.padding, window.size + window.padding - seen)
    return b.value(x)


@final
@dataclass(frozen=True, slots=True)
class _Convolution:
    """The shapes and letters of one convolution. Patches of the large side of space are seen from the small one.

    Letters of channels: "s" on the small side, "l" on the large one, in groups "g".
    """

    windows: tuple[Window, ...]
    transposed: bool
    groups: int

    @property
    def positions(self) -> list[str]:
        return list(LETTERS[: len(self.windows)])

    @property
    def kernel(self) -> list[str]:
        return ["k" + letter for letter in self.positions]

    @property
    def small(self) -> list[str]:
        """The letters of the small side."""
        return ["n", "g", "s", *self.positions]

    @property
    def seen(self) -> list[str]:
        """The letters of patches of the large side."""
        return ["n", "g", "l", *(letter for pair in zip(self.positions, self.kernel, strict=True) for letter in pair)]

    @property
    def weight(self) -> list[str]:
        return ["g", "s", "l", *self.kernel]

    def grouped(self, b: LoweredBuilder, x: Any, dim: int) -> Tensor:
        """Return a dim of channels as (group, channel in the group)."""
        shape = b.shape(x)
        return b.reshape(x, (*shape[:dim], self.groups, shape[dim] // self.groups, *shape[dim + 1 :]))

    def joined(self, b: LoweredBuilder, x: Any, dim: int) -> Tensor:
        shape = b.shape(x)
        return b.reshape(x, (*shape[:dim], shape[dim] * shape[dim + 1], *shape[dim + 2 :]))

    def patches(self, b: LoweredBuilder, large: Any) -> Tensor:
        return self.grouped(b, patches(b, large, self.windows), 1)

    def to_small(self, b: LoweredBuilder, seen: Tensor, w: Tensor) -> Tensor:
        """Return the small side, given patches of the large one."""
        return self.joined(b, b.contract(self.small, (seen, self.seen), (w, self.weight)), 1)

    def to_large(self, b: LoweredBuilder, small: Any, w: Tensor) -> Tensor:
        """Return the large side, patches added up."""
        pieces = b.contract(self.seen, (self.grouped(b, small, 1), self.small), (w, self.weight))
        return spread(b, self.joined(b, pieces, 1), self.windows)

    def to_weight(self, b: LoweredBuilder, small: Any, seen: Tensor) -> Tensor:
        """Return the sum over positions of what both sides hold there."""
        return self.joined(b, b.contract(self.weight, (self.grouped(b, small, 1), self.small), (seen, self.seen)), 0)


def _plan(
    x: Sequence[int],
    weight: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    *_: Any,
) -> _Convolution:
    rank = len(weight) - 2
    if len(x) != rank + 2 or not 1 <= rank <= 3:
        raise Refusal(f"a convolution of a tensor of shape {tuple(x)} with a kernel of shape {tuple(weight)}")
    windows = []
    numbers = zip(
        each(stride, rank), each(padding, rank), each(dilation, rank), each(output_padding, rank), strict=True
    )
    for axis, (step, pad, gap, extra) in enumerate(numbers):
        size, kernel = x[2 + axis], weight[2 + axis]
        if transposed:
            whole = (size - 1) * step - 2 * pad + gap * (kernel - 1) + extra + 1
            windows.append(Window(whole, kernel, size, step, pad, gap))
        else:
            out = (size + 2 * pad - gap * (kernel - 1) - 1) // step + 1
            windows.append(Window(size, kernel, out, step, pad, gap))
    return _Convolution(tuple(windows), transposed, groups)


def convolution(b: LoweredBuilder, x: Any, weight: Any, bias: Any, *geometry: Any) -> Tensor:
    """Return a convolution (or a transposed one), in groups. geometry: the further arguments of `_plan`."""
    plan = _plan(b.shape(x), b.shape(weight), *geometry)
    w = plan.grouped(b, weight, 0)
    out = plan.to_large(b, x, w) if plan.transposed else plan.to_small(b, plan.patches(b, x), w)
    if bias is None:
        return out
    return b.combine([(1, out), (1, b.reshape(bias, (-1, *(1,) * len(plan.windows))))])


def convolution_backward(
    b: LoweredBuilder, grad: Any, x: Any, weight: Any, bias_sizes: Any, *geometry: Any
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of x, weight and bias, as far as wanted: which are, comes after the geometry."""
    plan, mask = _plan(b.shape(x), b.shape(weight), *geometry), geometry[-1]
    w = plan.grouped(b, weight, 0)
    if plan.transposed:
        seen = plan.patches(b, grad)
        dx = plan.to_small(b, seen, w) if mask[0] else None
        dw = plan.to_weight(b, x, seen) if mask[1] else None
    else:
        dx = plan.to_large(b, grad, w) if mask[0] else None
        dw = plan.to_weight(b, grad, plan.patches(b, x)) if mask[1] else None
    db = reduce(b, grad, [d for d in range(len(b.shape(grad))) if d != 1]) if mask[2] else None
    return dx, dw, db


def _pairs(
    sizes: Sequence[int], kernel: Sequence[int], dilation: Sequence[int], padding: Sequence[int], stride: Sequence[int]
) -> list[Window]:
    return [
        Window(size, k, (size + 2 * p - d * (k - 1) - 1) // s + 1, s, p, d)
        for size, k, d, p, s in zip(sizes, kernel, dilation, padding, stride, strict=True)
    ]


def unfold(b: LoweredBuilder, x: Any, *geometry: Sequence[int]) -> Tensor:
    """Apply im2col: [n, c, h, w] -> [n, c * kh * kw, positions]."""
    shape = b.shape(x)
    windows = _pairs(shape[2:], *geometry)
    seen = b.permute(patches(b, x, windows), [0, 1, 3, 5, 2, 4])
    (first, second) = windows
    return b.reshape(seen, (shape[0], shape[1] * first.kernel * second.kernel, first.out * second.out))


def fold(b: LoweredBuilder, x: Any, *geometry: Sequence[int]) -> Tensor:
    """Apply col2im: the transpose of unfold, to an image of the sizes given first."""
    first, second = windows = _pairs(*geometry)
    shape = b.shape(x)
    channels = shape[1] // (first.kernel * second.kernel)
    apart = b.reshape(x, (shape[0], channels, first.kernel, second.kernel, first.out, second.out))
    return spread(b, b.permute(apart, [0, 1, 4, 2, 5, 3]), windows)


RULES: dict[str, Rule] = {
    "convolution": convolution,
    "convolution_backward": convolution_backward,
    "im2col": unfold,
    "col2im": fold,
}
