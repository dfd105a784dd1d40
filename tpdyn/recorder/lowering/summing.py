"""How is a sum over dims written? One Contract; what all rules that sum share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.values import Known, Number, Tensor


def axes_of(b: LoweredBuilder, x: Any, dim: Any) -> list[int]:
    """Return the dims meant by an argument `dim` (None or []: all)."""
    rank = len(b.shape(x))
    if dim is None or (isinstance(dim, (list, tuple)) and not dim):
        return list(range(rank))
    return sorted({d % rank for d in ([dim] if isinstance(dim, int) else dim)}) if rank else []


def reduce(
    b: LoweredBuilder,
    x: Any,
    dims: Sequence[int],
    keepdim: bool = False,
    *,
    scale: Number = 1,
    times: Any = None,
    share: bool = False,
) -> Tensor:
    """Return `scale * sum x` (or sum of x * times) over the dims."""
    rank = len(b.shape(x))
    kept = [d for d in range(rank) if d not in dims]
    letters = tuple(range(rank))
    pairs = [(x, letters)] if times is None else [(x, letters), (times, letters)]
    total = b.contract(kept, *pairs, scale=scale, share=share)
    if keepdim:
        shape = tuple(1 if d in dims else s for d, s in enumerate(b.shape(x)))
        number = b.number(total)
        if number is not None:
            return Known.full(shape, number)
        for d in dims:
            total = b.unsqueeze(total, d)
    return total


def count(b: LoweredBuilder, x: Any, dims: Sequence[int]) -> int:
    """Count the entries of the dims together."""
    return math.prod(b.shape(x)[d] for d in dims)
