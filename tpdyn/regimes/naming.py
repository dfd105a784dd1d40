"""How are many parameters named in one line? Those of all layers at once, where the same is said of all: 'blocks.*.up.weight'."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


def pattern_of(name: str) -> str:
    """A name with its numbers as '*': the same for all layers."""
    return _NUMBER.sub("*", name)


def together(several: Sequence[str], names: Iterable[str]) -> str:
    """Some of all names, with commas; numbers become '*' where every name that is then meant is among them."""
    return ", ".join(grouped(several, names))


def grouped(several: Sequence[str], names: Iterable[str]) -> tuple[str, ...]:
    """Some of all names, as few words as say it: see `together`."""
    alike: dict[str, set[str]] = {}
    for name in names:
        alike.setdefault(pattern_of(name), set()).add(name)
    shown: dict[str, None] = {}
    for name in several:
        pattern = pattern_of(name)
        meant = alike.get(pattern, set())
        shown[pattern if len(meant) > 1 and meant <= set(several) else name] = None
    return tuple(shown)
