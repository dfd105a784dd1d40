"""How low does the loss come at each width and hyperparameter? Run the user's own script with one number multiplied.

`train(width)` is an ordinary loop and is not changed. A factor multiplies its learning rates, or another hyperparameter
(`hyperparameters.py`). The result of a run is the mean training loss over the last tenth of the steps. It is infinite if the run
diverged.
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
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from tpdyn.recorder.live.frames import raised
from tpdyn.scripts.seeding import stream
from tpdyn.tuning.hyperparameters import INIT, OUTPUT, CannotMultiply, multiplied

Progress = Callable[[int, int], None]
LAST = 0.1
"""Share of the steps over which the loss is averaged, because the loss of one batch is noise."""


class SweepError(RuntimeError):
    """The script cannot be swept. The message says why and what to try."""


class _Enough(BaseException):
    """Stops the script. An `except Exception` in the script does not catch it."""


@final
@dataclass(frozen=True, eq=False)
class Sweep:
    """losses[width, factor, seed]: the training loss at the end; infinite where the run diverged.

    factors: what the script's hyperparameter was multiplied by, rising. steps: optimizer steps of each run.
    """

    name: str
    widths: tuple[int, ...]
    factors: tuple[float, ...]
    seeds: tuple[int, ...]
    steps: int
    losses: Float[NDArray[np.float64], "width factor seed"] = field(repr=False)
    hyperparameter: str = "lr"


def sweep(
    train: Callable[[int], Any],
    widths: Sequence[int],
    factors: Sequence[float],
    *,
    seeds: int = 3,
    steps: int = 100,
    name: str = "",
    hyperparameter: str = "lr",
    progress: Progress | None = None,
) -> Sweep:
    """Run `train(width)` for `steps` optimizer steps at every width, factor and seed.

    factors: positive, at least three, best evenly spaced in their logarithm. hyperparameter: what they multiply (see
    `tpdyn.tuning.hyperparameters`). What the script prints is dropped; the caller's random states are the same afterwards.

    Raises ValueError for bad arguments, SweepError when the script raises, ends early, steps no torch.optim optimizer, or has
    no such hyperparameter.
    """
    widths, factors = checked(widths, factors, seeds, steps)
    losses = np.full((len(widths), len(factors), seeds), np.inf)
    done = 0
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        for i, width in enumerate(widths):
            for k, factor in enumerate(factors):
                for seed in range(seeds):
                    losses[i, k, seed] = _final_loss(train, width, hyperparameter, factor, seed, steps)
                    done += 1
                    if progress is not None:
                        progress(done, losses.size)
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])
    return Sweep(name, widths, factors, tuple(range(seeds)), steps, losses, hyperparameter)


def checked(
    widths: Sequence[int], factors: Sequence[float], seeds: int, steps: int
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Sort widths and factors. Raises ValueError for what cannot be swept."""
    widths, factors = tuple(sorted(set(widths))), tuple(sorted(set(map(float, factors))))
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"widths are {widths}; expected at least two different ones, e.g. 64, 256, 1024")
    if len(factors) < 3 or not all(math.isfinite(f) and f > 0 for f in factors):
        raise ValueError(f"factors are {factors}; expected three or more positive numbers, e.g. 1/4, 1/2, 1, 2, 4")
    if seeds < 2 or steps < 1:
        raise ValueError(f"{seeds} seeds and {steps} steps; expected at least 2 seeds (for intervals) and 1 step")
    return widths, factors


def _final_loss(
    train: Callable[[int], Any], width: int, hyperparameter: str, factor: float, seed: int, steps: int
) -> float:
    """Average the loss over the last tenth of the steps: infinite if it is not finite, or if the script stopped because of it."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (the script's own generator)
    random.seed(seed)
    losses: list[float] = []
    where = f"at width {width}, {hyperparameter} times {factor:g}, seed {seed}"
    with (
        contextlib.redirect_stdout(io.StringIO()), stream(seed), multiplied(hyperparameter, factor) as met,
        _noted(steps, losses),
    ):  # fmt: skip
        try:
            train(width)
        except _Enough:
            pass
        except CannotMultiply as error:
            raise SweepError(f"{hyperparameter!r} cannot be swept: {error}. Try another hyperparameter") from error
        except (Exception, SystemExit) as error:
            gave_up = bool(losses) and not math.isfinite(losses[-1])
            left = isinstance(error, SystemExit) and error.code in (None, 0)
            if not (gave_up or left):
                raise SweepError(f"the script failed {where}: {raised(error)}") from error
    if losses and not met.touched:
        known = ", ".join(f"{name} = {value:g}" for name, value in met.settings.items() if value) or "no number at all"
        raise SweepError(
            f"{hyperparameter!r} cannot be swept: no optimizer of the script has one that is not zero. The groups hold {known}; "
            f"{INIT} (the initial weights) and {OUTPUT} (the network's output) can be multiplied, too"
        )
    if losses and not math.isfinite(losses[-1]):
        return math.inf
    if len(losses) < steps:
        raise SweepError(
            f"the script made {len(losses)} optimizer steps {where}; expected {steps}. Let it train longer, ask for "
            "fewer with steps=, or, if it updates parameters by hand, use a torch.optim optimizer: its settings are multiplied"
        )
    counted = losses[-max(1, round(LAST * steps)) :]
    return float(np.mean(counted)) if np.isfinite(counted).all() else math.inf


@contextlib.contextmanager
def _noted(steps: int, losses: list[float]) -> Iterator[None]:
    """Note each step's loss, and stop after enough steps. Of several optimizers the first one's steps count."""
    original = torch.autograd.backward
    latest: list[torch.Tensor] = []
    first: list[Optimizer] = []  # of several optimizers, whose steps count

    def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        loss = tensors if isinstance(tensors, torch.Tensor) else next(iter(tensors))
        latest[:] = [loss.detach()]
        return original(tensors, *args, **kwargs)

    def after(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        first[:] = first or [optimizer]
        if optimizer is not first[0]:
            return
        loss = float(latest[0].float().mean()) if latest else math.nan
        losses.append(loss)
        if len(losses) >= steps or not math.isfinite(loss):
            raise _Enough

    handle = register_optimizer_step_post_hook(after)
    torch.autograd.backward = backward
    try:
        yield
    finally:
        torch.autograd.backward = original
        handle.remove()
