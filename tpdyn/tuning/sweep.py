"""How low does the loss come, for each width and learning rate? Runs of the user's own script, its rates multiplied.

`train(width)` is an ordinary loop and stays as it is: while an optimizer steps, the learning rates of its groups are
multiplied by a factor, schedules and ratios between groups included. What counts is the training loss: its mean over the
last tenth of the steps. A run that diverges is data (its loss is infinite).
"""

from __future__ import annotations

import contextlib
import io
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

Progress = Callable[[int, int], None]
LAST = 0.1
"""The share of the steps whose mean loss counts: one batch's loss is noise."""


class SweepError(RuntimeError):
    """The script cannot be swept; the message says what was met and what to try."""


class _Enough(BaseException):
    """Stops the script; no `except Exception` of its own catches it."""


@final
@dataclass(frozen=True, eq=False)
class Sweep:
    """losses[width, factor, seed]: the training loss at the end; infinite where the run diverged.

    factors: what the script's learning rates were multiplied by, rising. steps: optimizer steps of each run.
    """

    name: str
    widths: tuple[int, ...]
    factors: tuple[float, ...]
    seeds: tuple[int, ...]
    steps: int
    losses: Float[NDArray[np.float64], "width factor seed"] = field(repr=False)


def sweep(
    train: Callable[[int], Any],
    widths: Sequence[int],
    factors: Sequence[float],
    *,
    seeds: int = 3,
    steps: int = 100,
    name: str = "",
    progress: Progress | None = None,
) -> Sweep:
    """Run `train(width)` for `steps` optimizer steps at every width, factor and seed.

    factors: positive, at least three, best evenly spaced in their logarithm. What the script prints is dropped.

    Raises ValueError for bad arguments, SweepError when the script raises, ends early, or steps no torch.optim optimizer.
    """
    widths, factors = tuple(sorted(set(widths))), tuple(sorted(set(map(float, factors))))
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"widths are {widths}; expected at least two different ones, e.g. 64, 256, 1024")
    if len(factors) < 3 or not all(math.isfinite(f) and f > 0 for f in factors):
        raise ValueError(f"factors are {factors}; expected three or more positive numbers, e.g. 1/4, 1/2, 1, 2, 4")
    if seeds < 2 or steps < 1:
        raise ValueError(f"{seeds} seeds and {steps} steps; expected at least 2 seeds (for intervals) and 1 step")
    losses = np.full((len(widths), len(factors), seeds), np.inf)
    done = 0
    for i, width in enumerate(widths):
        for k, factor in enumerate(factors):
            for seed in range(seeds):
                losses[i, k, seed] = _final_loss(train, width, factor, seed, steps)
                done += 1
                if progress is not None:
                    progress(done, losses.size)
    return Sweep(name, widths, factors, tuple(range(seeds)), steps, losses)


def _final_loss(train: Callable[[int], Any], width: int, factor: float, seed: int, steps: int) -> float:
    """The mean loss over the last tenth of the steps; infinite when it is no number, or the script gave up on one."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (the script's own generator)
    random.seed(seed)
    losses: list[float] = []
    try:
        with contextlib.redirect_stdout(io.StringIO()), _multiplied(factor, steps, losses):
            train(width)
    except _Enough:
        pass
    except Exception as error:
        if losses and not math.isfinite(losses[-1]):
            return math.inf
        raise SweepError(
            f"the script failed at width {width}, learning rates times {factor:g}, seed {seed}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if losses and not math.isfinite(losses[-1]):
        return math.inf
    if len(losses) < steps:
        raise SweepError(
            f"the script made {len(losses)} optimizer steps at width {width}; expected {steps}. Let it train longer, ask for "
            "fewer with steps=, or, if it updates parameters by hand, use a torch.optim optimizer: its rates are multiplied"
        )
    counted = losses[-max(1, round(LAST * steps)) :]
    return float(np.mean(counted)) if np.isfinite(counted).all() else math.inf


@contextlib.contextmanager
def _multiplied(factor: float, steps: int, losses: list[float]) -> Iterator[None]:
    """While optimizers step, their rates are larger by `factor`; each step's loss is noted; enough is enough."""
    original = torch.autograd.backward
    latest: list[torch.Tensor] = []
    rates: dict[int, list[Any]] = {}

    def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        first = tensors if isinstance(tensors, torch.Tensor) else next(iter(tensors))
        latest[:] = [first.detach()]
        return original(tensors, *args, **kwargs)

    def before(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        rates[id(optimizer)] = [group["lr"] for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * factor

    def after(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for group, rate in zip(optimizer.param_groups, rates.pop(id(optimizer)), strict=True):
            group["lr"] = rate
        loss = float(latest[0].float().mean()) if latest else math.nan
        losses.append(loss)
        if len(losses) >= steps or not math.isfinite(loss):
            raise _Enough

    handles = [register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after)]
    torch.autograd.backward = backward
    try:
        yield
    finally:
        torch.autograd.backward = original
        for handle in handles:
            handle.remove()
