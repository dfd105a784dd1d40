"""Mirrors tpdyn/recorder/canonical/joining.py: parts are chosen among, laid end to end, or laid across factors. All verified."""

from __future__ import annotations

import pytest
from written_scripts import Script, kinds, made

from tpdyn.program.instructions import Apply, Concat


def test_wide_parts_are_chosen_among_and_padding_is_zero() -> None:
    def build(s: Script, n: int) -> None:
        a, b = s.leaf("a", n, 5), s.leaf("b", 2 * n, 5)
        s.cat([b, None, a], [2 * n, n, n], 0, 4 * n, 5)

    program = made(build).program
    assert "Concat" not in kinds(program)
    assert len(program.marks[-1].view.pieces) == 4


def test_finite_parts_are_one_concatenation() -> None:
    def build(s: Script, n: int) -> None:
        a, b = s.leaf("a", 2, n), s.leaf("b", 3, n)
        s.cat([a, None, b], [2, 4, 3], 0, 9, n)

    (joined,) = [s.instruction for s in made(build).program.statements if isinstance(s.instruction, Concat)]
    assert joined.parts[1] is None and [int(length.constant) for length in joined.lengths] == [2, 4, 3]


def test_parts_along_an_outer_factor_are_counted_in_inner_ones() -> None:
    """Parts of 4 and 8 rows of which each four are one image: 1 and 2 images end to end."""

    def build(s: Script, n: int) -> None:
        a, b = s.view(s.leaf("a", 1, 4, n), 4, n), s.view(s.leaf("b", 2, 4, n), 8, n)
        joined = s.cat([a, b], [4, 8], 0, 12, n)
        s.add(Apply("tanh", (s.full(s.view(joined, 3, 4, n)),)), 3, 4, n)

    (joined,) = [s for s in made(build).program.statements if isinstance(s.instruction, Concat)]
    assert [int(length.constant) for length in joined.instruction.lengths] == [1, 2]  # type: ignore[union-attr]


@pytest.mark.parametrize("sizes", [(5, 7), (3, 9), (1, 11), (2, 10)])
def test_parts_across_the_factors_are_merged_and_divided_again(sizes: tuple[int, int]) -> None:
    def build(s: Script, n: int) -> None:
        a, b = (s.leaf(f"x{k}", size, n) for k, size in enumerate(sizes))
        joined = s.cat([a, None, b], [sizes[0], 4, sizes[1]], 0, 16, n)
        s.add(Apply("tanh", (s.full(s.view(joined, 2, 8, n)),)), 2, 8, n)

    made(build)


@pytest.mark.parametrize("sizes", [(3, 5, 8), (8, 2, 6), (5, 3, 8)])
def test_three_parts_of_which_two_lie_within_one_entry_of_an_outer_factor(sizes: tuple[int, ...]) -> None:
    """Each of the two is a range of the inner factor alone, yet the parts do not lie along it."""

    def build(s: Script, n: int) -> None:
        parts = [s.leaf(f"x{k}", size, n) for k, size in enumerate(sizes)]
        joined = s.cat(list(parts), list(sizes), 0, 16, n)
        s.add(Apply("tanh", (s.full(s.view(joined, 2, 8, n)),)), 2, 8, n)

    made(build)


def test_only_padding_is_zero_as_a_whole() -> None:
    def build(s: Script, n: int) -> None:
        s.leaf("x", 3, n)
        s.add(Apply("exp", (s.full(s.cat([None, None], [1, 2], 0, 3, n)),)), 3, n)

    made(build)
