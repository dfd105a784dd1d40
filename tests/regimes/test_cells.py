"""Are the formulas of a cell true on all of it? The reading on linear forms, against the reading on plain rationals."""

from __future__ import annotations

import gc
import random
from fractions import Fraction
from functools import cache
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpdyn.exact.forms import Form
from tpdyn.exact.linear import nullspace
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents, Orders, read
from tpdyn.regimes.cells import Cell, Coordinates, every_exponent, formula, moved_by, on_cell
from tpdyn.regimes.judgement import Judgement, judge
from tpdyn.testing.perceptrons import mlp_program


@cache
def program(layers: int, function: str, optimizer: Literal["sgd", "sign", "adam"]) -> Program:
    return mlp_program(layers, function, optimizer)


def work(made: Program, exponents: Exponents) -> tuple[Orders, Judgement]:
    orders = read(made, exponents)
    return orders, judge(orders)


def numbers(result: tuple[Orders, Judgement]) -> list[Fraction | None]:
    orders, verdict = result
    found = [order for value in orders.values for order in (value.size, value.moved)]
    found += [order for c in orders.contributions for order in (c.order, c.alone)]
    return [*found, verdict.order, verdict.moved]


def decisions(result: tuple[Orders, Judgement]) -> tuple[object, ...]:
    verdict = result[1]
    return verdict.regime, verdict.position, verdict.what, verdict.learning


def elsewhere(cell: Cell, draw: random.Random, times: int = 6) -> tuple[Fraction, ...]:
    """A random point of the cell, by a random walk: along each random direction within the equations, anywhere inside."""
    size = len(cell.names)
    free = nullspace([form.coefficients for form in cell.equations], size)
    point = cell.point
    for _ in range(times):
        weights = [Fraction(draw.randint(-3, 3)) for _ in free]
        along = tuple(sum((w * v[i] for w, v in zip(weights, free, strict=True)), Fraction(0)) for i in range(size))
        reach = [Fraction(4)]
        for constraint in cell.constraints:
            slope = Form(Fraction(0), constraint.form.coefficients).at(along)
            if slope < 0:
                reach.append(constraint.form.at(point) / -slope)
        step = min(reach) * draw.choice([Fraction(1), Fraction(99, 100), Fraction(1, 2), Fraction(1, 7)])
        there = tuple(x + step * v for x, v in zip(point, along, strict=True))
        point = there if cell.contains(there) else point
    return point


@pytest.mark.parametrize("function", ["tanh", "relu"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "sign"])
@pytest.mark.parametrize("layers", [1, 2])
@given(seed=st.integers(0, 10**6), grid=st.sampled_from([1, 2, 4, 30]))
@settings(max_examples=12, deadline=None)
def test_on_all_of_a_cell_the_plain_reading_gives_the_values_of_the_formulas(
    layers: int, optimizer: Literal["sgd", "sign", "adam"], function: str, seed: int, grid: int
) -> None:
    made = program(layers, function, optimizer)
    coordinates = every_exponent(made)
    draw = random.Random(seed)
    start = tuple(Fraction(draw.randint(-2 * grid, 2 * grid), grid) for _ in coordinates.names)
    there, cell = on_cell(coordinates, start, lambda exponents: work(made, exponents))
    assert cell.contains(start)
    forms = [formula(order, len(coordinates.names)) for order in numbers(there)]
    for point in (start, elsewhere(cell, draw), elsewhere(cell, draw)):
        plain = work(made, coordinates.at(point))
        assert decisions(plain) == decisions(there)
        assert numbers(plain) == [None if form is None else form.at(point) for form in forms]


def test_leaving_a_cell_out_of_the_comparison_would_be_noticed() -> None:
    """The property above can fail: beyond a facet of the cell some formula is wrong."""
    made = program(1, "tanh", "sgd")
    coordinates = every_exponent(made)
    start = (Fraction(1, 7),) * len(coordinates.names)
    there, cell = on_cell(coordinates, start, lambda exponents: work(made, exponents))
    forms = [formula(order, len(coordinates.names)) for order in numbers(there)]
    draw = random.Random(0)
    wrong = 0
    for _ in range(20):
        point = tuple(Fraction(draw.randint(-8, 8), 4) for _ in coordinates.names)
        if not cell.contains(point):
            plain = numbers(work(made, coordinates.at(point)))
            wrong += plain != [None if form is None else form.at(point) for form in forms]
    assert wrong > 10


def test_symbols_move_what_their_word_names() -> None:
    made = program(2, "tanh", "sgd")
    half = Fraction(1, 2)
    assert moved_by(made, "out:b") == {("b", "out"): 1}
    assert moved_by(made, "c") == {("c", "W1"): 1, ("c", "W2"): 1, ("c", "out"): 1}
    assert moved_by(made, "W*:a, -W1:b, 1/2*out:c") == {
        ("a", "W1"): 1, ("a", "W2"): 1, ("b", "W1"): -1, ("c", "out"): half
    }  # fmt: skip
    coordinates = Coordinates({"x": moved_by(made, "c"), "y": moved_by(made, "-out:c")}, Exponents(rate={"out": half}))
    assert coordinates.at((Fraction(1), Fraction(2))).rate == {"W1": 1, "W2": 1, "out": half + 1 - 2}
    for bad in ("d", "W3:a", "out"):
        with pytest.raises(ValueError, match=r"names no exponent.*Parameters: W1, W2, out"):
            moved_by(made, bad)


def test_a_cell_says_which_inequalities_bound_it() -> None:
    made = program(1, "tanh", "sgd")
    coordinates = Coordinates({"c": moved_by(made, "c")})
    (_, verdict), cell = on_cell(coordinates, (Fraction(5),), lambda exponents: work(made, exponents))
    assert verdict.regime.value == "unstable"  # unit Gaussians in the readout: its output grows
    assert all(line.endswith(" 0") for line in cell.show().splitlines())
    with pytest.raises(ValueError, match="1 coordinates for the 6 symbols"):
        on_cell(every_exponent(made), (Fraction(0),), lambda exponents: None)


@pytest.mark.parametrize("runs", [True, False])
def test_the_search_for_cycles_rests_while_a_cell_is_read_and_is_as_it_was_afterwards(runs: bool) -> None:
    coordinates = Coordinates({"c": {("c", "W1"): Fraction(1)}})
    before = gc.isenabled()
    try:
        (gc.enable if runs else gc.disable)()
        rested, _ = on_cell(coordinates, [Fraction(0)], lambda _: not gc.isenabled())
        assert rested and gc.isenabled() is runs
        with pytest.raises(ZeroDivisionError):
            on_cell(coordinates, [Fraction(0)], lambda _: 1 // 0)
        assert gc.isenabled() is runs
    finally:
        (gc.enable if before else gc.disable)()
