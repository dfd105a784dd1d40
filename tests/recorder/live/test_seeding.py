"""Mirrors tpdyn.recorder.live.seeding.py: each stream its own random numbers behind the script's own seeds."""

# ruff: noqa: NPY002 (what scripts use)

from __future__ import annotations

import random
from collections.abc import Callable
from random import seed as seed_random

import numpy as np
import pytest
import torch
from numpy.random import default_rng
from torch import Generator, manual_seed

from tpdyn.recorder.live.seeding import mixed, stream


def torch_global() -> float:
    torch.manual_seed(1337)
    return float(torch.rand(()))


def torch_imported() -> float:
    manual_seed(1337)
    return float(torch.rand(()))


def torch_generator() -> float:
    return float(torch.rand((), generator=torch.Generator().manual_seed(7)))


def generator_imported() -> float:
    made = Generator()
    made.manual_seed(7)
    return float(torch.rand((), generator=made))


def generator_unseeded() -> float:
    return float(torch.rand((), generator=torch.Generator()))


def numpy_global() -> float:
    np.random.seed(3)
    return float(np.random.rand())


def numpy_array() -> float:
    np.random.seed(np.array([1, 2]))
    return float(np.random.rand())


def numpy_generator() -> float:
    return float(np.random.default_rng(3).random())


def numpy_imported() -> float:
    return float(default_rng(np.random.SeedSequence(5)).random())


def numpy_state() -> float:
    return float(np.random.RandomState(3).rand())


def python_global() -> float:
    random.seed(11)
    return random.random()


def python_imported() -> float:
    seed_random("eleven")
    return random.random()


def python_object() -> float:
    return random.Random(11).random()


WAYS = (
    torch_global, torch_imported, torch_generator, generator_imported, generator_unseeded, numpy_global, numpy_array,
    numpy_generator, numpy_imported, numpy_state, python_global, python_imported, python_object,
)  # fmt: skip


def within(number: int, draw: Callable[[], float]) -> float:
    with stream(number):
        return draw()


@pytest.mark.parametrize("draw", WAYS, ids=lambda draw: draw.__name__)
def test_each_stream_has_its_own_numbers_and_stream_zero_those_of_the_script(draw: Callable[[], float]) -> None:
    alone = draw()
    assert within(0, draw) == alone
    assert within(1, draw) == within(1, draw)
    assert len({alone, within(1, draw), within(2, draw)}) == 3
    assert draw() == alone  # afterwards everything is as before


def test_equal_seeds_stay_equal_and_different_ones_different() -> None:
    with stream(4):
        first, second = torch_generator(), torch_generator()
        third = float(torch.rand((), generator=torch.Generator().manual_seed(8)))
    assert first == second != third


def test_seeding_without_a_seed_and_existing_generators_go_through() -> None:
    before = torch.Generator().manual_seed(1), np.random.default_rng(1), np.random.RandomState(1)
    with stream(3) as locations:
        assert isinstance(before[0], torch.Generator) and isinstance(before[2], np.random.RandomState)
        assert np.random.default_rng(before[1]) is before[1]
        np.random.seed()
        random.seed()
        np.random.default_rng()
    assert locations == []


def test_the_places_that_seed_are_named_once() -> None:
    with stream(0) as locations:
        for _ in range(3):
            torch_global()
    assert len(locations) == 1 and "test_seeding.py:" in locations[0]


def test_names_that_a_users_file_imported_are_given_back() -> None:
    originals = manual_seed, Generator, default_rng, seed_random
    with stream(5):
        assert Generator is not originals[1] and default_rng is not originals[2]
    assert (manual_seed, Generator, default_rng, seed_random) == originals
    assert torch.Generator is Generator


def test_a_mixed_seed_has_the_bits_that_were_asked_for() -> None:
    assert all(0 <= mixed(seed, 1, 32) < 2**32 for seed in range(50))
