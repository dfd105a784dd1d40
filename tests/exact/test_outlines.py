"""Are unions of polygons outlined exactly? Areas add up, and corners run counterclockwise."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from tpdyn.exact.forms import Constraint, Form
from tpdyn.exact.outlines import Polygon, area, between, outlines, polygon
from tpdyn.exact.polytopes import Bound, Polytope, bound, box

SQUARE = [(Fraction(-1), Fraction(2))] * 2
small = st.fractions(min_value=-2, max_value=2, max_denominator=4)
forms = st.builds(lambda k, x, y: Form(k, (x, y)), small, small, small)


@given(cuts=st.lists(forms, max_size=5))
def test_a_convex_part_and_the_pieces_around_it_have_the_area_of_the_whole(cuts: list[Form]) -> None:
    """As the pieces of a phase diagram do: take away the inside of a set, keep what has an area."""
    whole = box(SQUARE)
    part: Polytope | None = whole
    for form in cuts:
        part = part and part.cut(bound(Constraint(form, ">=")))
    if part is None or part.dimension < 2:
        return
    inside = [Bound(by.form, ">") for by in part.reduced().bounds]
    pieces = [polygon(piece) for piece in whole.without(inside) if piece.dimension == 2]
    assert all(area(piece) > 0 for piece in pieces)
    assert sum(map(area, pieces)) + area(polygon(part)) == area(polygon(whole)) == 9


def test_corners_run_counterclockwise() -> None:
    assert polygon(box([(Fraction(0), Fraction(2)), (Fraction(0), Fraction(1))])) == ((0, 0), (2, 0), (2, 1), (0, 1))


def test_corners_between_two_points_come_in_order_and_without_the_ends() -> None:
    corners = [(Fraction(k, 2), Fraction(k)) for k in (3, 0, 1, 2, 5)] + [(Fraction(1), Fraction(1))]
    found = between((Fraction(0), Fraction(0)), (Fraction(2), Fraction(4)), corners)
    assert found == [(Fraction(k, 2), Fraction(k)) for k in (1, 2, 3)]


def square(x: int, y: int) -> Polygon:
    return polygon(box([(Fraction(x), Fraction(x + 1)), (Fraction(y), Fraction(y + 1))]))


@given(kept=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_outlines_of_any_set_of_unit_squares_enclose_its_area(kept: set[tuple[int, int]]) -> None:
    cells = [square(x, y) for x, y in sorted(kept)]
    loops = outlines(cells)
    assert sum(map(area, loops)) == len(kept)
    for loop in loops:
        assert len(set(loop)) >= 4


def test_a_ring_has_an_outer_loop_and_a_hole_that_runs_the_other_way() -> None:
    cells = [square(x, y) for x, y in product(range(3), repeat=2) if (x, y) != (1, 1)]
    outer, hole = outlines(cells)
    assert area(outer) == 9 and len(outer) == 4
    assert area(hole) == -1 and len(hole) == 4
