"""Are the cells of a slice true at every point, each in just one, and those of the theorems?"""

from __future__ import annotations

import random
from fractions import Fraction
from functools import cache
from typing import Literal

import pytest

from tpdyn.claims.theorems import Abc
from tpdyn.exact.forms import Form, Point
from tpdyn.exact.polytopes import Bound, Polytope, box
from tpdyn.parametrizing.maps.cover import PhaseCells, phase_cells
from tpdyn.parametrizing.maps.diagram import phase_diagram
from tpdyn.parametrizing.maps.merging import merged
from tpdyn.parametrizing.maps.phase import Phase, phase_of
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents
from tpdyn.regimes.cells import moved_by
from tpdyn.testing.perceptrons import mlp_program

HALF, ZERO, ONE = Fraction(1, 2), Fraction(0), Fraction(1)
SYMBOLS = {"c": "c", "b": "out:b", "a": "out:a"}
ORIGIN = Abc((ZERO,) * 2, (ZERO, ZERO), (ZERO,) * 2)


@cache
def program(optimizer: Literal["sgd", "adam"]) -> Program:
    return mlp_program(1, "tanh", optimizer, point=ORIGIN)


@cache
def cells(optimizer: Literal["sgd", "adam"], size: int) -> PhaseCells:
    return phase_cells(program(optimizer), dict(list(SYMBOLS.items())[:size]))


def plainly(made: Program, point: Point) -> tuple[str, Fraction | None]:
    """Label and r at a point, read on plain numbers."""
    found: dict[str, dict[str, Fraction]] = {"a": {}, "b": {}, "c": {}}
    for word, value in zip(SYMBOLS.values(), point, strict=False):
        for kind, name in moved_by(made, word):
            found[kind][name] = found[kind].get(name, ZERO) + value
    return phase_of(made, Exponents(found["a"], found["b"], found["c"]))[:2]


def said(phase: Phase, point: Point) -> tuple[str, Fraction | None]:
    return phase.label, None if phase.r is None else phase.r.at(point)


@pytest.mark.parametrize(("optimizer", "size"), [("sgd", 2), ("sgd", 3), ("adam", 3)])
def test_each_point_is_in_one_cell_which_says_what_a_fresh_reading_says(
    optimizer: Literal["sgd", "adam"], size: int
) -> None:
    made, found = program(optimizer), cells(optimizer, size)
    draw = random.Random(0)
    drawn = [tuple(Fraction(draw.randint(-grid, 2 * grid), grid) for _ in range(size)) for grid in (2, 4, 30) * 20]
    drawn += [corner for cell in found.cells for corner in cell.corners]
    drawn += [
        tuple(sum(xs, ZERO) / len(xs) for xs in zip(*cell.corners, strict=True)) for cell in found.cells
    ]  # of flat cells, too
    for point in drawn:
        holding = [cell for cell in found.cells if cell.contains(point)]
        assert len(holding) == 1, point
        assert said(holding[0].phase, point) == plainly(made, point), point


def test_corners_and_facets_belong_to_each_other() -> None:
    found = cells("sgd", 3)
    for cell in found.cells:
        for corner in cell.corners:
            assert all(facet.form.at(corner) >= 0 for facet in cell.facets)
        for facet in cell.facets:
            tight = [corner for corner in cell.corners if facet.form.at(corner) == 0]
            assert len(tight) == len(cell.corners) if facet.relation == "=" else 1 <= len(tight) < len(cell.corners)


def test_in_two_dimensions_it_is_the_diagram_that_is_drawn() -> None:
    drawn, found = phase_diagram(program("sgd"), "c", "out:b"), cells("sgd", 2)
    for x in range(-8, 17):
        for y in range(-8, 17):
            point = Fraction(x, 8), Fraction(y, 8)
            assert said(found.at({"c": point[0], "b": point[1]}), point) == said(drawn.at(*point), point)
    assert found.marks["this script"] == drawn.marks["this script"] == (ZERO, ZERO)


