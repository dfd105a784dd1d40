"""Does a monitor look when it was told to?"""

from __future__ import annotations

from typing import Any

import pytest
import torch.profiler

from tpdyn.monitoring.schedule import Cycles, Every, as_schedule


def active(schedule: Any, steps: int) -> list[int]:
    return [step for step in range(1, steps + 1) if schedule(step)]


def test_every_hundred_steps_and_once_after_the_first() -> None:
    assert active(Every(100), 300) == [1, 100, 200, 300]


def test_cycles_are_those_of_torchs_profiler() -> None:
    for arguments in (
        {"wait": 2, "warmup": 1, "active": 2, "repeat": 2},
        {"wait": 0, "warmup": 1, "active": 1, "skip_first": 3},
    ):
        theirs = as_schedule(1, torch.profiler.schedule(**arguments))
        assert active(Cycles(**arguments), 20) == active(theirs, 20)


def test_any_function_of_the_step_is_a_schedule() -> None:
    assert active(as_schedule(1, lambda step: step in (3, 7)), 10) == [3, 7]


@pytest.mark.parametrize("every", [0, -1, True, 2.5])
def test_a_number_that_is_no_number_of_steps_is_refused(every: Any) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        as_schedule(every, None)


def test_a_cycle_without_active_steps_and_a_schedule_that_is_none_are_refused() -> None:
    with pytest.raises(ValueError, match="active = 0"):
        Cycles(wait=1, warmup=1, active=0)
    with pytest.raises(ValueError, match="a function of the step"):
        as_schedule(1, 5)  # type: ignore[arg-type]
