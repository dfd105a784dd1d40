"""Mirrors tpdyn/recorder/live/beginnings.py: RAdam begins as SGD with momentum, and its beginning is not continued."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import tpdyn
from tpdyn.recorder.live.beginnings import first_steps, told
from tpdyn.regimes.prediction import Prediction, Regime


@pytest.mark.parametrize("beta", [0.9, 0.99, 0.999])
def test_the_first_steps_are_those_without_an_average_of_squares(beta: float) -> None:
    """Two runs on gradients of sizes 1 and 100: alike are the steps that divide by the size."""
    moves = []
    for size in (1.0, 100.0):
        p = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        optimizer = torch.optim.RAdam([p], lr=1.0, betas=(0.9, beta), eps=0.0)
        moves.append([])
        for _ in range(12):
            before = p.detach().clone()
            p.grad = torch.full_like(p, size)
            optimizer.step()
            moves[-1].append(p.detach() - before)
    plain = [not torch.allclose(one, other) for one, other in zip(*moves, strict=True)]
    assert plain == [step < first_steps(optimizer) for step in range(12)]


def test_other_optimizers_begin_as_they_go_on() -> None:
    p = nn.Parameter(torch.zeros(2))
    assert first_steps(torch.optim.Adam([p])) == first_steps(torch.optim.RAdam([p], betas=(0.9, 0.5))) == 0
    assert told(torch.optim.RAdam([p]), 6) is None
    assert "Record 8 steps" in str(told(torch.optim.RAdam([p]), 5))


def mup(make: Callable[..., torch.optim.Optimizer]) -> Callable[[int], None]:
    def train(width: int) -> None:
        data = torch.Generator().manual_seed(0)
        x, y = torch.randn(4, 5, generator=data), torch.randn(4, 3, generator=data)
        first, second, last = (nn.Linear(*sizes, bias=False) for sizes in ((5, width), (width, width), (width, 3)))
        nn.init.normal_(first.weight)
        nn.init.normal_(last.weight, std=1 / width)
        model = nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), last)
        optimizer = make(
            [{"params": [first.weight]}, {"params": [second.weight, last.weight], "lr": 0.02 / width}], lr=0.02
        )
        while True:
            optimizer.zero_grad()
            (model(x) - y).square().mean().backward()
            optimizer.step()

    return train


def predicted(make: Callable[..., torch.optim.Optimizer], steps: int) -> Prediction:
    program = tpdyn.record(mup(make), widths=(16, 24, 40), steps=steps, verify=False)
    return tpdyn.predict(program, remedy=False)


def test_the_beginning_of_radam_is_told_and_its_later_steps_learn() -> None:
    """Three steps of SGD with rates for Adam are KERNEL, and nothing is said of later steps."""
    early, late = predicted(torch.optim.RAdam, 3), predicted(torch.optim.RAdam, 8)
    assert early.settles is None and any("only the first steps of RAdam" in note for note in early.program.notes)
    assert late.regime is Regime.FEATURE_LEARNING and late.settles == 6
    assert not any("RAdam" in note for note in late.program.notes)
