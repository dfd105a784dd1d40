"""How low does the loss come at each width and hyperparameter? Run the user's own script with one number multiplied.

`train(width)` is an ordinary loop and is not changed. A factor multiplies its learning rates, or another hyperparameter
(`hyperparameters.py`). The result of a run is the mean training loss over the last tenth of the steps. It is infinite if the run
diverged.
"""

from __future__ import annotations

import contextlib
import io
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from tpdyn.recorder.live.frames import raised
from tpdyn.recorder.live.seeding import stream
from tpdyn.recorder.live.surroundings import seed_everything, undisturbed
from tpdyn.store.means import HERE, Means
from tpdyn.store.store import Measured
from tpdyn.tuning.hyperparameters import INIT, OUTPUT, CannotMultiply, multiplied

Progress = Callable[[int, int], None]
Cell = tuple[int, int, int]
"""Positions of width, factor and seed."""
Asked = tuple[int, float, int]
"""A width, a factor and a seed."""
FINAL = "final loss"
WORTH_SAYING = 60.0
"""Seconds from which on the cost of a sweep is told before it starts."""
AROUND = 2
"""Points of the grid on both sides of the optimum that further seeds are run at."""
LAST = 0.1
"""Share of the steps over which the loss is averaged, because the loss of one batch is noise."""


class SweepError(RuntimeError):
    """The script cannot be swept. The message says why and what to try."""


class _Enough(BaseException):
    """Stops the script. An `except Exception` in the script does not catch it."""


