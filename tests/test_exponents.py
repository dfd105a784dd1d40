"""Mirrors tpdyn/exponents.py: powers of the width add, multiply, evaluate and print exactly."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpdyn.exponents import Scaling, direction, show_number, show_order, show_power

POWERS = st.sampled_from([Fraction(k, 2) for k in range(-4, 5)])
SCALINGS = st.lists(st.tuples(st.integers(-4, 4).filter(bool), POWERS), max_size=3).map(
    lambda terms: Scaling.sum([Scaling.of(c, p) for c, p in terms])
)


@given(SCALINGS, SCALINGS, st.integers(2, 50))
def test_sums_and_products_are_those_of_values(x: Scaling, y: Scaling, width: int) -> None:
    assert (x + y).at(width) == pytest.approx(x.at(width) + y.at(width), rel=1e-12, abs=1e-9)
    assert (x * y).at(width) == pytest.approx(x.at(width) * y.at(width), rel=1e-12, abs=1e-9)
    assert (x + -x).is_zero


@given(SCALINGS, SCALINGS)
def test_equal_functions_of_the_width_are_equal_and_orders_add(x: Scaling, y: Scaling) -> None:
    assert x + y == y + x
    assert x * y == y * x
    if x.order is not None and y.order is not None:
        assert (x * y).order == x.order + y.order


def test_the_order_is_the_largest_power_and_zero_has_none() -> None:
    assert (Scaling.of(3) + Scaling.of(1, "1/2")).order == Fraction(1, 2)
    assert Scaling(()).order is None
    assert (Scaling.of(2, 1) + Scaling.of(-2, 1)).is_zero


def test_wide_means_growing() -> None:
    assert Scaling.of(1, 1).is_wide
    assert not Scaling.of(7).is_wide
    assert not Scaling.of(1, -1).is_wide
    assert Scaling.of(7).is_constant
    assert Scaling.of(7).constant == 7
    with pytest.raises(ValueError, match="depends on the width"):
        _ = Scaling.of(1, 1).constant


def test_a_dim_that_is_no_whole_number_is_refused() -> None:
    heads = Scaling.of(Fraction(1, 8), 1)
    assert heads.size_at(16) == 2
    assert Scaling.of(1, "1/2").size_at(49) == 7
    with pytest.raises(ValueError, match="not a whole number; try another width"):
        heads.size_at(12)


@pytest.mark.parametrize(
    ("scaling", "text"),
    [
        (Scaling(()), "0"),
        (Scaling.of(3, 1), "3*n"),
        (Scaling.of(Fraction(1, 8), 1), "n/8"),
        (Scaling.of(1) + Scaling.of(-0.01, -1), "1 - 0.01*n^-1"),
        (Scaling.of(-1, "1/2"), "-n^1/2"),
    ],
)
def test_scalings_print_as_in_a_paper(scaling: Scaling, text: str) -> None:
    assert str(scaling) == text


def test_orders_print_with_their_sign() -> None:
    assert [show_order(o) for o in (None, float("inf"), Fraction(1, 2), Fraction(0), Fraction(-1))] == [
        "zero",
        "+inf",
        "+1/2",
        "0",
        "-1",
    ]
    assert [show_power(Fraction(p)) for p in ("0", "1", "-1/2")] == ["", "n", "n^-1/2"]
    assert [show_number(x) for x in (3, Fraction(2, 3), 0.1, 1e-8)] == ["3", "2/3", "0.1", "1e-08"]


@pytest.mark.parametrize(
    ("order", "word"), [(Fraction(1, 2), "grows"), (Fraction(0), "stays"), (Fraction(-1), "vanishes"), (None, "zero")]
)
def test_an_order_has_a_direction(order: Fraction | None, word: str) -> None:
    assert direction(order) == word
