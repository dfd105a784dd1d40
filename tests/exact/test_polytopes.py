"""Do cuts lose no point and hold none twice? Against the bounds themselves at every point of a fine grid."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpdyn.exact.forms import Constraint, Form, Point
from tpdyn.exact.polytopes import Bound, Polytope, bound, box

SIZES = st.integers(1, 3)
GRID = [Fraction(k, 2) for k in range(-2, 3)]


def points(size: int) -> list[Point]:
    """Corners, middles and quarters of the unit box: where bounds with small integers are zero often."""
    return list(product(GRID, repeat=size))


def bounds(size: int) -> st.SearchStrategy[list[Bound]]:
    form = st.builds(
        lambda constant, coefficients: Form(Fraction(constant, 2), tuple(map(Fraction, coefficients))),
        st.integers(-2, 2),
        st.lists(st.integers(-2, 2), min_size=size, max_size=size).filter(any),
    )
    return st.lists(st.builds(Constraint, form, st.sampled_from(["=", ">", ">="])).map(bound), max_size=5)


def unit(size: int) -> Polytope:
    return box([(Fraction(-1), Fraction(1))] * size)


def holds(by: Bound, point: Point) -> bool:
    return by.constraint.holds(point)


def within(polytope: Polytope | None, point: Point) -> bool:
    return polytope is not None and all(holds(by, point) for by in polytope.bounds)


def cut(polytope: Polytope, several: list[Bound]) -> Polytope | None:
    left: Polytope | None = polytope
    for by in several:
        left = None if left is None else left.cut(by)
    return left


@given(SIZES.flatmap(lambda size: st.tuples(st.just(size), bounds(size))))
@settings(max_examples=40, deadline=None)
def test_a_cut_holds_the_points_at_which_all_bounds_hold(drawn: tuple[int, list[Bound]]) -> None:
    size, several = drawn
    part = cut(unit(size), several)
    for point in points(size):
        assert within(part, point) == all(holds(by, point) for by in several)
    if part is not None:
        assert within(part, part.inner([1 + k % 3 for k, _ in enumerate(part.corners)]))
        assert all(by.constraint.form.at(corner) >= 0 for by in part.bounds for corner in part.points)


@given(SIZES.flatmap(lambda size: st.tuples(st.just(size), bounds(size))))
@settings(max_examples=40, deadline=None)
def test_fewer_bounds_hold_the_same_points_and_none_of_them_is_too_many(drawn: tuple[int, list[Bound]]) -> None:
    size, several = drawn
    part = cut(unit(size), several)
    if part is None:
        return
    reduced = part.reduced()
    assert set(reduced.corners) == set(part.corners)
    assert [within(reduced, point) for point in points(size)] == [within(part, point) for point in points(size)]
    for left_out in reduced.bounds:
        others = [by for by in reduced.bounds if by is not left_out]
        larger = cut(box([(Fraction(-2), Fraction(2))] * size), others)
        assert larger is not None and not larger.within(left_out)


@given(SIZES.flatmap(lambda size: st.tuples(st.just(size), bounds(size), bounds(size))))
@settings(max_examples=40, deadline=None)
def test_what_is_left_and_what_is_taken_away_are_the_whole_and_share_nothing(
    drawn: tuple[int, list[Bound], list[Bound]],
) -> None:
    size, first, second = drawn
    whole = cut(unit(size), first)
    if whole is None:
        return
    taken = cut(whole, second)
    parts = [*whole.without(second), *([] if taken is None else [taken])]
    for point in points(size):
        assert sum(within(part, point) for part in parts) == within(whole, point)


@given(SIZES.flatmap(lambda size: st.tuples(st.just(size), bounds(size), bounds(size))))
@settings(max_examples=40, deadline=None)
def test_a_union_of_two_parts_holds_the_points_of_both(drawn: tuple[int, list[Bound], list[Bound]]) -> None:
    size, first, second = drawn
    whole = cut(unit(size), first)
    if whole is None:
        return
    parts = [part.reduced() for part in whole.without(second)]
    for one, other in combinations(parts, 2):
        union = one.joined(other)
        if union is not None:
            for point in points(size):
                assert within(union, point) == (within(one, point) or within(other, point))
            again = union.reduced()
            assert set(again.corners) == set(union.corners)


def test_a_half_and_the_open_rest_are_joined_and_a_corner_alone_is_not() -> None:
    right = Bound((0, 1, 0), ">=")
    half, rest = unit(2).cut(right), unit(2).cut(right.otherwise[0])
    assert half is not None and rest is not None
    union = half.reduced().joined(rest.reduced())
    assert union is not None and set(union.corners) == set(unit(2).corners)
    open_half, line = unit(2).cut(Bound((0, 1, 0), ">")), unit(2).cut(Bound((0, 1, 0), "="))
    assert open_half is not None and line is not None
    closed = open_half.reduced().joined(line.reduced())
    assert closed is not None and within(closed, (Fraction(0), Fraction(1)))
    spot = line.cut(Bound((-1, 0, 1), "="))
    assert spot is not None and spot.dimension == 0
    assert open_half.reduced().joined(spot.reduced()) is None


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_box_has_all_its_corners_and_its_dimension(size: int) -> None:
    assert len(unit(size).corners) == 2**size
    assert unit(size).dimension == size
    assert unit(size).reduced().bounds == unit(size).bounds or set(unit(size).reduced().bounds) == set(
        unit(size).bounds
    )
