"""What do tests of the command line have in common? How it is called, and what is found in the folder afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

Run = Callable[..., Result]


def left_behind() -> list[str]:
    return sorted(path.name for path in Path.cwd().iterdir())
