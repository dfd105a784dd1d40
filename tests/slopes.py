"""How fast does what a script computes grow with the width, seen by brute force? For tests of predicted orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tpdyn.measuring.observe import Observer
from tpdyn.recorder.live.surroundings import seed_everything


def slope_of(
    train: Callable[[int], object],
    name: str,
    step: int,
    what: str = "change",
    widths: Sequence[int] = (64, 256, 1024),
    seeds: int = 3,
) -> float:
    """Return the slope of a measured number of a module's output, in log-log scale. It is -inf where all are zero."""
    means = []
    for width in widths:
        seen = []
        for seed in range(seeds):
            seed_everything(seed)
            observer = Observer(step + 1)
            with observer.watch:
                train(width)
            seen.append(observer.finish().values[step, name, what])
        means.append(float(np.mean(seen)))
    if not any(means):
        return float("-inf")
    return float(np.polyfit(np.log(widths), np.log(means), 1)[0])
