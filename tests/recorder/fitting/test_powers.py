"""Mirrors tpdyn/recorder/fitting/powers.py: what is a power of the width is found, and nothing else is."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from tpdyn.exponents import Scaling
from tpdyn.recorder.fitting.powers import fit_float, fit_measured, fit_quotient, fit_whole

WIDTHS = (16, 24, 40)


@given(st.integers(1, 9), st.sampled_from([1, 2, 3]), st.integers(0, 9), st.sampled_from([0, 1]))
def test_whole_numbers_are_fitted_exactly(a: int, high: int, b: int, low: int) -> None:
    if low >= high or (high == 3 and b):
        return
    values = [a * n**high + b * n**low for n in WIDTHS]
    found = fit_whole(WIDTHS, values)
    assert found is not None
    assert [found.size_at(n) for n in (*WIDTHS, 64, 96)] == [a * n**high + b * n**low for n in (*WIDTHS, 64, 96)]


@pytest.mark.parametrize("values", [(3, 1, 7), (16, 24, 41), (5, 5, 6)])
def test_whole_numbers_without_a_formula_have_none(values: tuple[int, ...]) -> None:
    assert fit_whole(WIDTHS, values) is None


def test_roots_of_whole_widths_are_fitted() -> None:
    assert fit_whole((16, 36, 64), (4, 6, 8)) == Scaling.of(1, "1/2")


@example(43.01693581731186, Fraction(-1))  # three roundings to float32 that fall alike: no constant of 1e-7 beside it
@given(
    st.floats(1e-3, 1e3),
    st.sampled_from([Fraction(k, 4) for k in range(-8, 9)]),
)
def test_constants_are_fitted_to_float64_and_to_float32(c: float, p: Fraction) -> None:
    exact = [c * n ** float(p) for n in WIDTHS]
    for values, tolerance in (
        (exact, 1e-11),
        ([float(torch.tensor(v, dtype=torch.float32)) for v in exact], 1e-5),
    ):
        found = fit_float(WIDTHS, values)
        assert found is not None
        assert found.order == p
        assert found.at(64) == pytest.approx(c * 64 ** float(p), rel=tolerance)


def test_a_small_term_beside_one_is_not_lost() -> None:
    assert str(fit_float(WIDTHS, [1 - 0.01 / n for n in WIDTHS])) == "1 - 0.01*n^-1"


@pytest.mark.parametrize("values", [(0.1, 0.3, 0.2), (1.0, -1.0, 1.0), (1.0, math.nan, 1.0), (0.5, math.inf, 0.1)])
def test_constants_without_a_formula_have_none(values: tuple[float, ...]) -> None:
    assert fit_float(WIDTHS, values) is None


def test_the_divisor_of_an_unbiased_variance_is_a_quotient() -> None:
    found = fit_quotient(WIDTHS, [1 / (n - 1) for n in WIDTHS])
    assert found is not None
    assert [str(each) for each in found] == ["n^-1", "1 - n^-1"]
    assert fit_quotient(WIDTHS, [n**-0.5 for n in WIDTHS]) is None


def test_a_measured_power_is_taken_with_its_error_and_a_misfit_is_none() -> None:
    """A factor of 1.05 is within 4 sigma of 2 %; 1.2 is not: a fit that accepted it would take anything."""
    halves = [n**-0.5 for n in WIDTHS]
    assert fit_measured(WIDTHS, [halves[0] * 1.02, halves[1], halves[2]], [0.02] * 3) == (
        Scaling.of(1.01, "-1/2"),
        True,
    )
    assert fit_measured(WIDTHS, [halves[0] * 1.2, halves[1] / 1.2, halves[2]], [0.02] * 3) is None


def test_a_power_that_another_fits_nearly_as_well_is_not_clear() -> None:
    """Between n^0 and n^-1/2 with errors of a fifth, neither is 3 sigma better than the other."""
    found = fit_measured(WIDTHS, [n**-0.25 for n in WIDTHS], [0.2] * 3)
    assert found is not None
    assert not found[1]
    sure = fit_measured(WIDTHS, [0.02] * 3, [0.02] * 3)
    assert sure == (Scaling.of(0.02), True)
