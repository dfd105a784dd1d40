"""Mirrors tpdyn/measuring/runs.py: finished runs are not made again, whatever interrupted the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tpdyn.measuring.measure import MeasuringError, measure
from tpdyn.store.means import Means
from tpdyn.store.store import Store

CALLS: list[int] = []


def train(width: int) -> None:
    CALLS.append(width)
    model = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Tanh(), torch.nn.Linear(width, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(4, 3)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


@pytest.fixture
def means(tmp_path: Path) -> Means:
    CALLS.clear()
    return Means(store=Store.under(tmp_path), identity={"script": "one"}, name="one.py")


def test_an_interrupted_measurement_goes_on_where_it_stopped_and_gives_the_same_numbers(means: Means) -> None:
    expected = measure(train, widths=(8, 16), seeds=3, steps=2)
    CALLS.clear()

    def interrupted(width: int) -> None:
        if len(CALLS) == 4:
            raise KeyboardInterrupt
        train(width)

    with pytest.raises(KeyboardInterrupt):
        measure(interrupted, widths=(8, 16), seeds=3, steps=2, means=means)
    assert len(CALLS) == 4
    found = measure(train, widths=(8, 16), seeds=3, steps=2, means=means)
    assert len(CALLS) == 6
    assert np.array_equal(found.change, expected.change)
    assert np.array_equal(found.split, expected.split, equal_nan=True)
    assert found.names == expected.names
    measure(train, widths=(8, 16), seeds=3, steps=2, means=means)
    assert len(CALLS) == 6


def test_another_script_other_steps_and_fresh_make_runs_anew(means: Means) -> None:
    measure(train, widths=(8, 16), seeds=1, steps=2, means=means)
    for other, steps in (
        (replace(means, identity={"script": "changed"}), 2),
        (means, 3),
        (replace(means, store=Store(means.store.folder, fresh=True)), 2),  # type: ignore[union-attr]
    ):
        CALLS.clear()
        measure(train, widths=(8, 16), seeds=1, steps=steps, means=other)
        assert len(CALLS) == 2


def test_a_script_that_fails_leaves_its_finished_runs_in_the_store(means: Means) -> None:
    def broken(width: int) -> None:
        if width == 16:
            raise RuntimeError("my own mistake")
        train(width)

    with pytest.raises(MeasuringError, match="width 16, seed 0"):
        measure(broken, widths=(8, 16), seeds=2, steps=2, means=means)
    assert means.store is not None
    assert len(means.store.files()) == 2
