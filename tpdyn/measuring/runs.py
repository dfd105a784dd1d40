"""Where does a run come from? From the store of finished ones, or it is made now, and kept: by the script, here or by workers, or
by its recorded program.

Each is marked by who made it: "script", "program", or "simulation" at a width whose dense run does not fit into memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from tpdyn.measuring.by_program import fits, observed
from tpdyn.measuring.kept import facts_of, observation_of, values_of
from tpdyn.measuring.observe import Observation
from tpdyn.measuring.run import live_run
from tpdyn.program.program import Program
from tpdyn.store.means import HERE, Means
from tpdyn.store.store import key_of

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
        found = means.found(live_key(means, pair, steps, device))
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
        means.keep(live_key(means, pair, steps, device), facts | facts_of(seen), values_of(seen))
        yield pair, seen


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
) -> Iterator[tuple[int, Observation]]:
    """Yield what the program does at this width, seed by seed: kept runs first, then the others as they end.

    A simulation is kept for want of memory. So it is looked up only where a dense run does not fit. Arguments, and what it raises:
    as in `tpdyn.measuring.by_program.observed`.
    """
    who = ("program",) if fits(program, width, memory, dtype, device) else ("program", "simulation")
    digest = digest_of(program) if means.keeps else ""
    keys = {by: partial(program_key, means, digest, width, steps=steps, dtype=dtype, device=device, by=by) for by in BY}
    waiting = []
    for seed in seeds:
        found = next((run for by in who if (run := means.found(keys[by](seed))) is not None), None)
        if found is None:
            waiting.append(seed)
        else:
            yield seed, observation_of(found)
    for seed, seen in observed(program, width, waiting, steps, dtype=dtype, device=device, memory=memory):
        by = "simulation" if seen.simulated else "program"
        facts = {"kind": "measure", "by": by, "width": width, "seed": seed, "steps": steps, "device": device}
        means.keep(keys[by](seed), facts | facts_of(seen), values_of(seen))
        yield seed, seen


def digest_of(program: Program) -> str:
    """Return what tells a program from others."""
    return key_of({"program": program.to_json()})


def program_key(
    means: Means, program: str, width: int, seed: int, *, steps: int, dtype: torch.dtype, device: str, by: str
) -> str:
    """Return the key of a run of the program with that digest (by "program"), or of its simulation."""
    return means.key("measure", width, seed, steps=steps, device=device, by=by, dtype=str(dtype), program=program)


BY = ("program", "simulation")


def live_key(means: Means, pair: Pair, steps: int, device: str) -> str:
    """Return the key of a run of the script."""
    return means.key("measure", *pair, steps=steps, device=device, by="script")


def _timed(train: Callable[[int], Any], steps: int, device: str, spread: bool, pair: Pair) -> tuple[Observation, float]:
    """Make one run and time it; spread: over the GPUs, a process its own (their numbers follow each other)."""
    start = time.perf_counter()
    count = torch.cuda.device_count() if spread and device == "cuda" else 0
    seen = live_run(train, *pair, steps, f"cuda:{os.getpid() % count}" if count > 1 else device)
    return seen, time.perf_counter() - start
