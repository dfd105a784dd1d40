"""Do questions about orders have the answers of their values, and are the conditions of these answers recorded?"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpdyn.exact.affine import Affine, Chart
from tpdyn.exact.compare import counts_on, exceeds, key, largest, leader, meets, ranks, reaches, smallest

small = st.fractions(min_value=-4, max_value=4, max_denominator=6)
QUESTIONS: dict[Callable[[Fraction, Fraction], bool], str] = {exceeds: "__gt__", reaches: "__ge__", meets: "__eq__"}


def chart(x: Fraction | int = 1, y: Fraction | int = 2) -> tuple[Chart, Affine, Affine]:
    made = Chart({"x": Fraction(x), "y": Fraction(y)})
    return made, made.symbol("x"), made.symbol("y")


@given(x=small, y=small, p=small, q=small, r=small)
def test_answers_are_those_of_the_values_and_hold_where_the_recorded_conditions_do(
    x: Fraction, y: Fraction, p: Fraction, q: Fraction, r: Fraction
) -> None:
    made, a, b = chart(x, y)
    left, right = p * a + r, q * b
    for ask, sign in QUESTIONS.items():
        assert ask(left, right) == getattr(left.value, sign)(right.value)
        assert ask(left, r) == getattr(left.value, sign)(r)
        assert ask(r, left) == getattr(r, sign)(left.value)
        assert ask(r, q) == getattr(r, sign)(q)
    for packed, relation in made.findings():
        constant, (s, t) = made.form(packed)
        value = constant + s * x + t * y
        assert {"=": value == 0, ">": value > 0, ">=": value >= 0}[relation]


def test_the_weakest_inequality_that_decides_is_recorded() -> None:
    made, x, y = chart()
    assert exceeds(y, x)
    assert not exceeds(x, y)
    assert list(made.findings()) == [((y - x).packed, ">")]
    for biggest in (lambda x, y: largest([x, y]), lambda x, y: leader((x, y), lambda order: order)):
        made, x, y = chart()
        assert biggest(y, x) is y
        assert list(made.findings()) == [((y - x).packed, ">=")]
    made, x, y = chart(1, 1)
    assert meets(x, y)
    assert next(iter(made.findings()))[1] == "="
    made, x, y = chart()
    assert smallest([y, x]) is x


def test_what_does_not_depend_on_the_point_is_not_recorded() -> None:
    made, x, _ = chart()
    assert exceeds(x + 1, x) and meets(x, x + 0) and meets(x - x, 0)
    for finite in (x, Fraction(3)):
        assert exceeds(math.inf, finite) and exceeds(finite, -math.inf)  # type: ignore[arg-type]
        assert not exceeds(finite, math.inf) and not meets(finite, math.inf)  # type: ignore[arg-type]
    assert list(made.findings()) == []


def test_sorting_records_nothing_and_counting_on_what_is_wrong_is_noticed() -> None:
    made, x, y = chart()
    values = ranks([y, x, Fraction(3, 2), math.inf])  # type: ignore[list-item]
    assert sorted(range(4), key=values.__getitem__) == [1, 2, 0, 3]
    assert list(made.findings()) == []
    with pytest.raises(AssertionError, match="not below"):
        counts_on(x, y)


def test_a_key_tells_forms_apart_that_are_equal_at_the_point() -> None:
    _, x, y = chart(1, 1)
    assert key(x) == key(x + 0) and key(x) != key(y) and key(x) != key(Fraction(1))
    assert key(Fraction(2, 4)) == key(Fraction(1, 2)) and key(math.inf) == math.inf  # type: ignore[arg-type]
