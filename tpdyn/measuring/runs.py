"""Where does a run come from? From the store of finished ones, or it is made now, here or by workers, and kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

from tpdyn.measuring.kept import facts_of, observation_of, values_of
from tpdyn.measuring.observe import Observation
from tpdyn.measuring.run import live_run
from tpdyn.store.store import Store, key_of
from tpdyn.store.workers import made

Pair = tuple[int, int]
"""Width and seed."""


@final
@dataclass(frozen=True)
class Means:
    """How runs are made and kept.

    store, identity: where finished runs are, and what all runs of the script have in common; kept nowhere unless both are
    given. name: of the script, for people. jobs, backend: see `tpdyn.store.workers`. worker: what workers call with the
    width, a function that can be pickled; the script's own unless given.
    """

    store: Store | None = None
    identity: Mapping[str, Any] | None = None
    name: str = ""
    jobs: int = 1
    backend: str = "loky"
    worker: Callable[[int], Any] | None = None

    def key(self, kind: str, width: int, seed: int, **more: Any) -> str:
        """The key of a run."""
        return key_of({"of": self.identity, "kind": kind, "width": width, "seed": seed, **more})

    @property
    def keeps(self) -> bool:
        """Whether finished runs are kept."""
        return self.store is not None and self.identity is not None

    def alone(self) -> Means:
        """The same in this process."""
        return replace(self, jobs=1, backend="loky")


HERE = Means()


def observed_runs(
    train: Callable[[int], Any],
    wanted: Sequence[Pair],
    steps: int,
    device: str,
    means: Means = HERE,
    *,
    on: Callable[[], bool] = lambda: True,
) -> Iterator[tuple[Pair, Observation]]:
    """The live runs at these widths and seeds: finished ones first, then the others as they end.

    Raises what `live_run` raises, StoreError and WorkersError; everything that was handed over is kept.
    """
    waiting = []
    for pair in wanted:
        found = means.store.get(_key(means, pair, steps, device)) if means.store is not None and means.keeps else None
        if found is None:
            waiting.append(pair)
        else:
            yield pair, observation_of(found)
    function = train if means.jobs == 1 and means.backend == "loky" else means.worker or train
    run = partial(_timed, function, steps, device)
    for pair, (seen, seconds) in made(run, waiting, jobs=means.jobs, backend=means.backend, on=on):
        keep(means, _key(means, pair, steps, device), pair, steps, device, seen, "script", seconds)
        yield pair, seen


def keep(
    means: Means, key: str, pair: Pair, steps: int, device: str, seen: Observation, by: str, seconds: float
) -> None:
    """Put a finished run into the store, if there is one."""
    if means.store is None or means.identity is None:
        return
    facts = {
        "kind": "measure", "by": by, "script": means.name, "width": pair[0], "seed": pair[1], "steps": steps,
        "device": device, "seconds": round(seconds, 3), "versions": means.identity.get("versions", {}),
    }  # fmt: skip
    means.store.put(key, facts | facts_of(seen), values_of(seen))


def _key(means: Means, pair: Pair, steps: int, device: str) -> str:
    return means.key("measure", *pair, steps=steps, device=device, by="script")


def _timed(train: Callable[[int], Any], steps: int, device: str, pair: Pair) -> tuple[Observation, float]:
    start = time.perf_counter()
    seen = live_run(train, *pair, steps, device)
    return seen, time.perf_counter() - start
