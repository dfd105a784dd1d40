"""Mirrors tpdyn/recorder/canonical/slicing.py: a slice chooses among pieces first, and cuts axes second. Each is verified."""

from __future__ import annotations

import pytest
from written_scripts import ONE, Script, kinds, made

from tpdyn.program.instructions import Apply, Combine, Slice


def test_a_part_of_a_wide_dim_is_a_choice_and_no_statement() -> None:
    def build(s: Script, n: int) -> None:
        s.cut(s.leaf("w", 3 * n, 5), 0, n, 2 * n)

    program = made(build).program
    assert kinds(program) == {"Leaf"}
    assert len(program.marks[0].view.pieces) == 2


def test_a_range_of_a_finite_dim_is_a_slice_and_one_entry_loses_its_axis() -> None:
    def build(s: Script, n: int) -> None:
        x = s.leaf("x", 9, n)
        s.cut(x, 0, 2, 3, 2)
        s.select(x, 0, 7)

    cuts = [s for s in made(build).program.statements if isinstance(s.instruction, Slice)]
    assert [[*c.instruction.entries(1)] for c in cuts] == [[2, 4, 6], [7]]  # type: ignore[union-attr]
    assert [len(c.shape) for c in cuts] == [2, 1]


@pytest.mark.parametrize(("start", "length"), [(5, 2), (7, 2), (19, 2), (4, 8), (13, 1)])
def test_a_range_of_a_product_of_three_finite_dims_fixes_some_and_merges_the_others(start: int, length: int) -> None:
    def build(s: Script, n: int) -> None:
        s.cut(s.view(s.leaf("x", 3, 2, 4, n), 24, n), 0, start, length)

    made(build)


def test_a_range_that_the_result_splits_again_is_divided() -> None:
    def build(s: Script, n: int) -> None:
        part = s.cut(s.leaf("x", 12, n), 0, 3, 6)
        s.add(Apply("tanh", (s.full(s.view(part, 2, 3, n)),)), 2, 3, n)

    made(build)


def test_parts_are_chosen_in_the_order_of_the_range() -> None:
    """Heads 1 and 2 of four, each of size n: the sum of their differences tells their order."""

    def build(s: Script, n: int) -> None:
        x = s.leaf("x", 4 * n, 5)
        part = s.cut(x, 0, n, 2 * n)
        first, second = s.cut(part, 0, 0, n), s.cut(part, 0, n, n)
        s.add(Combine(((ONE, s.full(first)), (-ONE, s.full(second)))), n, 5)

    assert kinds(made(build).program) == {"Leaf", "Combine"}
