"""Does a hyperparameter found at a small width serve a large one? Sweep, locate, and say what the theory allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tpdyn.recorder.record import record
from tpdyn.store.means import HERE, Means
from tpdyn.tuning.optimum import Transfer, locate
from tpdyn.tuning.predicted import stable_rate
from tpdyn.tuning.sweep import Progress, checked, sweep

FACTORS = tuple(2.0**power for power in range(-6, 7))


def transfer(
    train: Callable[[int], Any],
    widths: Sequence[int] = (64, 128, 256, 512),
    factors: Sequence[float] = FACTORS,
    *,
    hyperparameter: str = "lr",
    seeds: int = 4,
    steps: int = 60,
    name: str = "",
    record_widths: Sequence[int] = (16, 24, 40),
    progress: Progress | None = None,
    means: Means = HERE,
    budget: float | None = None,
    plan: Callable[[str], None] | None = None,
) -> Transfer:
    """Find the best multiple of a script's learning rates at each width, and say whether it moves with the width.

    train: `train(width)` is an ordinary loop of at least `steps` steps of torch.optim optimizers. factors: multiply the
    hyperparameter. hyperparameter: "lr", or another number of the optimizer's groups ("weight_decay", ...). Else "init"
    (the initial entries of all matrices) or "output" (what the network returns). record_widths: widths to record at, for
    the theory's bound on learning rates (`Transfer.stable`). means: a store and workers. budget: seconds. plan: who is told
    the cost (see `sweep`).

    Raises what `record` and `sweep` raise, and ValueError if all runs of one width and seed diverge.

    Example:
        >>> found = tpdyn.transfer(train, widths=(64, 256), factors=(1/4, 1/2, 1, 2, 4))  # doctest: +SKIP
        >>> found.moves, found.exponent.estimate  # doctest: +SKIP
        (True, -0.93)
    """
    checked(widths, factors, seeds, steps)
    stable = stable_rate(record(train, widths=record_widths)) if hyperparameter == "lr" else None
    swept = sweep(
        train, widths, factors, seeds=seeds, steps=steps, name=name, hyperparameter=hyperparameter, progress=progress,
        means=means, budget=budget, plan=plan,
    )  # fmt: skip
    return replace(locate(swept), stable=stable)
