"""What is a mutant? A file, a text that occurs in it once, and the text that replaces it."""

from __future__ import annotations

from collections.abc import Iterator
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


def read(area: str, text: str) -> Iterator[Mutant]:
    """Yield the mutants of an area. The first line says what they are about; `@@ file` opens those of a file.

    A mutant is one paragraph: the sabotage in words, then lines as in a diff (`-old`, `+new`). A last line `= why` says why
    no check can notice it. Raises ValueError for a paragraph of another form.
    """
    file = ""
    for paragraph in text.rstrip("\n").split("\n\n")[1:]:
        what, *lines = paragraph.split("\n")
        if what.startswith("@@ "):
            file = what.removeprefix("@@ ")
            continue
        by_sign = {sign: [line[1:] for line in lines if line[:1] == sign] for sign in "-+="}
        if not file or not by_sign["-"] or sum(map(len, by_sign.values())) != len(lines):
            raise ValueError(
                f"{area}.diff: {paragraph!r}; expected a file, then what is sabotaged, -old lines, +new lines"
            )
        old, new = "\n".join(by_sign["-"]), "\n".join(by_sign["+"])
        yield Mutant(area, what, file, old, new, "".join(by_sign["="]).strip())
