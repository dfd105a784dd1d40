"""Mirrors tpdyn/parametrizing/maps/sized.py: the largest of linear forms on a cell, and what a reading that ended leaves."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tpdyn.exact.forms import Form
from tpdyn.facts.facts import Facts
from tpdyn.parametrizing.maps.phase import PhaseReader
from tpdyn.parametrizing.maps.sized import Most, Sizes
from tpdyn.readings.orders.reading import Exponents
from tpdyn.regimes.cells import Coordinates, moved_by
from tpdyn.testing.perceptrons import mlp_program

ZERO, ONE = Fraction(0), Fraction(1)
X, Y, HALF = Form(ZERO, (ONE, ZERO)), Form(ZERO, (ZERO, ONE)), Form(Fraction(1, 2), (ZERO, ZERO))
SQUARE = [(ZERO, ZERO), (ONE, ZERO), (ONE, ONE), (ZERO, ONE)]


def test_an_order_is_the_largest_of_its_forms_in_text_and_in_number() -> None:
    assert Most((X, HALF)).show("xy") == "max(x, 1/2)"
    assert Most((X,)).show("xy") == "x"
    assert Most().show("xy") is None
    assert Most((X,), beyond=True).show("xy") == "inf"
    assert Most((X, HALF)).at((ONE, ZERO)) == 1
    assert Most((X, HALF)).at((ZERO, ZERO)) == Fraction(1, 2)
    assert Most().at((ZERO, ZERO)) is None
    with pytest.raises(ValueError, match="above every power"):
        Most(beyond=True).at((ZERO, ZERO))


def test_only_forms_that_are_largest_somewhere_on_the_cell_are_kept() -> None:
    assert set(Most((X, Y, HALF)).on(SQUARE).forms) == {X, Y, HALF}
    assert Most((X, Y)).on([(ZERO, ZERO), (ONE, ZERO), (ONE, ONE)]).forms == (X,)
    assert Most((X, X)).on(SQUARE).forms == (X,)
    assert Most((X, Y)).on([(ONE, ONE)]).forms in {(X,), (Y,)}  # equally large at that point


def test_a_reading_that_ends_at_a_value_that_grows_leaves_what_came_before() -> None:
    made = mlp_program(1, "tanh", "sgd")
    facts = Facts.of(made)
    sizes = Sizes(facts)
    plane = Coordinates({"c": moved_by(made, "c"), "b": moved_by(made, "out:b")}, Exponents())
    reader = PhaseReader(facts, plane, noted=sizes.note)
    found = {}
    for point in ((Fraction(3), Fraction(1)), (Fraction(-3), Fraction(1)), (Fraction(1, 3), Fraction(-3))):
        phase, cell = reader.look(point)
        found[phase.label] = sizes.on(cell, phase, (point,))
    assert set(found) == {"trivial", "unstable", "unstable at initialisation"}
    assert found["trivial"].grows == ""
    assert "step 1" in found["unstable"].grows
    assert found["unstable at initialisation"].grows.startswith("out")
    assert all(change.unread for _, _, change in found["unstable at initialisation"].orders)
    assert Most(unread=True).show("xy") == "not read"
    assert {name for names, _, _ in found["trivial"].orders for name in names} >= {"x1", "output"}
