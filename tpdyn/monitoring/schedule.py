"""At which steps does a monitor look? Rarely in a long run: each look costs one forward pass.

Steps are counted as completed optimizer steps: step 0 is the untrained model, which is always looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

Schedule = Callable[[int], bool]


@final
@dataclass(frozen=True, slots=True)
class Every:
    """Look after the first step, and after each `steps`-th one."""

    steps: int

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(f"every = {self.steps!r}: expected a number of optimizer steps, at least 1; try 100")

    def __call__(self, step: int) -> bool:
        """Tell whether to look when `step` steps are completed."""
        return step == 1 or step % self.steps == 0


@final
@dataclass(frozen=True, slots=True)
class Cycles:
    """Look at `active` steps in a row, after `wait + warmup` of rest, `repeat` times (0: for ever), as torch.profiler does.

    The steps of a warm-up are not looked at. They are counted so that one schedule serves a profiler and a monitor.
    """

    wait: int
    warmup: int
    active: int
    repeat: int = 0
    skip_first: int = 0

    def __post_init__(self) -> None:
        for name in ("wait", "warmup", "active", "repeat", "skip_first"):
            value = getattr(self, name)
            least = 1 if name == "active" else 0
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} = {value!r}: expected a number of steps, at least {least}")

    def __call__(self, step: int) -> bool:
        """Tell whether to look when `step` steps are completed."""
        since = step - 1 - self.skip_first
        cycle, position = divmod(since, self.wait + self.warmup + self.active)
        return since >= 0 and not (self.repeat and cycle >= self.repeat) and position >= self.wait + self.warmup


def as_schedule(every: int, schedule: Callable[[int], Any] | None) -> Schedule:
    """Take what the user gave: a number of steps, or a function of the step.

    A function may answer with a bool, or with a `ProfilerAction`, as those of torch.profiler.schedule do. The latter count
    steps from 0, when none is completed. Raises ValueError for what is neither.
    """
    if schedule is None:
        return Every(every)
    if not callable(schedule):
        raise ValueError(f"schedule = {schedule!r}: expected a function of the step, e.g. torch.profiler.schedule(...)")
    if isinstance(schedule, Every | Cycles):
        return schedule
    return lambda step: _wants(schedule, step)


def _wants(schedule: Callable[[int], Any], step: int) -> bool:
    from torch.profiler import ProfilerAction

    answer = schedule(step)
    if isinstance(answer, ProfilerAction):
        return schedule(step - 1) in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)
    return bool(answer)
