"""Mirrors tpdyn/recorder/canonical/cuts.py: a slice picks entries of some atoms, ranges over others, and leaves the rest."""

from __future__ import annotations

import pytest

from tpdyn.exponents import Scaling
from tpdyn.recorder.canonical.cuts import Cut, plan_slice
from tpdyn.recorder.fitting.atoms import Atoms

N, ONE, ZERO = Scaling.of(1, 1), Scaling.of(1), Scaling(())


def atoms(*sizes: Scaling | int) -> tuple[Atoms, list[int]]:
    found = Atoms((16, 24, 40))
    return found, [found.new(Scaling.of(size) if isinstance(size, int) else size) for size in sizes]


def test_all_of_an_axis_keeps_every_atom() -> None:
    every, (a, b) = atoms(3, N)
    assert plan_slice(every, [a, b], [a, b], ZERO, 1, N * Scaling.of(3)) == Cut((), (), 0, 0, 1, 1, (0, 1))


def test_the_second_of_three_wide_parts_is_one_entry_of_the_outer_atom() -> None:
    """The keys in a fused projection: entries n ... 2n of 3n."""
    every, (part, inner) = atoms(3, N)
    assert plan_slice(every, [part, inner], [inner], N, 1, N) == Cut(((0, 1),), (), 0, 0, 1, 1, (1,))


def test_two_of_four_parts_are_a_range_of_the_outer_atom() -> None:
    every, (part, two, inner) = atoms(4, 2, N)
    found = plan_slice(every, [part, inner], [two, inner], N, 1, N * Scaling.of(2))
    assert found == Cut((), (0,), 1, 1, 1, 2, (1,))


def test_every_third_entry_is_one_entry_of_the_inner_atom() -> None:
    every, (wide, three) = atoms(N, 3)
    assert plan_slice(every, [wide, three], [wide], ONE, 3, N) == Cut(((1, 1),), (), 0, 0, 1, 1, (0,))


def test_an_outer_atom_at_which_the_whole_range_has_one_index_is_fixed() -> None:
    """Entries 7, 8 of a 3 x 2 x 4 axis lie in [0, 1] and [1, 0]. So both outer atoms are ranged over. 5, 6 lie in [0, 1]."""
    every, (a, b, c, two) = atoms(3, 2, 4, 2)
    across = plan_slice(every, [a, b, c], [two], Scaling.of(7), 1, Scaling.of(2))
    assert across == Cut((), (0, 1, 2), 1, 7, 1, 2, ())
    along = plan_slice(every, [a, b, c], [two], Scaling.of(5), 1, Scaling.of(2))
    assert along == Cut(((0, 0), (1, 1)), (2,), 1, 1, 1, 2, ())
    between = plan_slice(every, [a, b, c], [two], Scaling.of(19), 1, Scaling.of(2))
    assert between == Cut(((0, 2),), (1, 2), 1, 3, 1, 2, ())


def test_one_entry_of_a_product_has_one_index_an_atom() -> None:
    every, (a, b, c) = atoms(3, 2, 4)
    assert plan_slice(every, [a, b, c], [], Scaling.of(14), 1, ONE) == Cut(((0, 1), (1, 1), (2, 2)), (), 0, 0, 1, 1, ())


def test_a_range_that_runs_backwards_starts_at_its_largest_index() -> None:
    every, (a, b) = atoms(6, 3)
    assert plan_slice(every, [a], [b], Scaling.of(5), -1, Scaling.of(3)) == Cut((), (0,), 1, 5, -1, 3, ())


@pytest.mark.parametrize(
    ("start", "length"), [(ONE, N), (ZERO, N + Scaling.of(-1))], ids=["a fixed offset", "all but one entry"]
)
def test_a_cut_that_is_no_number_of_parts_has_no_plan(start: Scaling, length: Scaling) -> None:
    every, (part, inner, other) = atoms(3, N, N)
    assert plan_slice(every, [part, inner], [other], start, 1, length) is None
