"""Into which folder does a log go? One a script; an earlier log is replaced, and nothing that others put beside it is lost.

All files are written into a folder beside the target, which is then renamed: nothing half-written is ever seen. The file
`.tpdyn` in it lists what was written and for which script. Whatever else lies there was put there by somebody and is kept.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

MARKER = ".tpdyn"
FIRST_LINE = "written by tpdyn for: "


class CannotLog(OSError):
    """The log folder cannot be written; the message says why and what to try."""


def folder_of(logdir: Path, name: str, script: str) -> Path:
    """Choose the folder of a script's logs: `logdir/name`, or `logdir/name-2`, ... if a script of the same name has it.

    script: the full path of its file.
    """
    number = 1
    while True:
        folder = logdir / (name if number == 1 else f"{name}-{number}")
        if owner_of(folder) in ("", script):
            return folder
        number += 1


def owner_of(folder: Path) -> str:
    """Name the script for which a folder was written; empty if that is not known."""
    try:
        first = (folder / MARKER).read_text(encoding="utf-8").partition("\n")[0]
    except OSError:
        return ""
    return first.removeprefix(FIRST_LINE) if first.startswith(FIRST_LINE) else ""


def write_folder(logdir: str | os.PathLike[str], write: Callable[[Path], object], script: str = "") -> Path:
    """Have `write` fill a folder, which then replaces an earlier one of ours.

    Files that others put there are carried over. Raises `CannotLog` as `check_writable` does.
    """
    target = Path(logdir).absolute()
    check_writable(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            written = Path(folder) / target.name
            write(written)
            files = sorted(str(path.relative_to(written)) for path in written.rglob("*") if path.is_file())
            lines = (f"{FIRST_LINE}{script}", *files)
            (written / MARKER).write_text("\n".join(lines) + "\n", encoding="utf-8")
            if target.exists():
                before = Path(folder) / "before"
                target.rename(before)
                written.rename(target)
                _carry_over(before, target)
            else:
                written.rename(target)
    except OSError as error:
        raise CannotLog(f"cannot write the log folder {target}: {error.strerror or error}") from error
    return target


def _carry_over(before: Path, target: Path) -> None:
    """Carry files that others put into the earlier folder over to the new one, under the same path."""
    ours = (
        {MARKER, *(before / MARKER).read_text(encoding="utf-8").splitlines()[1:]}
        if (before / MARKER).exists()
        else set()
    )
    for path in sorted(before.rglob("*")):
        inside = path.relative_to(before)
        ours_by_name = path.name.endswith(".tpdyn")  # written before files were listed
        if (
            (path.is_dir() and not path.is_symlink())
            or str(inside) in ours
            or ours_by_name
            or (target / inside).exists()
        ):
            continue
        (target / inside).parent.mkdir(parents=True, exist_ok=True)
        path.rename(target / inside)


def check_writable(logdir: str | os.PathLike[str]) -> None:
    """Refuse a log folder that cannot be written, before any long work; raises `CannotLog`."""
    target = Path(logdir).absolute()
    if target.exists() and not target.is_dir():
        raise CannotLog(f"cannot log to {target}: it is a file, not a folder; give another --logdir")
    if target.is_dir() and any(target.iterdir()) and not (target / MARKER).exists():
        raise CannotLog(
            f"cannot log to {target}: it holds files that tpdyn did not write; give a new folder, e.g. {target / 'tpdyn'}"
        )
    folder = next(parent for parent in target.parents if parent.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=folder):
            pass
    except OSError as error:
        raise CannotLog(
            f"cannot write the log folder {target}: {error.strerror or error}; give a folder of your own, e.g. ./logs"
        ) from error
