"""In which pieces are the entries of a matrix computed that does not fit in memory? Tiles that fit in the cache."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

Cuts = dict[int, slice]
"""axis (or label) -> the part of it that a tile takes"""

ENTRIES = 1 << 16
"""Of one tile: about ten temporaries of it fit in the cache. Adam at 1e4 takes 20 CPU seconds so, 36 with 2^18 entries."""
LONGEST = 4096


def tiles(shape: tuple[int, ...], wide: tuple[int, ...]) -> Iterator[Cuts]:
    """Yield tiles of about `ENTRIES` entries, cut along the first two wide axes."""
    across, along = wide[0], wide[-1]
    rest = math.prod(size for axis, size in enumerate(shape) if axis not in (across, along))
    length = min(shape[along], LONGEST)
    height = max(1, min(shape[across], ENTRIES // max(1, length * rest)))
    if across == along:
        height = length
    for top in range(0, shape[across], height):
        rows = slice(top, min(top + height, shape[across]))
        if across == along:
            yield {across: rows}
            continue
        for left in range(0, shape[along], length):
            yield {across: rows, along: slice(left, min(left + length, shape[along]))}


def cut(x: Tensor, labels: tuple[int, ...], cuts: Cuts) -> Tensor:
    """Cut out the part of a tensor that lies in a tile, its axes named by labels."""
    return x[tuple(cuts.get(label, slice(None)) for label in labels)]
