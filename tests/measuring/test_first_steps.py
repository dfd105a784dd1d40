"""Mirrors tpdyn/measuring/first_steps.py: copies of the parameters after some steps, and whether two runs are the same bits."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import nn

from tpdyn.measuring.first_steps import after_first_steps, same_bits

STEPS: list[int] = []


def train(width: int) -> None:
    STEPS.clear()
    w = nn.Parameter(torch.randn(width) + random.random() + np.random.rand())  # noqa: NPY002
    optimizer = torch.optim.SGD([w], lr=0.5)
    for step in range(10):
        optimizer.zero_grad()
        (w.square().sum() / 2).backward()
        optimizer.step()
        STEPS.append(step)


def test_the_script_is_stopped_and_every_generator_seeded() -> None:
    first, again = after_first_steps(train, 4, 3), after_first_steps(train, 4, 3)
    assert len(STEPS) <= 3
    assert same_bits(first, again) and not same_bits(first, after_first_steps(train, 4, 3, seed=1))


def test_each_step_counts() -> None:
    """w is halved by each step."""
    one, three = after_first_steps(train, 4, 1), after_first_steps(train, 4, 3)
    (name,) = one
    assert torch.allclose(one[name] / 4, three[name])


def test_not_a_number_is_the_same_as_itself_and_other_names_are_not() -> None:
    x = torch.tensor([1.0, float("nan")])
    assert same_bits({"w": x}, {"w": x.clone()})
    assert not same_bits({"w": x}, {"v": x})
    assert not same_bits({"w": x}, {"w": torch.nextafter(x, x + 1)})
