"""A plain reading gives the phase and the formulas' values on every point of a cell of a recorded script.

Scripts have biases, normalisations, attention, tied embeddings, Adam with decay and clipping. Lists of terms get long in
them, and are merged. The cell must know of each choice that was made on the way. It can fail: beyond some facet of a cell
the formulas inside are wrong, and the comparison says so.
"""

from __future__ import annotations

import random
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tpdyn
from tpdyn.exact.forms import Form
from tpdyn.exact.linear import nullspace
from tpdyn.exponents import Order
from tpdyn.facts.facts import Facts
from tpdyn.parametrizing.derive import derive
from tpdyn.parametrizing.maps.phase import phase_of
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents, read
from tpdyn.regimes.cells import Cell, Coordinates, formula, moved_by, on_cell
from tpdyn.scripts.script import load

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES_A_SCRIPT = max(2, settings().max_examples // 5 if settings().max_examples > 25 else 2)
"""Fewer than elsewhere: one example is two readings of a transformer, a second."""

ZERO = Fraction(0)
SCRIPTS = {
    "perceptron": ("digits_mlp.py:train", None, (16, 24, 40), ("c", "out.weight:b", "fc2.*:c")),
    "transformer": ("gpt.py", "--d-model", (32, 48, 64), ("c", "tokens.weight:b", "blocks.*.weight:c")),
}


@cache
def recorded(name: str) -> tuple[Program, Coordinates]:
    """A script without its decay, and a space of three symbols around its maximal update."""
    target, option, widths, words = SCRIPTS[name]
    made = tpdyn.record(load(str(FOLDER / target), option, []), widths=widths, steps=3)
    program = Facts.of(made).without_decay[0].program
    maximum = derive(made).maximum
    assert maximum is not None
    return program, Coordinates({word: moved_by(program, word) for word in words}, maximum.exponents)


def elsewhere(cell: Cell, draw: random.Random) -> tuple[Fraction, ...]:
    """A random point of a cell: along a random direction within its equations, anywhere before the nearest facet."""
    size = len(cell.names)
    free = nullspace([form.coefficients for form in cell.equations], size)
    weights = [Fraction(draw.randint(-3, 3)) for _ in free]
    along = tuple(sum((w * v[k] for w, v in zip(weights, free, strict=True)), ZERO) for k in range(size))
    reach = Fraction(2)
    for constraint in cell.constraints:
        slope = Form(ZERO, constraint.form.coefficients).at(along)
        if slope < 0:
            reach = min(reach, constraint.form.at(cell.point) / -slope)
    step = reach * draw.choice([Fraction(1), Fraction(99, 100), Fraction(1, 3)])
    there = tuple(x + step * v for x, v in zip(cell.point, along, strict=True))
    return there if cell.contains(there) else cell.point


@pytest.mark.parametrize("name", list(SCRIPTS))
@given(seed=st.integers(0, 10**6), grid=st.sampled_from([1, 2, 30]))
@settings(deadline=None, max_examples=EXAMPLES_A_SCRIPT)
def test_the_phase_and_its_r_are_those_of_a_plain_reading(name: str, seed: int, grid: int) -> None:
    program, coordinates = recorded(name)
    draw = random.Random(seed)
    start = tuple(Fraction(draw.randint(-grid, 2 * grid), grid) for _ in coordinates.names)
    (label, r), cell = on_cell(coordinates, start, lambda exponents: phase_of(program, exponents)[:2])
    form = formula(r, len(coordinates.names))
    point = elsewhere(cell, draw)
    assert phase_of(program, coordinates.at(point))[:2] == (label, None if form is None else form.at(point))


@pytest.mark.parametrize("name", list(SCRIPTS))
@given(seed=st.integers(0, 10**6), grid=st.sampled_from([1, 2, 30]))
@settings(deadline=None, max_examples=EXAMPLES_A_SCRIPT)
def test_every_order_is_that_of_a_plain_reading(name: str, seed: int, grid: int) -> None:
    program, coordinates = recorded(name)
    draw = random.Random(seed)
    start = tuple(Fraction(draw.randint(-grid, 2 * grid), grid) for _ in coordinates.names)

    def orders(exponents: Exponents) -> list[Order]:
        values = read(program, exponents).values
        return [order for value in values for order in (value.size, value.moved)]

    there, cell = on_cell(coordinates, start, orders)
    point = elsewhere(cell, draw)
    forms = [formula(order, len(coordinates.names)) for order in there]
    assert orders(coordinates.at(point)) == [None if form is None else form.at(point) for form in forms]


def test_beyond_a_facet_the_formulas_of_the_cell_are_found_wrong() -> None:
    program, coordinates = recorded("perceptron")

    def orders(exponents: Exponents) -> list[Order]:
        return [order for value in read(program, exponents).values for order in (value.size, value.moved)]

    there, cell = on_cell(coordinates, (Fraction(1, 3),) * len(coordinates.names), orders)
    forms = [formula(order, len(coordinates.names)) for order in there]
    wrong = 0
    for sign in (-1, 1):
        for axis in range(len(coordinates.names)):
            point = tuple(x + 3 * sign * (k == axis) for k, x in enumerate(cell.point))
            if not cell.contains(point):
                wrong += orders(coordinates.at(point)) != [None if each is None else each.at(point) for each in forms]
    assert wrong
