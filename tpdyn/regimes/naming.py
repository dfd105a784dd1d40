"""How are many parameters named in one line? One pattern stands for all layers: 'blocks.*.up.weight'."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


def pattern_of(name: str) -> str:
    """Replace the numbers in a name by '*': the same for all layers."""
    return _NUMBER.sub("*", name)


def together(several: Sequence[str], names: Iterable[str]) -> str:
    """Join some of all names by commas; numbers become '*' if the pattern names only these."""
    return ", ".join(grouped(several, names))


def grouped(several: Sequence[str], names: Iterable[str]) -> tuple[str, ...]:
    """Name some of all names in as few words as possible: see `together`."""
    alike: dict[str, set[str]] = {}
    for name in names:
        alike.setdefault(pattern_of(name), set()).add(name)
    shown: dict[str, None] = {}
    for name in several:
        pattern = pattern_of(name)
        meant = alike.get(pattern, set())
        shown[pattern if len(meant) > 1 and meant <= set(several) else name] = None
    return tuple(shown)
