"""How does each run get random numbers of its own, if the script seeds its generators itself?

A script with `torch.manual_seed(1337)` in its body makes the same run whatever seed it is started with. Within `stream(k)`
each seed that the script gives is mixed with k before it takes effect. Equal seeds stay equal and different ones different.
So a network that is drawn twice from one seed is still drawn twice from one seed. Stream 0 leaves every seed as it is.

Data that the script draws from a seeded generator differ between streams, too. That is right. Predictions hold for generic
data, and data that are common to all runs would make their spread too small. They are the same at every width of one
stream.

Reached: torch.manual_seed and torch.cuda.manual_seed(_all), torch.Generator (seeded or not), random.seed and random.Random.
Also numpy.random.seed, default_rng and RandomState. Names that a user's file imported them by are reached, too. Not
reached: a generator made before, and seeding inside of other libraries' compiled code.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from types import ModuleType
from typing import Any, final

import numpy as np
import torch

from tpdyn.recorder.live.frames import is_user_file, user_source
from tpdyn.recorder.live.surroundings import like

Locations = list[str]


def mixed(seed: Any, number: int, bits: int = 63) -> int:
    """Mix a script's own seed and the number of a stream into a seed of that many bits.

    Example:
        >>> mixed(1337, 1) == mixed(1337, 1), mixed(1337, 1) == mixed(1337, 2)
        (True, False)
    """
    text = repr(seed.tolist() if isinstance(seed, np.ndarray | np.generic) else seed)
    digest = hashlib.blake2b(f"{text} {number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - bits)


@contextmanager
def stream(number: int) -> Iterator[Locations]:
    """Mix seeds that the script gives with `number`. Yields the locations at which it gave one.

    number: 0 leaves every seed as it is (the locations are noted all the same).
    """
    locations: Locations = []

    def other(seed: Any, bits: int = 63) -> Any:
        source = user_source()
        location = f"{PurePath(source.file).name}:{source.line}" if source.file else ""
        if location and location not in locations:
            locations.append(location)
        return seed if number == 0 else mixed(seed, number, bits)

    changes = [*_torch_changes(other, number), *_numpy_changes(other), *_python_changes(other)]
    wrappers = {id(new): old for _, _, old, new in changes}
    originals = {id(old): new for _, _, old, new in changes}
    _replace_in_user_files(originals)
    for owner, name, _, new in changes:
        setattr(owner, name, new)
    try:
        yield locations
    finally:
        for owner, name, old, _ in changes:
            setattr(owner, name, old)
        _replace_in_user_files(wrappers)


Change = tuple[Any, str, Any, Any]
"""An owner, the name of its attribute, the old and the new value."""
Other = Callable[..., Any]


def _torch_changes(other: Other, number: int) -> list[Change]:
    default = torch.random.default_generator  # type: ignore[attr-defined]

    @final
    class Default:
        """The default generator as `torch.manual_seed` sees it."""

        def manual_seed(self, seed: int) -> torch.Generator:
            return default.manual_seed(other(seed))

        def __getattr__(self, name: str) -> Any:
            return getattr(default, name)

    changes: list[Change] = [
        (torch.random, "default_generator", default, Default()),
        (torch, "Generator", torch.Generator, _generator_class(other, number)),
    ]
    for name in ("manual_seed", "manual_seed_all"):
        original = getattr(torch.cuda, name)
        changes.append((torch.cuda, name, original, lambda seed, original=original: original(other(seed))))
    return changes


def _generator_class(other: Other, number: int) -> type:
    """Make a `torch.Generator` with seeds mixed; its instances and those made elsewhere are instances of it."""
    original: Any = torch.Generator

    class Generator(original, metaclass=like(original)):  # type: ignore[misc, metaclass]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            if number:  # unseeded, all generators begin with one and the same constant
                super().manual_seed(mixed(self.initial_seed(), number))

        def manual_seed(self, seed: int) -> Any:
            return super().manual_seed(other(seed))

    return Generator


def _numpy_changes(other: Other) -> list[Change]:
    original = np.random.default_rng
    state: Any = np.random.RandomState

    def default_rng(seed: Any = None) -> np.random.Generator:
        if seed is None or isinstance(seed, np.random.Generator | np.random.BitGenerator):
            return original(seed)
        if isinstance(seed, np.random.SeedSequence):
            key = (seed.entropy, seed.spawn_key)
            return original(seed if other(key) == key else other(key))
        return original(other(seed))

    class RandomState(state, metaclass=like(state)):  # type: ignore[misc, metaclass]
        def __init__(self, seed: Any = None) -> None:
            super().__init__(_legacy(seed, other))

    seeding = np.random.seed
    return [
        (np.random, "default_rng", original, default_rng),
        (np.random, "RandomState", state, RandomState),
        (np.random, "seed", seeding, lambda seed=None: seeding(_legacy(seed, other))),
    ]


def _legacy(seed: Any, other: Other) -> Any:
    """Cut a seed to the 32 bits of numpy's older generators; None stays None."""
    if seed is None or isinstance(seed, np.random.BitGenerator):
        return seed
    return other(seed, 32)


def _python_changes(other: Other) -> list[Change]:
    seeding = random.seed
    of_class = random.Random.seed

    def seed(a: Any = None, version: int = 2) -> None:
        seeding(a if a is None else other(a), version)

    def seed_of(self: random.Random, a: Any = None, version: int = 2) -> None:
        of_class(self, a if a is None else other(a), version)

    return [(random, "seed", seeding, seed), (random.Random, "seed", of_class, seed_of)]


def _replace_in_user_files(new: dict[int, Any]) -> None:
    """Replace the names under which a user's file imported one of those functions: they mean the other one now."""
    for module in list(sys.modules.values()):
        file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
        if not isinstance(file, str) or not is_user_file(file):
            continue
        for name, value in list(vars(module).items()):
            if id(value) in new and (callable(value)):
                setattr(module, name, new[id(value)])
