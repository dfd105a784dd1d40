"""What has a monitor seen so far? One line of JSON for each look, so that a run that dies keeps all it saw.

    history = tpdyn.monitoring.history.read("logs/gpt-256/monitor")
    steps, sizes = history.series("size", "blocks.0.attention")

The first line is the heading (format, width, settings). Numbers that are not finite are written as "nan", "inf", "-inf".
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

FORMAT = 1
FILE = "monitor.jsonl"


@final
@dataclass
class History:
    """The looks of one run, oldest first. width: the model's, None if it was not told.

    steps[k]: completed optimizer steps at look k. looks[k]: a number by (what, name), see `tpdyn.monitoring.probe`.
    dtypes, sources: of each module's output, as last seen. They are the dtype, and the line that calls the module.
    """

    width: int | None = None
    steps: list[int] = field(default_factory=list)
    looks: list[Mapping[tuple[str, str], float]] = field(default_factory=list)
    dtypes: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def series(self, what: str, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the steps at which a number was seen, and the numbers.

        Raises KeyError, naming what there is, if it was never seen.
        """
        pairs = [
            (step, look[what, name]) for step, look in zip(self.steps, self.looks, strict=True) if (what, name) in look
        ]
        if not pairs:
            whats = sorted({each for look in self.looks for each, _ in look})
            names = sorted({each for look in self.looks for kind, each in look if kind == what})
            raise KeyError(f"no {what!r} of {name!r} was seen; there is {', '.join(names or whats) or 'nothing yet'}")
        steps, values = zip(*pairs, strict=True)
        return np.asarray(steps, dtype=np.int64), np.asarray(values, dtype=np.float64)

    def seen(self) -> list[tuple[str, str]]:
        """Return every (what, name) that was seen, in the order of the model."""
        return list(dict.fromkeys(key for look in self.looks for key in look))


class NoHistory(ValueError):
    """A file without a history of a monitor; the message says what it holds."""


def heading(history: History, settings: Mapping[str, Any]) -> str:
    """Write the first line of a history's file."""
    return json.dumps({"format": FORMAT, "kind": "tpdyn monitor", "width": history.width, **settings})


def line(
    step: int,
    look: Mapping[tuple[str, str], float],
    new: Mapping[str, tuple[str, str]],
    more: Mapping[str, Any] | None = None,
) -> str:
    """Write one look. new: by name, the dtype and the source of modules not seen before. more: further fields."""
    values: dict[str, dict[str, float | str]] = {}
    for (what, name), value in look.items():
        values.setdefault(what, {})[name] = value if math.isfinite(value) else str(value)
    content: dict[str, Any] = {"step": step, "values": values, **(more or {})}
    if new:
        content["modules"] = new
    return json.dumps(content, allow_nan=False)


LAST = json.dumps({"over": True})
"""The last line of a run that ended."""


def heading_of(lines: Sequence[str], file: Path) -> dict[str, Any]:
    """Return the heading that the first line holds. Raises NoHistory, naming the file, for what is none."""
    try:
        head = json.loads(lines[0]) if lines else {}
    except (ValueError, RecursionError):
        head = {}
    if not isinstance(head, dict) or head.get("kind") != "tpdyn monitor":
        raise NoHistory(f"{file} is not what a monitor wrote: its first line is not a heading of tpdyn's")
    if head.get("format") != FORMAT:
        raise NoHistory(f"{file} has format {head.get('format')!r}; this version of tpdyn reads format {FORMAT}")
    return head


def says(step: int, alarms: int) -> str:
    """Say how far a run is, for a list of runs."""
    return f"step {step:,}" + (f", {alarms} alarm{'s' * (alarms > 1)}" if alarms else "")


def read(path: str | os.PathLike[str]) -> History:
    """Read a history: its file, or a folder in which a monitor wrote (the latest one there).

    A last line that was cut off (the run was killed while writing) is left out. Raises NoHistory for what is none, naming
    the file and the line.
    """
    file = _file_of(Path(path))
    lines = file.read_text(encoding="utf-8").splitlines()
    head = heading_of(lines, file)
    width = head.get("width")
    history = History(width=width if isinstance(width, int) else None)
    for step, look, content in looks_of(lines, file):
        for name, (dtype, source) in content["modules"].items():
            history.dtypes[name], history.sources[name] = dtype, source
        history.steps.append(step)
        history.looks.append(look)
    return history


def looks_of(lines: Sequence[str], file: Path) -> Iterator[tuple[int, dict[tuple[str, str], float], dict[str, Any]]]:
    """Yield what each line after the heading holds: the step, its numbers by (what, name), and all of it.

    The last line may be cut off. Raises NoHistory, naming the line, for any other that is no look.
    """
    for number, text in enumerate(lines[1:], start=2):
        try:
            content = json.loads(text)
            if content.get("over"):
                continue
            values = content["values"]
            look = {(what, name): float(value) for what, of in values.items() for name, value in of.items()}
            new = {name: (dtype, source) for name, (dtype, source) in (content.get("modules") or {}).items()}
            step = int(content["step"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if number == len(lines):
                return
            raise NoHistory(f"{file}, line {number}: {error}") from error
        yield step, look, content | {"modules": new}


def _file_of(path: Path) -> Path:
    if path.is_file():
        return path
    found: Iterable[Path] = path.rglob(FILE) if path.is_dir() else ()
    latest = max(found, key=lambda each: each.stat().st_mtime, default=None)
    if latest is None:
        raise NoHistory(f"{path} holds no {FILE}; give the folder in which a monitor wrote (its logdir)")
    return latest
