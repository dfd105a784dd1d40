"""How do pooling and resampling become instructions? Means are matrices of constants; a maximum is a choice in a window.

An average over windows, an interpolation and an adaptive average act on each dim of space by itself and linearly. Each is
one Contract with a constant matrix a dim. A maximum over a window is a chain of pairwise maxima. Its gradient goes to the
first largest entry, as torch has it. Padding by reflection or by the edge is a Gather.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.rules.convolution import each
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.values import Argmax, Handle, Known, Refusal, Tensor

aten = torch.ops.aten

# -- linear maps along dims of space -----------------------------------------------------------------------------------


def _probed(size: int, run: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Return the matrix [out, in] of a linear map on one dim, read off at unit vectors [in, 1, in]."""
    with torch.no_grad():
        return run(torch.eye(size, dtype=torch.float64).unsqueeze(1)).squeeze(1).t().contiguous()


Maps = list[torch.Tensor]


def _apply(b: LoweredBuilder, x: Any, maps: Maps, *, transposed: bool = False) -> Tensor:
    lead = len(b.shape(x)) - len(maps)
    for number, matrix in enumerate(maps):
        key = ("matrix", tuple(matrix.shape), matrix.numpy().tobytes())
        known = b.indices.setdefault(key, Known(matrix, name="resampling"))
        x = b.along(x, lead + number, known, transposed=transposed)
    return b.value(x)


def _linear(maps: Callable[..., Maps], rank: int) -> tuple[Rule, Rule]:
    """Make the rules of a linear operation and its backward. maps(sizes, *arguments): its matrix along each dim of space. The
    backward of an adaptive one is not told the sizes of the result: its gradient has them.
    """

    def rule(b: LoweredBuilder, x: Any, *args: Any) -> Tensor:
        return _apply(b, x, maps(b.shape(x)[-rank:], *args))

    def backward(b: LoweredBuilder, grad: Any, x: Any, *args: Any) -> Tensor:
        return _apply(b, grad, maps(b.shape(x)[-rank:], *(args or (b.shape(grad)[-rank:],))), transposed=True)

    return rule, backward


def _average_maps(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil: bool = False,
    count: bool = True,
    divisor: int | None = None,
) -> Maps:
    kernel, stride, padding = (each(v, len(sizes)) for v in (kernel, stride or kernel, padding))
    maps = [
        _probed(
            size,
            lambda x, k=k, s=s, p=p: torch.nn.functional.avg_pool1d(x, k, s, p, ceil, count),  # type: ignore[misc]
        )
        for size, k, s, p in zip(sizes, kernel, stride, padding, strict=True)
    ]
    if divisor is not None:
        maps[0] = maps[0] * (math.prod(kernel) / divisor)
    return maps


def _adaptive_maps(sizes: Sequence[int], outs: Sequence[int]) -> Maps:
    return [
        _probed(size, lambda x, out=out: aten._adaptive_avg_pool2d(x.unsqueeze(2), [1, out]).squeeze(2))  # type: ignore[misc]
        for size, out in zip(sizes, outs, strict=True)
    ]


def _interpolation(kind: str, rank: int) -> tuple[Rule, Rule]:
    """Make the rules of an upsampling along `rank` dims and its backward. Arguments: output sizes, [align_corners], a scale for
    each dim."""
    nearest = {"nearest": aten.upsample_nearest1d, "nearest-exact": aten._upsample_nearest_exact1d}

    def along(x: torch.Tensor, out: int, flags: Sequence[bool], scale: float | None) -> torch.Tensor:
        if kind == "bicubic":
            image: torch.Tensor = aten.upsample_bicubic2d(x.unsqueeze(2), [1, out], *flags, None, scale)
            return image.squeeze(2)
        line: torch.Tensor = nearest.get(kind, aten.upsample_linear1d)(x, [out], *flags, scale)
        return line

    def maps(sizes: Sequence[int], outs: Sequence[int], extra: Sequence[Any]) -> Maps:
        corners = 0 if kind in nearest else 1
        flags, scales = extra[:corners], list(extra[corners:])
        if len(scales) == 1 and isinstance(scales[0], (list, tuple)):
            scales = list(scales[0])
        scales += [None] * (rank - len(scales))
        dims = zip(sizes, outs, scales, strict=True)
        return [_probed(size, partial(along, out=out, flags=flags, scale=scale)) for size, out, scale in dims]

    def rule(b: LoweredBuilder, x: Any, outs: Sequence[int], *extra: Any) -> Tensor:
        if outs is None or any(out is None for out in outs):
            raise Refusal("an interpolation without output sizes")
        return _apply(b, x, maps(b.shape(x)[-rank:], outs, extra))

    def backward(b: LoweredBuilder, grad: Any, outs: Sequence[int], sizes: Sequence[int], *extra: Any) -> Tensor:
        return _apply(b, grad, maps(sizes[-rank:], outs, extra), transposed=True)

    return rule, backward


