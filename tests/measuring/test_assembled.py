"""Mirrors tpdyn/measuring/assembled.py: measurements of other widths and seeds of one script become one."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import nn

from tpdyn.measuring.assembled import joined
from tpdyn.measuring.measure import measure


def train(width: int) -> None:
    model = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(5, 3)
    for _ in range(9):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


def test_parts_joined_are_the_whole() -> None:
    whole = measure(train, (8, 16, 32), seeds=3, steps=2)
    few = measure(train, (8, 32), seeds=(0, 1), steps=2)
    more = joined(joined(few, measure(train, (8, 32), seeds=(2,), steps=2)), measure(train, (8, 16), seeds=3, steps=2))
    for each in fields(whole):
        one, other = getattr(whole, each.name), getattr(more, each.name)
        if isinstance(one, np.ndarray):
            assert np.array_equal(one, other, equal_nan=one.dtype != np.bool_), each.name
        else:
            assert one == other, each.name


def test_what_neither_part_ran_is_not_completed() -> None:
    both = joined(measure(train, (8, 16), seeds=(0,), steps=2), measure(train, (16, 32), seeds=(1,), steps=2))
    assert both.completed.tolist() == [[True, False], [True, True], [False, True]]
    assert np.isnan(both.size[0, 1]).all() and np.isfinite(both.size[0, 0]).all()


def test_measurements_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 and 3 steps cannot be joined"):
        joined(measure(train, (8, 16), seeds=1, steps=2), measure(train, (8, 16), seeds=1, steps=3))
