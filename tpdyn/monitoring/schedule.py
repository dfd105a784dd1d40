"""At which steps does a monitor look? Rarely in a long run: each look costs one forward pass.

Steps are counted as completed optimizer steps: step 0 is the untrained model, which is always looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Schedule = Callable[[int], bool]


def as_schedule(every: int, schedule: Callable[[int], Any] | None) -> Schedule:
    """Take what the user gave: a number of steps, or a function of the step. With a number the first step is looked at, too.

    A function may answer with a bool, or with a `ProfilerAction`, as those of torch.profiler.schedule do. The latter count
    steps from 0, when none is completed. Raises ValueError for what is neither.
    """
    if schedule is None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(f"every = {every!r}: expected a number of optimizer steps, at least 1; try 100")
        return lambda step: step == 1 or step % every == 0
    if not callable(schedule):
        raise ValueError(f"schedule = {schedule!r}: expected a function of the step, e.g. torch.profiler.schedule(...)")
    return lambda step: _wants(schedule, step)


def _wants(schedule: Callable[[int], Any], step: int) -> bool:
    from torch.profiler import ProfilerAction

    answer = schedule(step)
    if isinstance(answer, ProfilerAction):
        return schedule(step - 1) in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)
    return bool(answer)
