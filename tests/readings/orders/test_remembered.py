"""Are values found at other points of a slice those of a fresh reading, with all their conditions?"""

from __future__ import annotations

import random
from fractions import Fraction
from functools import cache
from typing import Literal

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tpdyn.exact.affine import Chart, Memory
from tpdyn.program.program import Program
from tpdyn.readings.orders.parity import Sources
from tpdyn.readings.orders.reading import Exponents, Orders, read
from tpdyn.readings.orders.remembered import Remembered
from tpdyn.readings.orders.terms import Term, Value, tidy
from tpdyn.regimes.cells import Coordinates, formula, moved_by, on_cell, plain
from tpdyn.testing.perceptrons import mlp_program

WORDS = {"x": "c", "y": "out:b", "z": "W1:c,-W1:a"}
Point = tuple[Fraction, ...]


@cache
def program(function: str, optimizer: Literal["sgd", "adam"]) -> Program:
    return mlp_program(2, function, optimizer)


def terms_of(orders: Orders) -> list[object]:
    """The terms of every statement at the point, in no order."""

    def said(term: Term) -> tuple[object, ...]:
        return plain(term.order), term.parity, plain(term.rarity), term.gaussian

    return [
        tuple(None if terms is None else frozenset(map(said, terms)) for terms in (v.base, v.change, v.whole))
        for v in orders.values
    ]


def bare(made: Program, exponents: Exponents) -> Orders:
    return read(made, exponents, contributions=False)


@pytest.mark.parametrize(("function", "optimizer"), [("tanh", "adam"), ("relu", "sgd")])
@given(seed=st.integers(0, 10**6), grid=st.sampled_from([1, 2, 8]))
@settings(max_examples=2, deadline=None, phases=[Phase.generate])  # to shrink takes minutes
def test_what_is_looked_up_is_what_a_fresh_reading_finds_on_all_of_its_cell(
    function: str, optimizer: Literal["sgd", "adam"], seed: int, grid: int
) -> None:
    made = program(function, optimizer)
    coordinates = Coordinates({symbol: moved_by(made, word) for symbol, word in WORDS.items()})
    draw = random.Random(seed)
    points: list[Point] = [tuple(Fraction(draw.randint(-2, 4), grid) for _ in WORDS) for _ in range(6)]
    plainly = [bare(made, coordinates.at(point)) for point in points]
    memory: Memory = {}
    for point, fresh in zip(points, plainly, strict=True):
        found, cell = on_cell(coordinates, point, lambda exponents: bare(made, exponents), memory)
        assert cell.contains(point)
        assert isinstance(found.values, Remembered)
        assert terms_of(found) == terms_of(fresh)
        forms = [formula(order, len(WORDS)) for v in found.values for order in (v.size, v.moved)]
        for other, there in zip(points, plainly, strict=True):
            if cell.contains(other):
                expected = [order for v in there.values for order in (v.size, v.moved)]
                assert [None if form is None else form.at(other) for form in forms] == expected


def at(x: int, memory: Memory) -> tuple[Chart, Fraction]:
    chart = Chart({"x": Fraction(x)}, memory)
    return chart, chart.symbol("x")


def add(known: Remembered, sources: Sources, x: Fraction, asked: list[str]) -> None:
    """Three statements: a number of order x, one of order 0, and their sum. The rule of the sum tells when it is asked."""

    def leaf(order: Fraction) -> Value:
        return Value((Term(order),), wide=0)

    def total() -> Value:
        asked.append("sum")
        return Value(tidy([*known[0].base, *known[1].base], 0), wide=0)

    known.add((), sources, lambda: leaf(x))
    known.add((), sources, lambda: leaf(x - x))
    known.add((0, 1), sources, total)


def test_a_rule_is_asked_again_only_where_other_conditions_hold() -> None:
    memory: Memory = {}
    asked: list[str] = []
    sums = []
    for number in (3, 5, -1, -2, 4, 0):
        chart, x = at(number, memory)
        known = Remembered(chart, memory, "a reading")
        add(known, Sources(), x, asked)
        sums.append(known[2].size)
        conditions = {(form, relation) for form, relation in chart.findings()}
        assert conditions == {(x.packed if number >= 0 else (-x).packed, ">=")}  # noted, although it was looked up
    assert [plain(order) for order in sums] == [3, 5, 0, 0, 4, 0]
    assert asked == ["sum"] * 3  # above, below, and the tie


def test_another_reading_is_another_question() -> None:
    memory: Memory = {}
    asked: list[str] = []
    for reading in ("one", "other", "one"):
        chart, x = at(1, memory)
        add(Remembered(chart, memory, reading), Sources(), x, asked)
    assert asked == ["sum"] * 2


def test_what_is_looked_up_names_the_same_sources() -> None:
    """A statement that brought in a source brings it in again. Where other names were given before, its rule is asked."""
    memory: Memory = {}
    for before in ([], [], [7]):
        chart, x = at(1, memory)
        known, sources = Remembered(chart, memory, "a reading"), Sources()
        for position in before:
            sources.leaf(position)
        known.add((), sources, lambda sources=sources, x=x: Value((Term(x + sources.leaf(3)),), wide=0))
        assert known[0].size == x + len(before)
        assert sources.leaf(3) == len(before)


def test_without_a_memory_or_a_linear_form_nothing_is_remembered() -> None:
    chart = Chart({"x": Fraction(1)})
    assert Remembered.of([{"w": chart.symbol("x")}], ()) is None
    assert Remembered.of([{"w": Fraction(1)}, {}], ()) is None
    assert Remembered.of([{}, {"w": Chart({"x": Fraction(1)}, {}).symbol("x")}], ()) is not None
