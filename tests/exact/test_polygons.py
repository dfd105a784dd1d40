"""Are polygons cut and joined exactly? Areas add up, and every point is on the side where it belongs."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from tpdyn.exact.forms import Form
from tpdyn.exact.polygons import Corner, Polygon, area, between, box, clipped, inner, outlines, without

SQUARE = box((Fraction(-1), Fraction(-1)), (Fraction(2), Fraction(2)))
small = st.fractions(min_value=-2, max_value=2, max_denominator=4)
forms = st.builds(lambda k, x, y: Form(k, (x, y)), small, small, small)


def holds(polygon: Polygon, point: Corner) -> bool:
    """Whether a point is in a closed convex polygon."""
    sides = zip(polygon, [*polygon[1:], polygon[0]], strict=True)
    return all((v[0] - u[0]) * (point[1] - u[1]) >= (v[1] - u[1]) * (point[0] - u[0]) for u, v in sides)


@given(cuts=st.lists(forms, max_size=5))
def test_a_convex_part_and_the_pieces_around_it_have_the_area_of_the_whole(cuts: list[Form]) -> None:
    part: Polygon = SQUARE
    for form in cuts:
        part = clipped(part, form) if part else part
    pieces = without(SQUARE, cuts)
    assert sum(map(area, pieces)) + (area(part) if part else 0) == area(SQUARE) == 9
    assert all(area(piece) > 0 for piece in pieces)


@given(form=forms, x=small, y=small)
def test_a_clipped_polygon_holds_the_points_at_which_the_form_is_not_negative(
    form: Form, x: Fraction, y: Fraction
) -> None:
    part = clipped(SQUARE, form)
    if part and holds(SQUARE, (x, y)):
        assert holds(part, (x, y)) == (form.at((x, y)) >= 0)


def test_nothing_is_left_where_only_a_side_is() -> None:
    assert clipped(SQUARE, Form(Fraction(-2), (Fraction(1), Fraction(0)))) == ()
    assert clipped(SQUARE, Form(Fraction(-1), (Fraction(0), Fraction(0)))) == ()
    assert clipped(SQUARE, Form(Fraction(0), (Fraction(0), Fraction(0)))) == SQUARE


@given(weights=st.lists(st.integers(1, 9), min_size=4, max_size=4))
def test_a_weighted_mean_of_corners_lies_inside(weights: list[int]) -> None:
    x, y = inner(SQUARE, weights)
    assert -1 < x < 2 and -1 < y < 2


def test_corners_between_two_points_come_in_order_and_without_the_ends() -> None:
    corners = [(Fraction(k, 2), Fraction(k)) for k in (3, 0, 1, 2, 5)] + [(Fraction(1), Fraction(1))]
    found = between((Fraction(0), Fraction(0)), (Fraction(2), Fraction(4)), corners)
    assert found == [(Fraction(k, 2), Fraction(k)) for k in (1, 2, 3)]


@given(kept=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_outlines_of_any_set_of_unit_squares_enclose_its_area(kept: set[tuple[int, int]]) -> None:
    cells = [box((Fraction(x), Fraction(y)), (Fraction(x + 1), Fraction(y + 1))) for x, y in sorted(kept)]
    loops = outlines(cells)
    assert sum(map(area, loops)) == len(kept)
    for loop in loops:
        assert len(set(loop)) >= 4


def test_a_ring_has_an_outer_loop_and_a_hole_that_runs_the_other_way() -> None:
    cells = [
        box((Fraction(x), Fraction(y)), (Fraction(x + 1), Fraction(y + 1)))
        for x, y in product(range(3), repeat=2)
        if (x, y) != (1, 1)
    ]
    outer, hole = outlines(cells)
    assert area(outer) == 9 and len(outer) == 4
    assert area(hole) == -1 and len(hole) == 4