# -- padding by what is there ------------------------------------------------------------------------------------------


def _edges(name: str, rank: int) -> tuple[Rule, Rule]:
    """Make the rules of reflection_pad<rank>d or replication_pad<rank>d and its backward; pads are listed last dim first."""
    op = getattr(aten, f"{name}1d")

    def indices(b: LoweredBuilder, x: Any, pads: Sequence[int]) -> list[tuple[int, Known]]:
        """Return each dim of space, and which position is seen at each place of the padded one."""
        sizes = b.shape(x)
        by_dim = []
        for dim, k in zip(range(len(sizes) - rank, len(sizes)), reversed(range(rank)), strict=True):
            position = torch.arange(sizes[dim], dtype=torch.float64).reshape(1, 1, -1)
            padded = op(position, list(pads[2 * k : 2 * k + 2]))
            by_dim.append((dim, Known(padded.flatten().long(), name="padding")))
        return by_dim

    def rule(b: LoweredBuilder, x: Any, pads: Sequence[int]) -> Tensor:
        for dim, index in indices(b, x, pads):
            x = b.pick(x, dim, index)
        return b.value(x)

    def backward(b: LoweredBuilder, grad: Any, x: Any, pads: Sequence[int]) -> Tensor:
        for dim, index in indices(b, x, pads):
            grad = b.put(grad, dim, index, b.shape(x)[dim])
        return b.value(grad)

    return rule, backward


# -- maxima over windows -----------------------------------------------------------------------------------------------


def largest(b: LoweredBuilder, parts: Sequence[Handle]) -> tuple[Handle, list[Handle]]:
    """Return the largest of several tensors; and for each but the first, where it is larger than all before it."""
    best, tests = parts[0], []
    for part in parts[1:]:
        tests.append(b.apply("greater", part, best))
        best = b.apply("maximum", best, part)
    return best, tests


def to_largest(b: LoweredBuilder, grad: Any, tests: Sequence[Handle]) -> list[Tensor]:
    """Return the gradient of each of the tensors: that of the maximum where it is the first largest, else zero."""
    shares: list[Tensor] = []
    for test in reversed(tests):
        mine = b.product(grad, test)
        shares.append(mine)
        grad = b.combine([(1, grad), (-1, mine)])
    return [grad, *reversed(shares)]


