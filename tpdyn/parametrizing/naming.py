"""How are many parameters named in one line? Those of all layers at once, where the same is said of all: 'blocks.*.up.weight'."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


def together(several: Sequence[str], names: Iterable[str]) -> str:
    """Some of all names, with commas; numbers become '*' where every name that is then meant is among them."""
    alike: dict[str, set[str]] = {}
    for name in names:
        alike.setdefault(_NUMBER.sub("*", name), set()).add(name)
    shown: dict[str, None] = {}
    for name in several:
        pattern = _NUMBER.sub("*", name)
        meant = alike.get(pattern, set())
        shown[pattern if len(meant) > 1 and meant <= set(several) else name] = None
    return ", ".join(shown)
