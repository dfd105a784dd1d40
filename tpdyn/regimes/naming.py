"""How are many parameters named in one line? One pattern stands for all layers: 'blocks.*.up.weight'."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import combinations

MOST = 4
"""So many numbers of a name are left out at most."""

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


def pattern_of(name: str) -> str:
    """Replace the numbers in a name by '*': the same for all layers."""
    return _NUMBER.sub("*", name)


def together(several: Sequence[str], names: Iterable[str]) -> str:
    """Join some of all names by commas; numbers become '*' if the pattern names only these."""
    return ", ".join(grouped(several, names))


def grouped(several: Sequence[str], names: Iterable[str]) -> tuple[str, ...]:
    """Name some of all names in as few words as possible: see `together`."""
    return tuple(dict.fromkeys(patterns(several, names).values()))


def patterns(several: Sequence[str], names: Iterable[str]) -> dict[str, str]:
    """Return the pattern by which each of some names is named.

    That with most '*' is taken that names none but these: 'blocks.*.*.bias', else 'blocks.*.0.bias'.
    """
    alike: dict[str, set[str]] = {}
    for name in {*names, *several}:
        for pattern in _patterns(name):
            alike.setdefault(pattern, set()).add(name)
    meant = set(several)
    return {
        name: next((each for each in _patterns(name) if len(alike[each]) > 1 and alike[each] <= meant), name)
        for name in several
    }


def _patterns(name: str) -> list[str]:
    """List the patterns of a name with one number or more left out, the most first."""
    places = [match.span() for match in _NUMBER.finditer(name)][:MOST]
    kept = [set(each) for count in range(len(places)) for each in combinations(range(len(places)), count)]
    patterns = []
    for keep in kept:
        pattern = name
        for k in reversed(range(len(places))):
            if k not in keep:
                pattern = f"{pattern[: places[k][0]]}*{pattern[places[k][1] :]}"
        patterns.append(pattern)
    return patterns
