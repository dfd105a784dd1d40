"""Where does a run come from? From the store of finished ones, or it is made now and kept.

The script makes it, here or by workers, or its recorded program does.

Each is marked by who made it: "script", "program", or "simulation" at a width whose dense run does not fit into memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from tpdyn.measuring.by_program import SHARE, fits, observed
from tpdyn.measuring.kept import facts_of, observation_of, values_of
from tpdyn.measuring.observe import Observation
from tpdyn.measuring.run import live_run
from tpdyn.program.program import Program
from tpdyn.readings.finite import entries
from tpdyn.readings.sampled.memory import free_memory
from tpdyn.store.means import HERE, Means
from tpdyn.store.store import key_of
from tpdyn.store.workers import own_slot

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
    program: Program | None = None,
) -> Iterator[tuple[Pair, Observation]]:
    """Yield the live runs at these widths and seeds: kept ones first, then the others as they end.

    program: the recorded one, by which the memory of a run is estimated. At most as many runs are made at once as fit.

    Raises what `live_run` raises, StoreError and WorkersError; everything that was handed over is kept.
    """
    waiting = []
    for pair in wanted:
        kept = means.found(_live_key(means, pair, steps, device))
        if kept is None:
            waiting.append(pair)
        else:
            yield pair, observation_of(kept)
    run = partial(_timed, means.function(train), steps, device, means.jobs > 1)
    groups: dict[int, list[Pair]] = {}
    for pair in waiting:
        groups.setdefault(_at_once(means.jobs, program, pair[0], device), []).append(pair)
    for jobs, pairs in groups.items():
        for pair, (seen, seconds) in replace(means, jobs=jobs).make(run, pairs, on):
            facts = {
                "kind": "measure", "by": "script", "width": pair[0], "seed": pair[1], "steps": steps, "device": device,
                "seconds": round(seconds, 3),
            }  # fmt: skip
            seen.key = _live_key(means, pair, steps, device)
            means.keep(seen.key, facts | facts_of(seen), values_of(seen))
            yield pair, seen


def _at_once(jobs: int, program: Program | None, width: int, device: str) -> int:
    """Return how many runs at this width fit into memory at once, by the program's entries; at least one."""
    room = free_memory(torch.device("cpu" if device in ("script", "auto") else device))
    if jobs == 1 or program is None or room is None:
        return jobs
    return max(1, min(jobs, int(SHARE * room // (entries(program, width) * SINGLE))))


SINGLE = 4
"""Bytes of an entry of most scripts."""


def program_runs(
    program: Program,
    width: int,
    seeds: Sequence[int],
    steps: int,
    means: Means = HERE,
    *,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
    memory: float | None = None,
    simulate: bool = False,
) -> Iterator[tuple[int, Observation]]:
    """Yield what the program does at this width, seed by seed: kept runs first, then the others as they end.

    A simulation is kept for want of memory. So it is looked up only where a dense run does not fit. Arguments, and what it raises:
    as in `tpdyn.measuring.by_program.observed`.
    """
    dense = fits(program, width, memory, dtype, device) and not simulate
    who = ("program",) if dense else ("program", "simulation")
    digest = key_of({"program": program.to_json()}) if means.keeps else ""

    def key(seed: int, by: str) -> str:
        return means.key("measure", width, seed, steps=steps, device=device, by=by, dtype=str(dtype), program=digest)

    waiting = []
    for seed in seeds:
        kept = next((run for by in who if (run := means.found(key(seed, by))) is not None), None)
        if kept is None:
            waiting.append(seed)
        else:
            yield seed, observation_of(kept)
    for seed, seen in observed(
        program, width, waiting, steps, dtype=dtype, device=device, memory=memory, simulate=simulate
    ):
        by = "simulation" if seen.simulated else "program"
        facts = {"kind": "measure", "by": by, "width": width, "seed": seed, "steps": steps, "device": device}
        seen.key = key(seed, by)
        means.keep(seen.key, facts | facts_of(seen), values_of(seen))
        yield seed, seen


def _live_key(means: Means, pair: Pair, steps: int, device: str) -> str:
    """Return the key of a run of the script."""
    return means.key("measure", *pair, steps=steps, device=device, by="script")


def _timed(train: Callable[[int], Any], steps: int, device: str, spread: bool, pair: Pair) -> tuple[Observation, float]:
    """Make one run and time it; spread: over the GPUs, a worker its own."""
    start = time.perf_counter()
    count = torch.cuda.device_count() if spread and device == "cuda" else 0
    seen = live_run(train, *pair, steps, f"cuda:{own_slot(count)}" if count > 1 else device)
    return seen, time.perf_counter() - start
