"""Mirrors tpdyn/parametrizing/maps/merging.py: the same phases on the same points, by as few cells as separate them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from tpdyn.exact.forms import Form, Point
from tpdyn.exact.polytopes import Bound, Polytope, box
from tpdyn.parametrizing.maps.merging import Cell, merged
from tpdyn.parametrizing.maps.phase import Phase

ONE, TWO = Fraction(1), Fraction(2)
SQUARE = box([(-TWO, TWO), (-TWO, TWO)])
TRIVIAL, UNSTABLE = Phase("trivial"), Phase("unstable")
GRID = [(Fraction(i, 2), Fraction(j, 2)) for i in range(-4, 5) for j in range(-4, 5)]


def cut(whole: Polytope, forms: Sequence[tuple[int, ...]]) -> list[Polytope]:
    """The pieces into which lines cut a polytope, those on the lines among them."""
    pieces = [whole]
    for form in forms:
        sides = (Bound(form, "="), *Bound(form, "=").otherwise)
        pieces = [part for piece in pieces for by in sides if (part := piece.cut(by)) is not None]
    return pieces


def inside(cell: Polytope, point: Point) -> bool:
    return all(by.constraint.holds(point) for by in cell.bounds)


def said(cells: Sequence[Cell], point: Point) -> list[tuple[str, Fraction | None]]:
    return [(p.label, None if p.r is None else p.r.at(point)) for p, cell in cells if inside(cell, point)]


def test_cuts_that_separate_no_phases_vanish() -> None:
    assert len(merged(SQUARE, [(TRIVIAL, piece) for piece in cut(SQUARE, [(0, 1, 0), (0, 0, 1), (1, 1, 1)])])) == 1


def test_what_separates_two_phases_is_left_and_each_point_lies_in_one_cell() -> None:
    """Unstable where x > 0, else trivial: three needless cuts besides."""
    pieces = cut(SQUARE, [(0, 1, 0), (0, 0, 1), (1, 1, 1), (1, -1, 1)])
    cells = [(UNSTABLE if piece.inner([1] * len(piece.corners))[0] > 0 else TRIVIAL, piece) for piece in pieces]
    found = merged(SQUARE, cells)
    assert len(found) == 2
    assert all(said(found, point) == said(cells, point) and len(said(found, point)) == 1 for point in GRID)


def test_a_phase_that_is_not_convex_is_two_cells() -> None:
    """Trivial in one quadrant, unstable in the three others."""
    pieces = cut(SQUARE, [(0, 1, 0), (0, 0, 1)])
    cells = []
    for piece in pieces:
        x, y = piece.inner([1] * len(piece.corners))
        cells.append((TRIVIAL if x > 0 and y > 0 else UNSTABLE, piece))
    found = merged(SQUARE, cells)
    assert sorted(phase.label for phase, _ in found) == ["trivial", "unstable", "unstable"]
    assert all(said(found, point) == said(cells, point) for point in GRID)


def test_formulas_that_agree_on_a_cell_are_one_phase() -> None:
    """On the line x = y the r of either side is that of both."""
    x, y = Phase("kernel", Form(ONE, (ONE, ONE * 0))), Phase("kernel", Form(ONE, (ONE * 0, ONE)))
    cells = []
    for piece in cut(SQUARE, [(0, 1, -1)]):
        point = piece.inner([1] * len(piece.corners))
        cells.append((x if point[0] >= point[1] else y, piece))
    found = merged(SQUARE, cells)
    assert len(found) == 2
    assert all(said(found, point) == said(cells, point) for point in GRID)
