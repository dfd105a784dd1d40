"""Mirrors tpdyn/parametrizing/maps/phase.py: one label a point, r as a form, and the earliest reason for being unstable."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from tpdyn.claims.theorems import Abc, maximal_update, neural_tangent, standard
from tpdyn.exact.forms import Form
from tpdyn.exponents import Order
from tpdyn.facts.facts import Facts
from tpdyn.parametrizing.maps.phase import LABELS, Phase, PhaseReader, phase_of, rank, text, words
from tpdyn.readings.orders.reading import Orders, read
from tpdyn.regimes.cells import every_exponent
from tpdyn.testing.perceptrons import exponents, layer_names, mlp_program

HALF, ZERO, ONE = Fraction(1, 2), Fraction(0), Fraction(1)
BARE = Abc((ZERO,) * 3, (ZERO,) * 3, (ZERO,) * 3)
PROGRAM = mlp_program(2, "tanh", "sgd", point=BARE)


@pytest.mark.parametrize(
    ("point", "label", "r"),
    [
        (maximal_update(2), "feature learning", ZERO),
        (neural_tangent(2), "kernel", HALF),
        (standard(2), "unstable", None),
        (standard(2, 2), "trivial", None),
        (BARE, "unstable at initialisation", None),
    ],
)
def test_the_textbook_points_have_their_labels(point: Abc, label: str, r: Order) -> None:
    assert phase_of(PROGRAM, exponents(point, layer_names(2)))[:2] == (label, r)


def test_too_large_at_initialisation_comes_before_too_large_a_change() -> None:
    wild = Abc((ZERO,) * 3, (-ONE, HALF, HALF), (-ONE * 5,) * 3)
    assert phase_of(PROGRAM, exponents(wild, layer_names(2)))[0] == "unstable at initialisation"


def test_a_phase_needs_nothing_behind_the_last_value_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    def watched(*given: Any, **named: Any) -> Orders:
        orders = read(*given, **named)
        lengths.append(len(orders.values))
        return orders

    monkeypatch.setattr("tpdyn.parametrizing.maps.phase.read", watched)
    phase_of(PROGRAM, exponents(neural_tangent(2), layer_names(2)))
    assert lengths == [max(Facts.of(PROGRAM).outputs) + 1] and lengths[0] < len(PROGRAM)


def test_a_reader_says_the_phase_of_a_whole_cell_and_counts() -> None:
    counted: list[int] = []
    facts = Facts.of(PROGRAM)
    space = every_exponent(PROGRAM, origin=exponents(neural_tangent(2), layer_names(2)))
    reader = PhaseReader(facts, space, counted.append)
    origin = (ZERO,) * len(space.names)
    phase, cell = reader.look(origin)
    assert phase.label == "kernel" and phase.r is not None and phase.r.at(origin) == HALF
    assert cell.contains(origin)
    reader.look(origin)
    assert counted == [1, 2]


def test_phases_agree_where_label_and_r_do() -> None:
    one, x = Phase("kernel", Form(ONE, (ZERO,))), Phase("kernel", Form(ZERO, (ONE,)))
    assert one.agrees(x, (ONE,)) and not one.agrees(x, (ZERO,))
    assert not one.agrees_on(x, [(ONE,), (ZERO,)])
    assert not one.agrees(Phase("kernel"), (ONE,)) and not one.agrees(Phase("trivial"), (ONE,))


def test_a_phase_is_shown_with_its_r_unless_that_is_zero() -> None:
    assert Phase("kernel", Form(HALF, (ONE,))).show(("c",)) == f"kernel, r = {Form(HALF, (ONE,)).show(('c',))}"
    assert Phase("feature learning", Form(ZERO, (ZERO,))).show(("c",)) == "feature learning"
    assert [rank(Phase(label)) for label in LABELS] == [0, 1, 2, 3, 4]


def test_points_are_exact_as_text() -> None:
    assert text((HALF, -ONE)) == ["1/2", "-1"]
    assert words([(HALF, ZERO), (ONE, HALF)]) == "(1/2, 0) (1, 1/2)"
