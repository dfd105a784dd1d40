"""Does a monitor look when it was told to?"""

from __future__ import annotations

from typing import Any

import pytest
import torch.profiler

from tpdyn.monitoring.schedule import as_schedule


def active(schedule: Any, steps: int) -> list[int]:
    return [step for step in range(1, steps + 1) if schedule(step)]


def test_every_hundred_steps_and_once_after_the_first() -> None:
    assert active(as_schedule(100, None), 300) == [1, 100, 200, 300]


def test_a_schedule_of_torchs_profiler_counts_completed_steps() -> None:
    twice = torch.profiler.schedule(wait=2, warmup=1, active=2, repeat=2)
    assert active(as_schedule(1, twice), 20) == [4, 5, 9, 10]
    later = torch.profiler.schedule(wait=0, warmup=1, active=1, skip_first=3)
    assert active(as_schedule(1, later), 9) == [5, 7, 9]


def test_any_function_of_the_step_is_a_schedule() -> None:
    assert active(as_schedule(1, lambda step: step in (3, 7)), 10) == [3, 7]


@pytest.mark.parametrize("every", [0, -1, True, 2.5])
def test_a_number_that_is_no_number_of_steps_is_refused(every: Any) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        as_schedule(every, None)


def test_a_schedule_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="a function of the step"):
        as_schedule(1, 5)  # type: ignore[arg-type]
