"""Mirrors tpdyn/program/base.py: which values the base program reads as initial ones."""

from tpdyn.program.base import later_versions
from tpdyn.program.builder import Builder


def test_later_versions_are_read_as_the_first_and_know_the_one_before() -> None:
    b = Builder()
    first = b.parameter("w", (b.n,))
    still = b.parameter("frozen", (b.n,))
    second = b.update("w", b.combine((0.5, first)))
    b.at(step=2)
    third = b.update("w", b.combine((0.5, second)))
    later = later_versions(b.build())
    assert sorted(later) == [second, third]
    assert [(each.first, each.previous, each.step) for each in later.values()] == [
        (first, first, 1),
        (first, second, 3),
    ]
    assert still not in later and first not in later
