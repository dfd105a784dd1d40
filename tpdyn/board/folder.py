"""Which documents lie in a log folder, as files? Those of the folder itself, or of every log below it; of monitors, their lines.

Files are read as they are found: a broken one becomes a log with an `error`, as in the tab.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from tpdyn.board import watched
from tpdyn.board.reading import KNOWN, natural
from tpdyn.monitoring.history import FILE
from tpdyn.reporting.tags import ATLAS_FILE, DOCUMENT_FILE

MOST = 1000
"""So many logs are taken from one folder."""


@final
@dataclass(frozen=True)
class Log:
    """A log: its name, its document (None if it cannot be read: `error` says why), the map of its program or the curves of its
    monitor if there are any."""

    name: str
    document: dict[str, Any] | None
    atlas: dict[str, Any] | None = None
    error: str = ""
    curves: dict[str, Any] | None = None


def logs_in(folder: Path) -> list[Log]:
    """Return the logs in a folder, by name; empty if there are none."""
    found = (file for name in (DOCUMENT_FILE, FILE) for file in folder.rglob(name))
    files = sorted(found, key=lambda file: natural(str(file)))
    return [_monitored(folder, file) if file.name == FILE else _log(folder, file) for file in files[:MOST]]


def _name(folder: Path, path: Path) -> str:
    inside = path.relative_to(folder)
    return folder.absolute().name if inside == Path(".") else inside.as_posix()


def _monitored(folder: Path, file: Path) -> Log:
    name = _name(folder, file.parent)
    try:
        seen = watched.of_file(file)
        return Log(name, watched.document(seen, title=name), curves=watched.curves(seen))
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        return Log(name, None, error=f"{file}: {error}")


def _log(folder: Path, file: Path) -> Log:
    name = _name(folder, file.parent)
    try:
        document = _object(file)
        if document.get("schema") not in KNOWN:
            return Log(
                name, None, error=f"{file}: the schema is {str(document.get('schema'))[:60]!r}; expected {KNOWN[0]!r}"
            )
    except (OSError, ValueError, RecursionError) as error:
        return Log(name, None, error=f"{file}: {error}")
    try:
        atlas = _object(file.with_name(ATLAS_FILE))
    except (OSError, ValueError, RecursionError):
        atlas = None
    return Log(name, document, atlas)


def _object(file: Path) -> dict[str, Any]:
    content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    return content
