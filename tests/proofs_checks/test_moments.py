"""Are the counted moments those that can be written down?"""

from __future__ import annotations

from fractions import Fraction
from math import comb, prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moments import (
    at_sizes,
    catalan,
    crosses,
    expected_trace,
    free_product,
    fuss_catalan,
    gaussian_moment,
    narayana,
    pairings,
    reversed_series,
    set_partitions,
    times,
)


@pytest.mark.parametrize("p", range(5))
def test_there_are_as_many_pairings_as_a_gaussian_moment_and_a_catalan_number_of_them_do_not_cross(p: int) -> None:
    found = list(pairings(range(2 * p)))
    assert len(found) == len(set(found)) == gaussian_moment(2 * p)
    assert sum(not crosses(each) for each in found) == catalan(p)
    assert list(pairings(range(2 * p + 1))) == [] and gaussian_moment(2 * p + 1) == 0


@pytest.mark.parametrize("p", range(1, 8))
def test_narayana_numbers_sum_to_catalan_and_one_factor_of_fuss_catalan_is_catalan(p: int) -> None:
    assert sum(narayana(p, k) for k in range(1, p + 1)) == catalan(p) == fuss_catalan(1, p)


@pytest.mark.parametrize("p", range(1, 5))
def test_the_trace_of_one_row_is_a_chi_squared_moment(p: int) -> None:
    """X of one row of m entries: tr (X X^T)^p = |x|^2p, whose mean is m (m + 2) ... (m + 2p - 2)."""
    trace = expected_trace([("X", False), ("X", True)] * p, {"X": ("rows", "columns")})
    for m in range(1, 5):
        assert at_sizes(trace, {"rows": 1, "columns": m}) == prod(m + 2 * k for k in range(p))


def test_a_product_of_two_numbers_has_the_product_of_their_moments() -> None:
    word = [("V", False), ("W", False), ("W", True), ("V", True)] * 2
    trace = expected_trace(word, {"V": ("a", "b"), "W": ("b", "c")})
    assert at_sizes(trace, {"a": 1, "b": 1, "c": 1}) == 9


def test_factors_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="factor 0 of the word ends in 'columns', the next begins in 'rows'"):
        expected_trace([("X", False), ("X", False)], {"X": ("rows", "columns")})


def test_there_are_as_many_partitions_as_bell_says() -> None:
    assert [len(list(set_partitions(k))) for k in range(7)] == [1, 1, 2, 5, 15, 52, 203]


@given(st.lists(st.fractions(-3, 3, max_denominator=5), min_size=2, max_size=5))
@settings(max_examples=30)
def test_a_reversed_series_undoes_the_series(rest: list[Fraction]) -> None:
    series = [Fraction(0), Fraction(2), *rest]
    inverse = reversed_series(series)
    made, power = [Fraction(0)] * len(series), [Fraction(1)] + [Fraction(0)] * (len(series) - 1)
    for coefficient in series:  # series(inverse(z)), term by term
        made = [x + coefficient * y for x, y in zip(made, power, strict=True)]
        power = times(power, inverse)
    assert made == [0, 1] + [0] * (len(series) - 2)


def test_free_products_of_known_laws() -> None:
    """Free Poisson variables: Fuss-Catalan. A constant scales. A projection of trace t: t sum over Narayana t^(k - 1)."""
    poisson = [catalan(p) for p in range(1, 7)]
    assert free_product(poisson, poisson) == [fuss_catalan(2, p) for p in range(1, 7)]
    assert free_product(poisson, [3**p for p in range(1, 7)]) == [3**p * catalan(p) for p in range(1, 7)]
    t = Fraction(1, 3)
    thinned = free_product(poisson, [t] * 6)
    assert thinned == [sum(narayana(p, k) * t**k for k in range(1, p + 1)) for p in range(1, 7)]


def test_free_products_refuse_a_zero_mean() -> None:
    with pytest.raises(ValueError, match="the first not zero"):
        free_product([0, 1], [1, 2])


def test_fuss_catalan_by_its_formula() -> None:
    assert (
        [fuss_catalan(2, p) for p in range(1, 5)]
        == [1, 3, 12, 55]
        == [comb(3 * p, p) // (2 * p + 1) for p in range(1, 5)]
    )
