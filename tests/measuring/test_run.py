"""Mirrors tpdyn/measuring/run.py; failures and seeds are tested through `measure` (test_measure.py)."""

from __future__ import annotations

import pickle

import pytest
import torch

from tpdyn.measuring.run import MeasuringError, check_device, live_run


def train(width: int) -> None:
    model = torch.nn.Linear(width, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(4, width)).square().mean().backward()
        optimizer.step()


def test_one_run_is_stopped_after_the_wanted_steps_and_names_width_and_seed_when_it_ends_before() -> None:
    assert live_run(train, 8, 0, 2, "script").steps == 2
    with pytest.raises(
        MeasuringError, match="ended after 3 optimizer steps at width 8, seed 5; expected at least 4"
    ) as raised:
        live_run(train, 8, 5, 4, "script")
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)  # it crosses processes


def test_a_device_that_is_not_there_is_refused() -> None:
    check_device("auto")
    with pytest.raises(ValueError, match="which cannot be used here"):
        check_device("nonsense")
