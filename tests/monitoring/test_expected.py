"""Is a twin's value carried along by the right power? Does the band end half-way to an order wrong by 1/2?"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from tpdyn.monitoring.expected import bands
from tpdyn.monitoring.history import History
from tpdyn.program.program import Program, Source
from tpdyn.regimes.prediction import Prediction, Regime, Row


def twin(width: int, exponent: float, constant: float = 3.0) -> History:
    looks = [{("size", "fc"): constant * width**exponent * (1 + step)} for step in (0, 1, 4)]
    return History(width=width, steps=[0, 1, 4], looks=looks)


def test_without_a_prediction_the_wide_run_is_expected_as_its_twin_within_a_factor() -> None:
    for width, factor in ((256, 1.5), (64 * 81, 3.0)):  # four times as wide: 4^(1/4) is less than the noise of a seed
        band = bands(width, [twin(64, 0.0)], None)["size", "fc"]
        assert band.at(0) == pytest.approx((3.0 / factor, 3.0 * factor))
        assert band.at(9) is None


def test_twins_span_the_band_and_values_between_their_steps_are_interpolated() -> None:
    band = bands(64, [twin(64, 0.0, 3.0), twin(64, 0.0, 5.0)], None)["size", "fc"]
    assert band.at(1) == pytest.approx((6.0 / 1.5, 10.0 * 1.5))
    assert band.at(2) == pytest.approx((9.0 / 1.5, 15.0 * 1.5))


def test_a_twin_without_a_width_is_refused_and_one_that_saw_nothing_expects_nothing() -> None:
    with pytest.raises(ValueError, match="does not say its width"):
        bands(128, [History()], None)
    assert bands(128, [History(width=64)], None) == {}


def test_a_prediction_gives_the_exponent_of_a_size_and_of_a_change() -> None:
    row = Row("module", "fc", 0, Fraction(1, 2), Fraction(-1), Source(), 0)
    prediction = Prediction(Program(()), Regime.KERNEL, (), (row, replace(row, name="out", at_most=True)), (), ())
    looks = [{("size", "fc"): 2.0, ("change", "fc"): 2.0, ("size", "out"): 2.0, ("logits", "fc"): 1.0}]
    found = bands(256, [History(width=16, steps=[0], looks=looks)], prediction)
    assert found["size", "fc"].at(0) == pytest.approx((2.0 * 4 / 2, 2.0 * 4 * 2))
    assert found["change", "fc"].at(0) == pytest.approx((2.0 / 16 / 2, 2.0 / 16 * 2))
    assert found["size", "out"].at(0) == pytest.approx((0.0, 2.0 * 4 * 2))  # an upper bound bounds from above only
    assert ("logits", "fc") not in found
