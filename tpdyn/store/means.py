"""By what means are runs made and kept? Whoever makes runs is handed this: a store, and who works."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, final

from tpdyn.store.store import Measured, Run, Store, key_of
from tpdyn.store.workers import made

T = TypeVar("T")
R = TypeVar("R")


@final
@dataclass(frozen=True)
class Means:
    """How runs are made and kept.

    store, identity: where finished runs are kept, and what all runs of the script have in common. Runs are kept only if
    both are given. name: of the script, for people. jobs, backend: see `tpdyn.store.workers`. worker: what workers call
    with the width, a function that can be pickled; the script's own unless given.
    """

    store: Store | None = None
    identity: Mapping[str, Any] | None = None
    name: str = ""
    jobs: int = 1
    backend: str = "loky"
    worker: Callable[[int], Any] | None = None

    def key(self, kind: str, width: int, seed: int, **more: Any) -> str:
        """Return the key of a run; "" where runs are not kept."""
        identity = {"of": self.identity, "kind": kind, "width": width, "seed": seed, **more}
        return key_of(identity) if self.keeps else ""

    @property
    def keeps(self) -> bool:
        """Whether finished runs are kept."""
        return self.store is not None and self.identity is not None

    def found(self, key: str) -> Run | None:
        """Look up the finished run of that key, if it is kept."""
        return self.store.get(key) if self.store is not None and self.keeps else None

    def keep(self, key: str, facts: Mapping[str, Any], values: Sequence[Measured]) -> None:
        """Put a finished run into the store, if there is one."""
        if self.store is not None and self.identity is not None:
            self.store.put(key, {"script": self.name, "versions": self.identity.get("versions", {}), **facts}, values)

    def make(
        self, run: Callable[[T], R], tasks: Sequence[T], on: Callable[[], bool] = lambda: True
    ) -> Iterator[tuple[T, R]]:
        """Run the tasks, by as many workers as there are (`tpdyn.store.workers.made`)."""
        return made(run, tasks, jobs=self.jobs, backend=self.backend, on=on)

    def function(self, train: Callable[[int], Any]) -> Callable[[int], Any]:
        """Return the function to call with a width: the script's own here, one that workers can be sent elsewhere."""
        return train if self.jobs == 1 and self.backend == "loky" else self.worker or train


HERE = Means()
"""One run after the other, kept nowhere."""
