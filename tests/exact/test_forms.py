"""Mirrors tpdyn/exact/forms.py: linear forms evaluate exactly, and their primitive multiples have coprime integers."""

from __future__ import annotations

import math
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from tpdyn.exact.forms import Constraint, Form

RATIONALS = st.fractions(-3, 3, max_denominator=6)
FORMS = st.builds(Form, RATIONALS, st.tuples(RATIONALS, RATIONALS))
POINTS = st.tuples(RATIONALS, RATIONALS)


@given(FORMS, POINTS)
def test_a_primitive_multiple_is_positive_and_whole(form: Form, point: tuple[Fraction, ...]) -> None:
    made = form.primitive()
    assert (made.at(point) > 0) == (form.at(point) > 0)
    assert (made.at(point) == 0) == (form.at(point) == 0)
    if not form.is_constant:
        assert all(c.denominator == 1 for c in made.coefficients)
        assert math.gcd(*(int(c) for c in made.coefficients)) == 1


@given(FORMS, POINTS)
def test_a_negative_form_has_the_negative_value(form: Form, point: tuple[Fraction, ...]) -> None:
    assert (-form).at(point) == -form.at(point)


@given(FORMS, POINTS)
def test_a_constraint_holds_where_its_relation_does(form: Form, point: tuple[Fraction, ...]) -> None:
    value = form.at(point)
    assert Constraint(form, "=").holds(point) == (value == 0)
    assert Constraint(form, ">").holds(point) == (value > 0)
    assert Constraint(form, ">=").holds(point) == (value >= 0)


def test_forms_are_shown_with_the_names_of_the_symbols() -> None:
    form = Form(Fraction(1), (Fraction(-1, 2), Fraction(0)))
    assert Constraint(form, ">=").show(("c", "b")) == f"{form.show(('c', 'b'))} >= 0"
    assert form.show(("c", "b")) == "1 - 1/2*c"
