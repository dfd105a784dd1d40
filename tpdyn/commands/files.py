"""Can a result be written where it was asked for? Refused before any long work; then written at once or not at all."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tpdyn.atomic import atomic_write
from tpdyn.commands.failures import BadInput


def json_writer(path: Path | None) -> Callable[[Callable[[], Mapping[str, Any]]], None]:
    """Refuse a file of `--json` that cannot be written, before any long work; return what writes to it later.

    The writer takes a function that makes the content, which is not called without a path. It writes at once or not at all,
    and raises OSError if the folder cannot be written. A link stays a link: the file it points to is replaced. A pipe or a
    device is written through.
    """
    if path is None:
        return lambda content: None
    whole = writable(path, "--json")

    def write(content: Callable[[], Mapping[str, Any]]) -> None:
        text = json.dumps(content(), indent=2, allow_nan=False) + "\n"
        if whole.exists() and not whole.is_file():
            whole.write_text(text, encoding="utf-8")
        else:
            atomic_write(whole.resolve(), text)

    return write


def writable_picture(path: Path | None, option: str = "--save") -> Path | None:
    """Refuse a picture that cannot be drawn, as `writable` does."""
    if path is None:
        return None
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise BadInput(f"{option} {path}: expected a file that ends in .png, .svg or .pdf")
    whole = writable(path, option)
    check_pictures(f"{option} {path}")
    return whole


def check_pictures(option: str) -> None:
    """Refuse an option that needs pictures, before any long work, where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise BadInput(f"{option}: a picture needs matplotlib; install it: pip install 'tpdyn[pictures]'")


def writable(path: Path, option: str) -> Path:
    """Refuse a file that cannot be written, before any long work. Returns its full path: a script may change the folder."""
    if path.exists() and not path.is_file() and not path.is_dir():  # a pipe or a device: it is written through
        if not os.access(path, os.W_OK):
            raise BadInput(f"{option} {path} cannot be written; give another file")
        return path.absolute()
    folder = path.resolve().parent
    if path.is_dir():
        raise BadInput(f"{option} {path} is a folder; expected a file, e.g. {path / 'verdict'}{path.suffix or '.json'}")
    if not folder.is_dir():
        raise BadInput(f"{option} {path}: the folder {folder} does not exist; make it first")
    if not os.access(folder, os.W_OK):
        raise BadInput(f"{option} {path}: the folder {folder} cannot be written; give another file")
    return path.absolute()
