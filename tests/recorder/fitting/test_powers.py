"""Mirrors tpdyn/recorder/fitting/powers.py: what is a power of the width is found, and nothing else is."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from tpdyn.exponents import Scaling
from tpdyn.recorder.fitting.powers import fit_float, fit_measured, fit_quotient, fit_root, fit_whole, is_logarithm

WIDTHS = (16, 24, 40)
N = Scaling.of(1, 1)


@given(st.integers(1, 9), st.sampled_from([1, 2, 3]), st.integers(0, 9), st.sampled_from([0, 1]))
def test_whole_numbers_are_fitted_exactly(a: int, high: int, b: int, low: int) -> None:
    if low >= high or (high == 3 and b):
        return
    values = [a * n**high + b * n**low for n in WIDTHS]
    found = fit_whole(WIDTHS, values)
    assert found is not None
    assert [found.size_at(n) for n in (*WIDTHS, 64, 96)] == [a * n**high + b * n**low for n in (*WIDTHS, 64, 96)]


@pytest.mark.parametrize("values", [(3, 1, 7), (16, 24, 41), (5, 5, 6), (3, 5, 7)])  # 3 n / 16 rounds to 3, 5, 7
def test_whole_numbers_without_a_formula_have_none(values: tuple[int, ...]) -> None:
    assert fit_whole(WIDTHS, values) is None


def test_roots_of_whole_widths_are_fitted() -> None:
    assert fit_whole((16, 36, 64), (4, 6, 8)) == Scaling.of(1, "1/2")


@example(425.4542667291155, Fraction(-2))  # cut to five digits, beside a rounding to float32
@example(43.01693581731186, Fraction(-1))  # three roundings to float32 that fall alike: no constant of 1e-7 beside it
@given(
    st.floats(1e-3, 1e3),
    st.sampled_from([Fraction(k, 4) for k in range(-8, 9)]),
)
def test_constants_are_fitted_to_float64_and_to_float32(c: float, p: Fraction) -> None:
    exact = [c * n ** float(p) for n in WIDTHS]
    for values, tolerance in (
        (exact, 1e-11),
        ([float(torch.tensor(v, dtype=torch.float32)) for v in exact], 1.1e-5),
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
    for power in (-2, 0):  # a mean over pairs of entries, and what makes a biased variance unbiased
        found = fit_quotient(WIDTHS, [n ** (power + 1) / (n - 1) for n in WIDTHS])
        assert found == (Scaling.of(1, power), Scaling.of(1) + Scaling.of(-1, -1))


def test_a_measured_power_is_taken_with_its_error_and_a_misfit_is_none() -> None:
    """A factor of 1.05 is within 4 sigma of 2 %, 1.2 is not. A fit that accepted it would take anything."""
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


@given(st.fractions(min_value=Fraction(1, 8), max_value=12, max_denominator=8), st.sampled_from([1, 2, 3]))
def test_powers_of_the_width_are_fitted_exactly(coefficient: Fraction, power: int) -> None:
    coefficient = Fraction(coefficient.numerator, 8)
    values = [coefficient * width**power for width in WIDTHS]
    assert all(value.denominator == 1 for value in values)
    assert fit_whole(WIDTHS, [int(value) for value in values]) == Scaling.of(coefficient, power)


@given(st.integers(1, 9), st.integers(0, 20))
def test_linear_dims_are_fitted_exactly(a: int, b: int) -> None:
    expected = Scaling.of(a, 1) + Scaling.of(b)
    assert fit_whole(WIDTHS, [a * width + b for width in WIDTHS]) == expected


def test_constants_square_roots_and_mixed_squares_are_fitted() -> None:
    assert fit_whole(WIDTHS, (5, 5, 5)) == Scaling.of(5)
    assert fit_whole((16, 36, 64), (8, 12, 16)) == Scaling.of(2, "1/2")
    assert fit_whole(WIDTHS, [n * n + n for n in WIDTHS]) == Scaling.of(1, 2) + N
    assert fit_whole(WIDTHS, [n * n + 10 for n in WIDTHS]) == Scaling.of(1, 2) + Scaling.of(10)


def test_a_rounded_dim_fits_nothing() -> None:
    assert fit_whole(WIDTHS, [int(8 / 3 * n) for n in WIDTHS]) is None


@pytest.mark.parametrize("widths", [(16, 24, 40), (16, 32, 64), (24, 100, 1000)])
def test_a_rounded_logarithm_is_told_from_a_rounded_multiple(widths: tuple[int, ...]) -> None:
    for number in (
        lambda n: int(math.log2(n)),
        lambda n: math.ceil(math.log2(n)) + 1,
        lambda n: 8 - n.bit_length(),
    ):
        assert is_logarithm(widths, [number(n) for n in widths])
    assert not is_logarithm(widths, [int(8 / 3 * n) for n in widths])
    assert not is_logarithm(widths, [7 for _ in widths])


@given(
    st.floats(1e-8, 1e8),
    st.sampled_from([Fraction(k, d) for d in (1, 2, 3, 4) for k in range(-8, 9) if k]),
    st.booleans(),
)
def test_powers_with_floats_are_recovered(coefficient: float, power: Fraction, negative: bool) -> None:
    coefficient = -coefficient if negative else coefficient
    found = fit_float(WIDTHS, [coefficient * n ** float(power) for n in WIDTHS])
    assert found is not None
    ((c, p),) = found.terms
    assert p == power
    assert c == pytest.approx(coefficient, rel=1e-11)


@given(st.floats(1e-9, 10), st.sampled_from([Fraction(-1), Fraction(-1, 2), Fraction(1, 2), Fraction(1)]))
@example(1e-6, Fraction(-1))
def test_one_minus_a_small_power_keeps_the_small_term(small: float, power: Fraction) -> None:
    found = fit_float(WIDTHS, [1 - small * n ** float(power) for n in WIDTHS])
    assert found is not None
    terms = {p: c for c, p in found.terms}
    assert terms.keys() == {Fraction(0), power}
    assert terms[Fraction(0)] == pytest.approx(1, abs=1e-12)
    assert terms[power] == pytest.approx(-small, rel=1e-14 / small * 400 + 1e-9)


def test_floats_that_went_through_float32_are_recovered() -> None:
    import numpy as np

    values = [float(np.float32(0.1) * np.float32(n) ** np.float32(-0.5)) for n in WIDTHS]
    assert fit_float(WIDTHS, values) == Scaling.of(0.1, "-1/2")


def test_short_decimals_stay_short() -> None:
    assert str(fit_float(WIDTHS, [0.1 / n for n in WIDTHS])) == "0.1*n^-1"
    assert str(fit_float(WIDTHS, [1 - 0.01 / n for n in WIDTHS])) == "1 - 0.01*n^-1"


@pytest.mark.parametrize("values", [(0.1, 0.2, 0.15), (0.5, -0.5, 0.5), (1.0, math.inf, 2.0), (2.303, 2.171, 2.4)])
def test_floats_without_a_law_fit_nothing(values: tuple[float, ...]) -> None:
    assert fit_float(WIDTHS, values) is None


def test_two_widths_fit_powers_and_one_minus_a_power() -> None:
    assert fit_float((16, 40), [3 / n for n in (16, 40)]) == Scaling.of(3.0, -1)
    assert str(fit_float((16, 40), [1 - 0.01 / n for n in (16, 40)])) == "1 - 0.01*n^-1"
    assert fit_whole((16, 40), (26, 50)) == N + Scaling.of(10)


def test_a_measured_standard_deviation_is_fitted_within_its_error() -> None:
    values = [1.03 * 16**-0.5, 0.98 * 24**-0.5, 1.01 * 40**-0.5]
    found = fit_measured(WIDTHS, values, [0.04, 0.03, 0.02])
    assert found is not None
    scaling, clear = found
    assert clear
    assert scaling.order == Fraction(-1, 2)
    assert fit_measured(WIDTHS, [1.0, 3.0, 1.0], [0.02, 0.02, 0.02]) is None


def test_a_power_that_the_errors_leave_open_is_not_clear() -> None:
    found = fit_measured(WIDTHS, [width**-0.5 for width in WIDTHS], [0.2, 0.2, 0.2])
    assert found is not None
    assert not found[1]
    assert fit_measured(WIDTHS, [1.0, 3.0, 1.0], [0.05, 0.05, 0.05]) is None


@pytest.mark.parametrize(("factor", "shift"), [(1, -1), (2, -1), (0.3, 2), (0.25, Fraction(-1, 8))])
def test_one_over_a_shifted_width_is_a_quotient(factor: float, shift: Fraction) -> None:
    """The unbiased variance over n entries divides by n - 1, over 8 n by 8 n - 1."""
    for widths in (WIDTHS, (16, 40)):
        found = fit_quotient(widths, [factor / (width + float(shift)) for width in widths])
        assert found == (Scaling.of(factor, -1), Scaling.of(1) + Scaling.of(shift, -1))
    assert fit_quotient(WIDTHS, [0.1, 0.2, 0.15]) is None
    assert fit_quotient(WIDTHS, [1 / width for width in WIDTHS]) is None


@pytest.mark.parametrize(("fixed", "power", "factor"), [(784, 1, 2.0), (10, 1, 6.0), (1433, 1, 0.25), (50, 2, 2.0)])
def test_one_over_the_root_of_a_fixed_and_a_growing_number_is_a_late_power(
    fixed: int, power: int, factor: float
) -> None:
    """Glorot's standard deviation is (2 / (inputs + outputs))^1/2: its order is that of large widths, wherever they begin."""
    found = fit_root(WIDTHS, [(factor / (fixed + n**power)) ** 0.5 for n in WIDTHS])
    assert found is not None
    assert found[0].order == Fraction(-power, 2)
    assert found[1] == pytest.approx(fixed ** (1 / power), rel=1e-3)
    huge = 10.0**9
    assert found[0].at(int(huge)) == pytest.approx((factor / (fixed + huge**power)) ** 0.5, rel=1e-4)


@pytest.mark.parametrize("of", [lambda n: 2 / (784 - n), lambda n: 0.1 + 0.001 * n, lambda n: 1 / n + 1 / n**2])
def test_what_is_no_such_root_is_none(of: Callable[[float], float]) -> None:
    assert fit_root(WIDTHS, [of(n) ** 0.5 for n in WIDTHS]) is None
    assert fit_root(WIDTHS[:2], [(2 / (784 + n)) ** 0.5 for n in WIDTHS[:2]]) is None, (
        "two widths leave nothing to agree"
    )


def test_the_divisor_of_the_unbiased_variance_of_a_matrix_is_a_quotient() -> None:
    """A pole among the widths, as one over n + b has it here, divided by zero."""
    found = fit_quotient((16, 24, 40), [1 / (n * n - 1) for n in (16, 24, 40)])
    assert found is not None and [str(x) for x in found] == ["n^-2", "1 - n^-2"]
    assert fit_quotient((16, 24, 40), [1 / (n**3 - 1) for n in (16, 24, 40)]) is None