def _tables(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil: bool = False,
) -> list[torch.Tensor]:
    """List which positions each window sees, [out, kernel]; those in the padding see the first one that is not."""
    kernel, stride, padding, dilation = (each(v, len(sizes)) for v in (kernel, stride or kernel, padding, dilation))
    tables = []
    for size, k, s, p, d in zip(sizes, kernel, stride, padding, dilation, strict=True):
        span = size + 2 * p - d * (k - 1) - 1
        out = (-(-span // s) if ceil else span // s) + 1
        if ceil and (out - 1) * s >= size + p:
            out -= 1
        rows = []
        for o in range(out):
            seen = [o * s - p + j * d for j in range(k)]
            first = next(position for position in seen if 0 <= position < size)
            rows.append([position if 0 <= position < size else first for position in seen])
        tables.append(torch.tensor(rows))
    return tables


def _adaptive_tables(sizes: Sequence[int], outs: Sequence[int]) -> list[torch.Tensor]:
    tables = []
    for size, out in zip(sizes, outs, strict=True):
        spans = [(o * size // out, -(-(o + 1) * size // out)) for o in range(out)]
        longest = max(end - start for start, end in spans)
        tables.append(torch.tensor([[min(start + j, end - 1) for j in range(longest)] for start, end in spans]))
    return tables


def _seen(b: LoweredBuilder, x: Any, table: torch.Tensor, dim: int) -> list[Handle]:
    """Return x at the first, second, ... position of each window along dim."""
    windows = []
    for k in range(table.shape[1]):
        key = ("window", tuple(table[:, k].tolist()))
        windows.append(b.pick(x, dim, b.indices.setdefault(key, Known(table[:, k].contiguous(), name="window"))))
    return windows


def _max_forward(b: LoweredBuilder, x: Any, tables: Sequence[torch.Tensor]) -> list[tuple[Handle, list[Handle]]]:
    """Take maxima dim by dim, last first: the argument, the tests; the final maximum comes last (without tests)."""
    lead = len(b.shape(x)) - len(tables)
    done: list[tuple[Handle, list[Handle]]] = []
    value = b.value(x)
    for number in reversed(range(len(tables))):
        best, tests = largest(b, _seen(b, value, tables[number], lead + number))
        done.append((value, tests))
        value = best
    return [*done, (value, [])]


def _max_backward(b: LoweredBuilder, grad: Any, x: Any, tables: Sequence[torch.Tensor]) -> Tensor:
    lead = len(b.shape(x)) - len(tables)
    done = _max_forward(b, x, tables)
    for number, (argument, tests) in zip(range(len(tables)), reversed(done[:-1]), strict=True):
        dim, table = lead + number, tables[number]
        terms = []
        for k, mine in enumerate(to_largest(b, grad, tests)):
            index = b.indices["window", tuple(table[:, k].tolist())]
            terms.append((1, b.put(mine, dim, index, argument.shape[dim])))
        grad = b.combine(terms)
    return b.value(grad)


def _maximum(tables: Callable[..., list[torch.Tensor]], rank: int) -> tuple[Rule, Rule]:
    """Make the rules of maxima over windows and their backward; tables(sizes, *arguments) as maps in `_linear`."""

    def rule(b: LoweredBuilder, x: Any, *args: Any) -> tuple[Tensor, Argmax]:
        return _max_forward(b, x, tables(b.shape(x)[-rank:], *args))[-1][0], Argmax()

    def backward(b: LoweredBuilder, grad: Any, x: Any, *args: Any) -> Tensor:
        *given, _indices = args
        return _max_backward(b, grad, x, tables(b.shape(x)[-rank:], *(given or (b.shape(grad)[-rank:],))))

    return rule, backward


def _pairs() -> dict[str, tuple[Rule, Rule]]:
    pairs = {"upsample_bicubic2d": _interpolation("bicubic", 2)}
    for rank, kind in enumerate(("linear", "bilinear", "trilinear"), 1):
        pairs[f"upsample_{kind}{rank}d"] = _interpolation("linear", rank)
        pairs[f"avg_pool{rank}d"] = _linear(_average_maps, rank)
        pairs[f"max_pool{rank}d_with_indices"] = _maximum(_tables, rank)
        pairs[f"_adaptive_avg_pool{rank}d"] = _linear(_adaptive_maps, rank)
        pairs[f"adaptive_max_pool{rank}d"] = _maximum(_adaptive_tables, rank)
        pairs[f"reflection_pad{rank}d"] = _edges("reflection_pad", rank)
        pairs[f"replication_pad{rank}d"] = _edges("replication_pad", rank)
        pairs[f"upsample_nearest{rank}d"] = _interpolation("nearest", rank)
        pairs[f"_upsample_nearest_exact{rank}d"] = _interpolation("nearest-exact", rank)
    return pairs


RULES: dict[str, Rule] = {
    name: rule for op, pair in _pairs().items() for name, rule in zip((op, f"{op}_backward"), pair, strict=True)
}
