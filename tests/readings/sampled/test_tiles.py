"""Do the tiles cover every entry once?"""

from __future__ import annotations

import pytest
import torch

from tpdyn.readings.sampled.tiles import ENTRIES, cut, tiles


@pytest.mark.parametrize(("shape", "wide"), [((5000, 3000), (0, 1)), ((3, 700, 2100), (1, 2)), ((4, 9000), (1,))])
def test_tiles_cover_every_entry_once_and_are_small(shape: tuple[int, ...], wide: tuple[int, ...]) -> None:
    seen = torch.zeros(shape, dtype=torch.int8)
    for cuts in tiles(shape, wide):
        part = cut(seen, tuple(range(len(shape))), cuts)
        part += 1
        assert part.numel() <= 2 * ENTRIES
    assert bool((seen == 1).all())
