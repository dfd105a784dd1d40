"""Recordings stay, too: one JSON file each, beside the finished runs, under a key of script and package.

A recording follows from its script and from the rules of the recorder. So a change of either makes another key, and a file that
cannot be read is recorded anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from tpdyn.atomic import atomic_write
from tpdyn.program.program import Program
from tpdyn.store.identity import package
from tpdyn.store.means import Means
from tpdyn.store.store import key_of

FOLDER = "recordings"


def recorded(make: Callable[[], Program], means: Means, steps: int) -> Program:
    """Return the kept recording of a script with that many steps; make and keep it if there is none.

    Nothing is kept without a store. A folder that cannot be written loses nothing but the time of the next recording.

    >>> from tpdyn.store.means import HERE
    >>> recorded(lambda: Program(()), HERE, 3) == Program(())
    True
    """
    if means.store is None or not means.keeps:
        return make()
    key = key_of({"of": means.identity, "steps": steps, "package": package()})
    path = means.store.folder.parent / FOLDER / f"{key}.json"
    try:
        return Program.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        program = make()
    with contextlib.suppress(OSError):
        atomic_write(path, program.to_json(), parents=True)
    return program