@final
@dataclass(frozen=True, eq=False)
class Sweep:
    """losses[width, factor, seed]: the training loss at the end; infinite where the run diverged, NaN where none was made.

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
    means: Means = HERE,
    budget: float | None = None,
    plan: Callable[[str], None] | None = None,
) -> Sweep:
    """Run `train(width)` for `steps` optimizer steps at every width, factor and seed.

    factors: positive, at least three, best evenly spaced in their logarithm. hyperparameter: what they multiply (see
    `tpdyn.tuning.hyperparameters`). means: where finished runs are kept, and how many are made at once. budget: seconds.
    Two seeds are run at every factor, then more (at most `seeds`) around the optimum while there is time. plan: told what a
    long sweep will cost, before it starts. What the script prints is dropped; the caller's random states are the same
    afterwards.

    Raises ValueError for bad arguments. Raises SweepError when the script raises, ends early, steps no torch.optim
    optimizer, or lacks that hyperparameter.
    """
    widths, factors = checked(widths, factors, seeds, steps)
    losses = np.full((len(widths), len(factors), seeds), np.nan)
    cells = [(i, k, s) for i in range(len(widths)) for k in range(len(factors)) for s in range(seeds)]
    run = _Runs(train, widths, factors, hyperparameter, steps, means, losses, progress)
    with undisturbed():
        middle = min(range(len(factors)), key=lambda k: abs(math.log(factors[k])))
        begin = time.monotonic()
        run.make([(i, middle, 0) for i in range(len(widths))])
        if budget is None:
            run.tell(plan, [cell for cell in cells if cell[1:] != (middle, 0)])
            run.make(cells)
        else:
            seeds = _within(run, budget - (time.monotonic() - begin), plan)
    return Sweep(name, widths, factors, tuple(range(seeds)), steps, losses[..., :seeds], hyperparameter)


@final
@dataclass
class _Runs:
    """The runs of a sweep: finished ones are looked up, the others made. Each writes its loss into `losses`."""

    train: Callable[[int], Any]
    widths: tuple[int, ...]
    factors: tuple[float, ...]
    hyperparameter: str
    steps: int
    means: Means
    losses: NDArray[np.float64]
    progress: Progress | None
    seconds: dict[int, float] = field(default_factory=dict)
    done: set[Cell] = field(default_factory=set)

    def make(self, cells: Sequence[Cell], on: Callable[[], bool] = lambda: True) -> None:
        """Make these runs, as far as they are missing, while `on()` says yes."""
        waiting: dict[Asked, Cell] = {}
        for cell in cells:
            if cell in self.done:
                continue
            asked = self.widths[cell[0]], self.factors[cell[1]], cell[2]
            stored = self.means.found(self._key(asked))
            if stored is None:
                waiting[asked] = cell
            else:
                self._note(
                    cell, next(v.value for v in stored.values if v.what == FINAL), float(stored.facts["seconds"])
                )
        run = partial(_timed, self.means.function(self.train), self.hyperparameter, self.steps)
        for asked, (loss, losses, seconds) in self.means.make(run, list(waiting), on):
            width, factor, seed = asked
            values = [
                *(Measured(t, "", "loss", each) for t, each in enumerate(losses)),
                Measured(len(losses), "", FINAL, loss),
            ]
            facts = {
                "kind": "transfer", "by": "script", "width": width, "seed": seed, "steps": self.steps,
                "hyperparameter": self.hyperparameter, "factor": factor, "seconds": round(seconds, 3),
            }  # fmt: skip
            self.means.keep(self._key(asked), facts, values)
            self._note(waiting[asked], loss, seconds)

    def tell(self, plan: Callable[[str], None] | None, cells: Sequence[Cell]) -> None:
        """Say what these runs will cost, by those that were timed, if it is much."""
        seconds = sum(self.seconds.get(cell[0], 0.0) for cell in cells if cell not in self.done) / self.means.jobs
        if plan is not None and seconds > WORTH_SAYING:
            plan(
                f"{len(cells)} runs will take about {seconds / 60:.0f} min with {self.means.jobs} at once (by one timed a width)"
            )

    def _key(self, asked: Asked) -> str:
        return run_key(self.means, asked, self.hyperparameter, self.steps)

    def _note(self, cell: Cell, loss: float, seconds: float) -> None:
        self.losses[cell] = loss
        self.seconds.setdefault(cell[0], seconds)
        self.done.add(cell)
        if self.progress is not None:
            self.progress(len(self.done), self.losses.size)


def run_key(means: Means, asked: Asked, hyperparameter: str, steps: int) -> str:
    """Return the key of a run of a sweep in the store."""
    width, factor, seed = asked
    return means.key("transfer", width, seed, factor=factor, hyperparameter=hyperparameter, steps=steps)


def _within(run: _Runs, seconds: float, plan: Callable[[str], None] | None) -> int:
    """Run two seeds at every factor, then seed by seed around the optimum, where the verdict is decided. Return how many seeds.

    A seed that the time does not suffice for does not count.
    """
    end = time.monotonic() + seconds
    widths, factors, seeds = len(run.widths), len(run.factors), int(run.losses.shape[2])
    first = [(i, k, s) for s in range(2) for i in range(widths) for k in range(factors)]
    run.tell(plan, first)
    run.make(first)
    for seed in range(2, seeds):
        means = np.where(np.isfinite(run.losses[..., :seed]), run.losses[..., :seed], np.inf).mean(axis=-1)
        best = means.argmin(axis=1)
        cells = [(i, k, seed) for i in range(widths) for k in range(factors) if abs(k - best[i]) <= AROUND]
        run.make(cells, on=lambda: time.monotonic() < end)
        if any(np.isnan(run.losses[cell]) for cell in cells):
            return seed
    return seeds


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
) -> tuple[float, list[float]]:
    """Average the loss over the last tenth of the steps: infinite if it is not finite, or stopped the script.

    Beside it the loss of each step.
    """
    seed_everything(seed)
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
        return math.inf, losses
    if len(losses) < steps:
        raise SweepError(
            f"the script made {len(losses)} optimizer steps {where}; expected {steps}. Let it train longer, or ask for "
            "fewer with steps=. If it updates parameters by hand, use a torch.optim optimizer: its settings are multiplied"
        )
    counted = losses[-max(1, round(LAST * steps)) :]
    return (float(np.mean(counted)) if np.isfinite(counted).all() else math.inf), losses


def _timed(
    train: Callable[[int], Any], hyperparameter: str, steps: int, asked: Asked
) -> tuple[float, list[float], float]:
    width, factor, seed = asked
    start = time.perf_counter()
    loss, losses = _final_loss(train, width, hyperparameter, factor, seed, steps)
    return loss, losses, time.perf_counter() - start


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

    with register_optimizer_step_post_hook(after):
        torch.autograd.backward = backward
        try:
            yield
        finally:
            torch.autograd.backward = original
