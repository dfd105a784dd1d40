"""Does a linear form add and scale as its value does, and does it refuse what would lose it?"""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpdyn.exact.affine import SLOT, Affine, Chart, Memory
from tpdyn.exact.compare import exceeds

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


@given(parts=st.lists(st.one_of(st.just(0), st.integers(-(10**20), 10**20)), min_size=3, max_size=3))
def test_a_form_is_unpacked_into_the_parts_that_it_was_packed_from(parts: list[int]) -> None:
    made, _, _ = chart()
    packed = sum(part << (SLOT * index) for index, part in enumerate(parts))
    assert made.parts(packed) == parts
    assert made.values[packed] == parts[0] + parts[1] + 2 * parts[2]


def test_the_same_form_everywhere_is_equal_and_a_value_that_is_equal_at_the_point_is_not() -> None:
    _, x, y = chart(1, 1)
    assert x == x + 0 and hash(x) == hash(x + 0)
    assert x != y and x != 1 and len({x, y, Fraction(1)}) == 3
    assert x - x == 0 and hash(x - x) == hash(Fraction(0))
    assert x and not x - x


def test_a_sign_that_would_hide_on_what_the_answer_depends_is_refused() -> None:
    _, x, y = chart()
    for compare in ("__lt__", "__le__", "__gt__", "__ge__"):
        with pytest.raises(TypeError, match=r"ask tpdyn\.exact\.compare"):
            getattr(x, compare)(y)
    with pytest.raises(TypeError, match="in a comparison"):
        max(x, y)
    with pytest.raises(TypeError):
        sorted([x, y])


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


@given(x=small, y=small, p=small, q=small)
def test_a_form_has_its_value_at_the_point_of_a_chart(x: Fraction, y: Fraction, p: Fraction, q: Fraction) -> None:
    made, a, b = chart(x, y)
    form = p * a + q * b + Fraction(1, 2)
    assert made.order(form.packed).value == form.value == made.order(form.packed, made.rank(form)).value


def test_work_is_done_again_only_where_a_comparison_comes_out_otherwise() -> None:
    memory: Memory = {}
    asked: list[int] = []
    for number, larger in ((3, True), (5, True), (0, False), (-1, False), (-2, False), (4, True), (0, False)):
        here = Chart({"x": Fraction(number)}, memory)
        x = here.symbol("x")

        def work(x: Affine = x, number: int = number) -> bool:
            asked.append(number)
            return exceeds(x, 0)

        assert here.recalled(memory, "x > 0", work) is larger
        assert set(here.findings()) == {(x.packed, ">") if larger else ((-x).packed, ">=")}  # done or looked up
    assert asked == [3, 0, -1]


def test_conditions_are_those_of_the_work_alone_and_hold_for_all_around_it() -> None:
    made, x, y = chart(1, 2)
    assert exceeds(y, x)
    conditions, result = made.recorded(lambda: exceeds(x, 0))
    assert result and conditions.above == conditions.positive == (x.packed,)
    assert set(made.findings()) == {((y - x).packed, ">"), (x.packed, ">")}
    with pytest.raises(ZeroDivisionError):
        made.recorded(lambda: exceeds(0, y) or 1 / 0)
    assert (y.packed, ">=") in set(made.findings())  # also where the work fails
