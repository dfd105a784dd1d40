"""Is a quick rational the fraction that it stands for, whatever it meets?"""

from __future__ import annotations

import copy
import math
import operator
import pickle
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tpdyn.exact.affine import Chart
from tpdyn.exponents import HALF, ZERO
from tpdyn.rationals import Rational, quick

numbers = st.fractions(min_value=-4, max_value=4, max_denominator=40)
OPERATIONS = [operator.add, operator.sub, operator.mul, operator.eq, operator.lt, operator.le, operator.gt, operator.ge]


@given(x=numbers, y=numbers)
@example(x=Fraction(1, 2), y=Fraction(1, 37))  # no multiple of the unit
def test_every_operation_gives_what_it_gives_on_fractions(x: Fraction, y: Fraction) -> None:
    operations = [*OPERATIONS, operator.truediv] if y else OPERATIONS
    for operation in operations:
        expected = operation(x, y)
        for made in (operation(quick(x), quick(y)), operation(quick(x), y), operation(x, quick(y))):
            assert made == expected and str(made) == str(expected)
    assert (hash(quick(x)), bool(quick(x)), str(-quick(x))) == (hash(x), bool(x), str(-x))
    assert (quick(x).numerator, quick(x).denominator, repr(quick(x))) == (x.numerator, x.denominator, repr(x))
    for copied in (copy.copy(quick(x)), copy.deepcopy(quick(x)), pickle.loads(pickle.dumps(quick(x)))):
        assert copied == x and type(copied) is type(quick(x))


def test_halves_and_thirds_stay_quick_and_other_denominators_stay_fractions() -> None:
    assert type(HALF / 2 + quick(Fraction(1, 3)) - 3 * HALF) is Rational
    assert type(quick(Fraction(1, 37))) is Fraction
    assert type(HALF + Fraction(1, 3)) is Rational


def test_infinities_and_whole_numbers_meet_it_as_they_meet_a_fraction() -> None:
    assert HALF + math.inf == math.inf and math.inf > HALF and not math.inf < HALF
    assert 1 - HALF == HALF and 2 * HALF == 1 and HALF > 0 and 1 / HALF == 2
    assert ZERO in {Fraction(0)} and {HALF: 1}[Fraction(1, 2)] == 1


def test_a_linear_form_stays_one_and_refuses_to_be_compared() -> None:
    x = Chart({"x": Fraction(1)}).symbol("x")
    assert str(HALF + x) == str(x + HALF) == "1/2 + x" and str(HALF * x) == "1/2*x" and str(HALF - x) == "1/2 - x"
    assert x != HALF
    with pytest.raises(TypeError, match="in a comparison"):
        _ = x > HALF


def test_a_rational_compares_with_a_float_as_its_fraction_does() -> None:
    half = quick(Fraction(1, 2))
    assert half >= 0.25 and half <= 0.75 and half > 0.25 and half < 0.75 and half == 0.5
    assert half + 0.25 == 0.75
