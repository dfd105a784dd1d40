"""Which global state does a recording restore? Random generators, filters of warnings, all switches of torch that a script can set.

Within `foreseeable` generators that the script leaves unseeded are seeded, too: Gymnasium's environments draw from such ones.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import _disable_current_modes

Switch = tuple[Callable[[], Any], Callable[[Any], object]]


def seed_everything(seed: int) -> None:
    """Seed torch, numpy and random."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - scripts use the global generator
    random.seed(seed)


@contextmanager
def foreseeable(seed: int) -> Iterator[None]:
    """Seed what numpy would seed by the entropy of the system, so that two recordings see the same data."""
    hidden = random.Random(seed)
    default, sequence, state = np.random.default_rng, np.random.SeedSequence, np.random.RandomState

    class SeedSequence(metaclass=like(sequence)):  # type: ignore[metaclass]
        def __new__(cls, entropy: Any = None, *args: Any, **options: Any) -> Any:
            return sequence(hidden.getrandbits(64) if entropy is None else entropy, *args, **options)

    class RandomState(state, metaclass=like(state)):  # type: ignore[misc, metaclass, valid-type]
        def __init__(self, seed: Any = None) -> None:
            super().__init__(hidden.getrandbits(32) if seed is None else seed)

    def default_rng(seed: Any = None) -> np.random.Generator:
        return default(hidden.getrandbits(64) if seed is None else seed)

    changed: Any = np.random
    changed.default_rng, changed.SeedSequence, changed.RandomState = default_rng, SeedSequence, RandomState
    try:
        yield
    finally:
        changed.default_rng, changed.SeedSequence, changed.RandomState = default, sequence, state


def like(original: Any) -> type:
    """Make a metaclass whose classes have the instances of the original."""

    class Meta(type(original)):  # type: ignore[misc]
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, original)

    return Meta


def _switches() -> list[Switch]:
    """List how each state is read and put back."""
    cudnn = torch.backends.cudnn
    found: list[Switch] = [
        (torch.get_rng_state, torch.set_rng_state),
        (np.random.get_state, np.random.set_state),
        (random.getstate, random.setstate),
        (lambda: list(warnings.filters), _filter_warnings),
        (torch.get_default_dtype, torch.set_default_dtype),
        (torch.get_num_threads, torch.set_num_threads),
        (torch.is_grad_enabled, torch.set_grad_enabled),
        (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        (
            lambda: (
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
            ),
            lambda both: torch.use_deterministic_algorithms(both[0], warn_only=both[1]),
        ),
        (lambda: cudnn.deterministic, lambda on: setattr(cudnn, "deterministic", on)),
        (lambda: cudnn.benchmark, lambda on: setattr(cudnn, "benchmark", on)),
    ]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        found.append((torch.cuda.get_rng_state_all, torch.cuda.set_rng_state_all))
    return found


def _filter_warnings(filters: list[Any]) -> None:
    if list(warnings.filters) != filters:  # else those that were given once would come again
        warnings.resetwarnings()
        changed: Any = warnings.filters
        changed[:] = filters


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put everything back after the block that can be read beforehand; what is unchanged is not touched."""
    with _disable_current_modes():  # states are tensors: under fake ones they would hold nothing
        before = [(get, put, get()) for get, put in _switches()]
    try:
        yield
    finally:
        with _disable_current_modes():
            for get, put, value in before:
                _restore(get, put, value)


def _restore(get: Callable[[], Any], put: Callable[[Any], object], before: Any) -> None:
    if isinstance(before, (bool, int, str, torch.dtype)) and get() == before:
        return
    put(before)
