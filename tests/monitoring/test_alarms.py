"""Does each rule raise its alarm where it should, and stay silent just below?"""

from __future__ import annotations

import math

import numpy as np
import pytest

from tpdyn.monitoring.alarms import Alarm, Limits, alarms, crossing
from tpdyn.monitoring.expected import Band
from tpdyn.monitoring.history import History

Looks = list[dict[tuple[str, str], float]]


def raised(looks: Looks, dtype: str = "float32", limits: Limits | None = None, **bands: Band) -> list[str]:
    history = History(
        steps=list(range(len(looks))),
        looks=list(looks),
        dtypes={"fc": dtype, "fc.weight": dtype},
        sources={"fc": "a.py:7"},
    )
    expected = {("size", name): band for name, band in bands.items()}
    return [alarm.rule for alarm in alarms(history, expected, limits or Limits())]


def test_an_output_that_is_not_finite_is_named_once_where_it_begins() -> None:
    look = {("size", "fc"): math.nan, ("size", "out"): math.nan}
    (alarm,) = alarms(History(steps=[5], looks=[look], sources={"fc": "a.py:7"}), {}, Limits())
    assert alarm == Alarm("not finite", "fc", 5, "the output of fc is not finite", "a.py:7")
    assert alarm.told() == "step 5: the output of fc is not finite [a.py:7]"


@pytest.mark.parametrize(("dtype", "most"), [("bfloat16", 128.0), ("float16", 1024.0)])
def test_logits_are_too_large_where_their_format_spaces_them_by_one(dtype: str, most: float) -> None:
    assert raised([{("logits", "fc"): most * 1.01}], dtype) == ["logits exceed"]
    assert raised([{("logits", "fc"): most * 0.99}], dtype) == []
    assert raised([{("logits", "fc"): most * 1.01}], "float32") == []
    assert raised([{("logits", "fc"): 11.0}], limits=Limits(logits=10.0)) == ["logits exceed"]


def test_a_range_is_left_now_or_soon() -> None:
    assert raised([{("largest", "fc"): 449.0}]) == ["out of fp8 e4m3"]
    assert raised([{("largest", "fc"): 447.0}]) == []
    growing: Looks = [{("largest", "fc"): 30.0 * step} for step in (0.5, 1, 2, 3, 4, 5, 6)]
    assert raised(growing) == ["out of fp8 e4m3"]  # linear: 448 at step 15, within three times 6


def test_a_power_law_is_continued_to_its_crossing_and_not_far_beyond() -> None:
    steps = np.array([10, 20, 30, 40, 50])
    assert crossing(steps, 2.0 * steps**0.5, 20.0) == 100
    assert crossing(steps, 2.0 * steps**0.5, 30.0) is None  # at 225, too far to say
    assert crossing(steps, 2.0 * steps**0.5, 1.0) is None  # behind
    assert crossing(steps, np.array([1.0, 2.0, 1.9, 3.0, 4.0]), 10.0) is None  # wavers
    assert crossing(steps[:4], 2.0 * steps[:4] ** 0.5, 20.0) is None


@pytest.mark.parametrize(("dtype", "epsilon"), [("bfloat16", 2.0**-7), ("float32", 2.0**-23)])
def test_learning_has_stopped_where_updates_are_lost_in_rounding(dtype: str, epsilon: float) -> None:
    def looks(step: float, number: int = 3) -> Looks:
        return [{("step", "fc.weight"): step, ("weight", "fc.weight"): 2.0}] * number

    assert raised(looks(0.99 * epsilon), dtype) == ["stopped learning"]
    assert raised(looks(1.01 * epsilon), dtype) == []
    assert raised(looks(0.0), dtype) == ["stopped learning"]
    assert raised(looks(0.0, 2), dtype) == []
    assert raised([{("weight", "fc.weight"): 2.0}] * 3, dtype) == []  # frozen by the script


def test_more_than_half_of_the_units_must_be_dead() -> None:
    assert raised([{("dead", "fc"): 0.51}]) == ["dead"]
    assert raised([{("dead", "fc"): 0.5}]) == []


def test_a_value_is_outside_its_band_only_if_it_stays_on_one_side() -> None:
    band = Band(np.array([0, 9]), np.array([2.0, 2.0]), np.array([8.0, 8.0]))

    def looks(*sizes: float) -> Looks:
        return [{("size", "fc"): size} for size in sizes]

    assert raised(looks(9.0, 9.0, 9.0), fc=band) == ["size outside the band"]
    assert raised(looks(1.0, 1.0, 1.0), fc=band) == ["size outside the band"]
    assert raised(looks(9.0, 1.0, 9.0), fc=band) == []
    assert raised(looks(9.0, 9.0, 7.0), fc=band) == []
    assert raised(looks(9.0, 9.0), fc=band) == []


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="there are: fp8 e4m3"):
        Limits(formats=("fp4",))
