"""Does a learning rate found at a small width serve a large one? Sweep, locate, and say what the theory allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tpdyn.recording.record import record
from tpdyn.tuning.optimum import Transfer, locate
from tpdyn.tuning.predicted import stable_rate
from tpdyn.tuning.sweep import Progress, sweep

FACTORS = tuple(2.0**power for power in range(-6, 7))


def transfer(
    train: Callable[[int], Any],
    widths: Sequence[int] = (64, 128, 256, 512),
    factors: Sequence[float] = FACTORS,
    *,
    seeds: int = 4,
    steps: int = 60,
    name: str = "",
    record_widths: Sequence[int] = (16, 24, 40),
    progress: Progress | None = None,
) -> Transfer:
    """The best multiple of a script's learning rates at each width, and whether it moves with the width.

    train: `train(width)` is an ordinary loop of at least `steps` steps of torch.optim optimizers. factors: what its rates
    are multiplied by. record_widths: where it is recorded for the theory's word (`Transfer.stable`).

    Raises what `record` and `sweep` raise, and ValueError when all runs of some width diverge.

    Example:
        >>> found = tpdyn.transfer(train, widths=(64, 256), factors=(1/4, 1/2, 1, 2, 4))  # doctest: +SKIP
        >>> found.moves, found.exponent.estimate  # doctest: +SKIP
        (True, -0.93)
    """
    stable = stable_rate(record(train, widths=record_widths))
    swept = sweep(train, widths, factors, seeds=seeds, steps=steps, name=name, progress=progress)
    return replace(locate(swept), stable=stable)