def test_features_are_learned_where_the_theorems_say() -> None:
    """Tensor Programs IV (arXiv 2011.14522), Theorems 3.3, 3.4 and 3.6, one hidden layer with a_1 = 0, one rate. There r =
    min(a + b, 2a + c) + c is 0, 2a + c >= 1 and a + b + r >= 1. One of them is an equality. Two segments are left.
    """
    learning = cells("sgd", 3).where("feature learning")
    assert learning and all(cell.dimension == 1 for cell in learning)
    corners = {corner for cell in learning for corner in cell.corners}
    for c, b, a in corners:
        assert min(a + b, 2 * a + c) + c == 0
        assert 2 * a + c >= 1 and a + b >= 1 and ONE in (2 * a + c, a + b)


def test_a_cell_that_is_missing_would_be_noticed() -> None:
    """The count above can fail: without one of the cells some corner is in none."""
    found = cells("sgd", 2)
    for left_out in found.cells:
        others = [cell for cell in found.cells if cell is not left_out]
        assert not all(any(cell.contains(corner) for cell in others) for cell in found.cells for corner in cell.corners)


def test_what_makes_no_difference_to_the_phase_is_merged() -> None:
    """Four quarters of one phase and one corner of another: the corner, and few pieces around it."""
    whole = box([(Fraction(-1), ONE)] * 2)
    quarters: list[Polytope] = []
    for x in Bound((0, 1, 0), ">=").otherwise + (Bound((0, 1, 0), ">="),):
        for y in Bound((0, 0, 1), ">=").otherwise + (Bound((0, 0, 1), ">="),):
            half = whole.cut(x)
            quarter = None if half is None else half.cut(y)
            assert quarter is not None
            quarters.append(quarter)
    same = Phase("trivial")
    assert len(merged(whole, [(same, quarter) for quarter in quarters])) == 1
    different = [(Phase("kernel", Form(ONE, (ZERO, ZERO))) if k == 3 else same, q) for k, q in enumerate(quarters)]
    found = merged(whole, different)
    assert [phase.label for phase, _ in found].count("kernel") == 1 and len(found) == 3


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"symbols": {"c": "nowhere:c"}}, "names no exponent"),
        ({"symbols": {}}, "there are no symbols"),
        ({"symbols": {str(k): "c" for k in range(9)}}, r"9 symbols \(0, 1, 2, ...\)\. Expected at most 8"),
        ({"limits": 3}, "limits 3 of 'c'; expected two finite numbers"),
        ({"limits": (1, 0)}, "limits 1 to 0 of 'c'; expected the smaller one first"),
        ({"limits": {"d": (0, 1)}}, "limits of d; the symbols are c"),
        ({"around": "nowhere"}, "is not a known point"),
    ],
)
def test_a_slice_that_makes_no_sense_is_refused(asked: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        phase_cells(program("sgd"), **{"symbols": {"c": "c"}, **asked})  # type: ignore[arg-type]


def test_symbols_that_move_the_same_are_what_is_added() -> None:
    """Two of them are one more than is needed: along the line on which they cancel nothing changes."""
    made = mlp_program(1, "tanh", "sgd", point=Abc((ZERO,) * 2, (ZERO, HALF), (ONE,) * 2))
    found = phase_cells(made, {"x": "c", "y": "c"})
    alone = phase_cells(made, {"c": "c"}, limits=(0, 4))
    assert found.marks["this script"] == (0, 0) and alone.marks["this script"] == (ONE,)
    for x, y in ((0, 0), (1, -1), (HALF, -HALF), (-1, 0), (1, 1), ("1/3", "-1/4")):
        assert found.at({"x": x, "y": y}).label == alone.at({"c": 1 + Fraction(x) + Fraction(y)}).label


def test_points_that_are_not_in_the_slice_are_refused() -> None:
    found = cells("sgd", 2)
    with pytest.raises(ValueError, match="c = 3 is outside of the slice; expected -1 to 2"):
        found.at({"c": 3, "b": 0})
    with pytest.raises(ValueError, match="values for c; expected one for each of c, b"):
        found.at({"c": 0})
