"""Recorded and lowered scripts, each compared with the live script: helpers of the tests that need a whole one.

Scripts run in float64, so that the lowered program must agree to 1e-10 of each tensor's size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from tpdyn.recorder.live.recorder import record_tape
from tpdyn.recorder.lowered import Lowered
from tpdyn.recorder.lowering import lower
from tpdyn.recorder.lowering.evaluate import evaluate, evaluate_some


def lowered_script(train: Callable[[int], object], width: int = 12, steps: int = 2) -> Lowered:
    """Record, lower, and compare every mark and last parameter with the live run."""
    tape = record_tape(train, width, steps, 0)
    lowered = lower(tape)
    assert lowered.steps == steps and lowered.live
    values = evaluate(lowered)
    some = evaluate_some(lowered, lowered.live)
    assert sorted(some) == sorted(lowered.live)
    for position, live in lowered.live.items():
        assert torch.equal(some[position], values[position])
        size = float(live.abs().max())
        assert float((values[position] - live).abs().max()) <= 1e-10 * max(size, 1e-3)
    return lowered


def mlp(width: int, activation: type[nn.Module] = nn.Tanh) -> nn.Module:
    return nn.Sequential(nn.Linear(5, width), activation(), nn.Linear(width, width), activation(), nn.Linear(width, 3))


def loop(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    clip: float | None = None,
    parts: int = 1,
    schedule: bool = False,
) -> None:
    """A classification loop on drawn data."""
    x, y = torch.randn(8, 5), torch.randint(0, 3, (8,))
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10) if schedule else None
    for _ in range(5):
        optimizer.zero_grad()
        for a, b in zip(x.chunk(parts), y.chunk(parts), strict=True):
            (F.cross_entropy(model(a), b) / parts).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
