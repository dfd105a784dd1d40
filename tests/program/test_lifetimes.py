"""Mirrors tpdyn/program/lifetimes.py."""

from tpdyn.program.lifetimes import dying


def test_a_value_dies_behind_the_last_statement_that_reads_it() -> None:
    assert dying([(), (0,), (0, 1), (2,)], kept=()) == {2: (0, 1), 3: (2, 3)}


def test_a_value_that_nothing_reads_dies_where_it_is_made_unless_it_is_kept() -> None:
    assert dying([(), (), ()], kept={1}) == {0: (0,), 2: (2,)}
