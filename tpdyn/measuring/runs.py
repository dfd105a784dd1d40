"""Where does a run come from? From the store of finished ones, or it is made now, here or by workers, and kept."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from tpdyn.measuring.kept import facts_of, observation_of, values_of
from tpdyn.measuring.observe import Observation
from tpdyn.measuring.run import live_run
from tpdyn.store.means import HERE, Means

Pair = tuple[int, int]
"""Width and seed."""


def observed_runs(
    train: Callable[[int], Any],
    wanted: Sequence[Pair],
    steps: int,
    device: str,
    means: Means = HERE,
    *,
    on: Callable[[], bool] = lambda: True,
) -> Iterator[tuple[Pair, Observation]]:
    """Yield the live runs at these widths and seeds: kept ones first, then the others as they end.

    Raises what `live_run` raises, StoreError and WorkersError; everything that was handed over is kept.
    """
    waiting = []
    for pair in wanted:
        found = means.found(_key(means, pair, steps, device))
        if found is None:
            waiting.append(pair)
        else:
            yield pair, observation_of(found)
    run = partial(_timed, means.function(train), steps, device, means.jobs > 1)
    for pair, (seen, seconds) in means.make(run, waiting, on):
        facts = {
            "kind": "measure", "by": "script", "width": pair[0], "seed": pair[1], "steps": steps, "device": device,
            "seconds": round(seconds, 3),
        }  # fmt: skip
        means.keep(_key(means, pair, steps, device), facts | facts_of(seen), values_of(seen))
        yield pair, seen


def _key(means: Means, pair: Pair, steps: int, device: str) -> str:
    return means.key("measure", *pair, steps=steps, device=device, by="script")


def _timed(train: Callable[[int], Any], steps: int, device: str, spread: bool, pair: Pair) -> tuple[Observation, float]:
    """Make one run and time it; spread: over the GPUs, a process its own (their numbers follow each other)."""
    start = time.perf_counter()
    count = torch.cuda.device_count() if spread and device == "cuda" else 0
    seen = live_run(train, *pair, steps, f"cuda:{os.getpid() % count}" if count > 1 else device)
    return seen, time.perf_counter() - start
