"""Does a linear form compare as its value does, and does the chart note what decided?"""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpdyn.exact.affine import Affine, Chart

small = st.fractions(min_value=-4, max_value=4, max_denominator=6)


def chart(x: Fraction | int = 1, y: Fraction | int = 2) -> tuple[Chart, Affine, Affine]:
    made = Chart({"x": Fraction(x), "y": Fraction(y)})
    return made, made.symbol("x"), made.symbol("y")


@given(x=small, y=small, p=small, q=small, r=small)
def test_arithmetic_is_that_of_linear_forms(x: Fraction, y: Fraction, p: Fraction, q: Fraction, r: Fraction) -> None:
    made, a, b = chart(x, y)
    form = r + p * a - (-b) * q - a / 2 + abs(r)
    assert made.form(form.packed) == (r + abs(r), (p - Fraction(1, 2), q))
    assert form.value == r + p * x + q * y - x / 2 + abs(r)


@given(x=small, y=small, p=small, q=small, r=small)
def test_comparisons_are_those_of_the_values(x: Fraction, y: Fraction, p: Fraction, q: Fraction, r: Fraction) -> None:
    made, a, b = chart(x, y)
    left, right = p * a + r, q * b
    for compare in ("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"):
        assert getattr(left, compare)(right) == getattr(left.value, compare)(right.value)
        assert getattr(left, compare)(r) == getattr(left.value, compare)(r)
    for packed, relation in made.findings():
        constant, (s, t) = made.form(packed)
        value = constant + s * x + t * y
        assert {"=": value == 0, ">": value > 0, ">=": value >= 0}[relation]


def test_the_chart_notes_the_weakest_inequality_that_decides() -> None:
    made, x, y = chart()
    assert x < y
    assert not y < x
    assert list(made.findings()) == [((y - x).packed, ">")]
    made, x, y = chart()
    assert max(x, y) is y
    assert not x > y
    assert list(made.findings()) == [((y - x).packed, ">")] or list(made.findings()) == [((y - x).packed, ">=")]
    made, x, y = chart(1, 1)
    assert x == y
    assert next(iter(made.findings()))[1] == "="


def test_what_does_not_depend_on_the_point_is_not_noted() -> None:
    made, x, _ = chart()
    assert x + 1 > x
    assert x == x + 0
    assert x < math.inf
    assert x - x == 0
    assert not x - x
    assert x
    assert list(made.findings()) == []


def test_forms_that_are_equal_at_the_point_meet_in_a_dictionary() -> None:
    made, x, y = chart(1, 1)
    assert len({x: 0, y: 1}) == 1
    assert next(iter(made.findings()))[1] == "="


def test_a_form_is_shown_with_its_symbols_and_gives_away_no_single_number() -> None:
    _, x, y = chart()
    assert str(Fraction(1, 2) - 2 * x + y / 2) == "1/2 - 2*x + 1/2*y"
    assert f"{-x}" == "-x"
    for lose in (float, int, round, lambda form: form.numerator, lambda form: form**2, lambda form: form % 1):
        with pytest.raises(TypeError):
            lose(x)
    with pytest.raises(TypeError, match="not linear"):
        x * y
    with pytest.raises(TypeError, match="exact"):
        x + 0.5


def test_a_coefficient_too_fine_to_be_held_is_refused() -> None:
    _, x, _ = chart()
    fine = Fraction(1, 2**32) * x
    with pytest.raises(ArithmeticError, match="multiple"):
        fine / 2
    with pytest.raises(ArithmeticError, match="multiple"):
        x * Fraction(1, 17)
