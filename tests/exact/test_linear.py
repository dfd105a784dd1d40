"""Are optima and contradictions of linear programs on exponents exact?"""

from __future__ import annotations

from fractions import Fraction

import pytest

from tpdyn.exact.forms import Constraint, Form
from tpdyn.exact.linear import Infeasible, Unbounded, compromise, facets, inside, minimise, nullspace

ZERO, HALF, ONE = Fraction(0), Fraction(1, 2), Fraction(1)


def above(constant: Fraction | int, *coefficients: Fraction | int, relation: str = ">=") -> Constraint:
    return Constraint(Form(Fraction(constant), tuple(Fraction(c) for c in coefficients)), relation)


SQUARE = (above(0, 1, 0), above(1, -1, 0), above(0, 0, 1), above(1, 0, -1))


def test_a_minimum_is_an_exact_point() -> None:
    third = above(Fraction(-1, 3), 1, 1)
    assert minimise(Form(Fraction(0), (Fraction(1), Fraction(2))), [*SQUARE, third]) == (Fraction(1, 3), 0)


def test_a_denominator_that_rounding_misses_is_solved_for() -> None:
    assert minimise(Form(Fraction(0), (Fraction(1),)), [above(-1, 1009)]) == (Fraction(1, 1009),)


def test_an_objective_without_minimum_is_refused() -> None:
    with pytest.raises(Unbounded):
        minimise(Form(Fraction(0), (Fraction(1),)), [above(0, -1)])


def test_a_contradiction_names_a_minimal_set_of_constraints() -> None:
    answer = minimise(Form(Fraction(0), (Fraction(0), Fraction(0))), [*SQUARE, above(-3, 1, 1), above(5, 1, 1)])
    assert isinstance(answer, Infeasible)
    assert answer.certificate == (1, 3, 4)
    equal = [above(0, 1, 1, relation="="), above(-1, 1, 0), above(0, 0, 1)]
    assert minimise(Form(Fraction(0), (Fraction(0), Fraction(0))), equal) == Infeasible((0, 1, 2))


def test_a_point_inside_satisfies_strict_inequalities_strictly() -> None:
    strict = [above(c.form.constant, *c.form.coefficients, relation=">") for c in SQUARE]
    point = inside(strict, 2)
    assert point is not None
    assert all(c.holds(point) for c in strict)
    assert inside([above(0, 1, relation=">"), above(0, -1)], 1) is None


def test_facets_are_the_constraints_that_something_exact_violates_alone() -> None:
    implied = above(3, -1, -1)
    touching = above(2, -1, -1)
    assert facets([*SQUARE, implied, touching], 2) == SQUARE


def test_a_nullspace_is_exact() -> None:
    rows = [(Fraction(1), HALF, Fraction(0)), (Fraction(2), Fraction(1), Fraction(0))]
    basis = nullspace(rows, 3)
    assert basis == [(-HALF, 1, 0), (0, 0, 1)]
    assert nullspace([], 1) == [(1,)]


def test_a_compromise_misses_what_counts_least_and_moves_no_further_than_it_has_to() -> None:
    """x >= 1 against x <= 0, and y >= 1/3 with nothing against it."""
    first = Form(-ONE, (ONE, ZERO))
    second = Form(ZERO, (-ONE, ZERO))
    third = Form(Fraction(-1, 3), (ZERO, ONE))
    near = [Fraction(1, 1000)] * 2
    assert compromise([first, second, third], [ONE, Fraction(2), ONE], near) == (ZERO, Fraction(1, 3))
    assert compromise([first, second, third], [Fraction(2), ONE, ONE], near) == (ONE, Fraction(1, 3))
    assert compromise([second, third], [ONE, ONE], [Fraction(2)] * 2) == (
        ZERO,
        ZERO,
    )  # to move costs more than it brings
