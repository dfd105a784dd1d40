"""Which global state does a recording restore? Random generators, and all switches of torch that a script can set."""

from __future__ import annotations

import random
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
    np.random.seed(seed)  # noqa: NPY002 - scripts use the global generator
    random.seed(seed)


def _switches() -> list[Switch]:
    """List how each state is read and put back."""
    cudnn = torch.backends.cudnn
    found: list[Switch] = [
        (torch.get_rng_state, torch.set_rng_state),
        (np.random.get_state, np.random.set_state),
        (random.getstate, random.setstate),
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
