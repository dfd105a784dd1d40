"""What is a mutant? A file, a text that occurs in it once, and the text that replaces it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule sabotaged.

    area: the part of the theory. what: the sabotage in words. file: below the package, such as "claims/statistics.py".
    old, new: texts of that file; `old` occurs in it once. equivalent: why no check can notice it, if that is so.
    """

    area: str
    what: str
    file: str
    old: str
    new: str
    equivalent: str = ""

    def __post_init__(self) -> None:
        if self.old == self.new:
            raise ValueError(f"mutant {self.what!r} of {self.file} changes nothing: old and new text are the same")

    @property
    def name(self) -> str:
        """File and sabotage, to ask for it by."""
        return f"{self.file}: {self.what}"

    def applied(self, source: str) -> str | None:
        """Sabotage the source; None if the mutant is stale: its text does not occur there exactly once."""
        return source.replace(self.old, self.new) if source.count(self.old) == 1 else None

    def line(self, source: str) -> int:
        """Find the line at which it starts, counted from 1; 0 if it is stale."""
        return source[: source.index(self.old)].count("\n") + 1 if source.count(self.old) == 1 else 0


def of(area: str, file: str, changes: Sequence[tuple[str, str, str] | tuple[str, str, str, str]]) -> tuple[Mutant, ...]:
    """Make mutants of one file, each from (what, old, new) or (what, old, new, why it is equivalent)."""
    return tuple(Mutant(area, change[0], file, *change[1:]) for change in changes)
