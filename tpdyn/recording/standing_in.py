"""How is a script run as if its files said something else? Their texts stand in for the files, which stay as they are."""

from __future__ import annotations

import importlib.machinery
import io
import linecache
import os
import sys
import tokenize
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import CodeType
from typing import Any

from tpdyn.recording.frames import is_user_file

_NAME = "get_code"


@contextmanager
def standing_in(texts: Mapping[str, str]) -> Iterator[None]:
    """While it lasts, a file that is imported or run is the given text. texts: by absolute path.

    The user's modules from the folders of these files are forgotten, so that they are imported anew, and come back at the end.
    """
    texts = {os.path.realpath(path): text for path, text in texts.items()}
    folders = tuple({os.path.dirname(path) + os.sep for path in texts})
    forgotten = {
        name: module
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None))
        and name != "__main__"
        and os.path.realpath(file).startswith(folders)
        and is_user_file(file)
    }
    loader: Any = importlib.machinery.SourceFileLoader
    get_code, open_code = loader.get_code, io.open_code
    inherited = _NAME not in vars(loader)

    def from_text(self: Any, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        text = texts.get(os.path.realpath(path))
        if text is None:
            return get_code(self, fullname)  # type: ignore[no-any-return]
        return compile(text, path, "exec", dont_inherit=True)

    def opened(path: str) -> Any:
        text = texts.get(os.path.realpath(path))
        return open_code(path) if text is None else io.BytesIO(text.encode())

    lines = {path: linecache.cache.get(path) for path in texts}
    for name in forgotten:
        del sys.modules[name]
    for path, text in texts.items():
        linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    loader.get_code = from_text  # what an import asks for
    io.open_code = opened  # what `runpy.run_path` opens
    try:
        yield
    finally:
        io.open_code = open_code
        if inherited:
            del loader.get_code
        else:
            loader.get_code = get_code
        for path, kept in lines.items():
            linecache.cache.pop(path, None)
            if kept is not None:
                linecache.cache[path] = kept
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if file and name != "__main__" and os.path.realpath(file).startswith(folders) and is_user_file(file):
                del sys.modules[name]
        sys.modules.update(forgotten)


def text_of(path: str | Path) -> str:
    """The text of a Python file with its line ends as they are; its encoding line counts."""
    with open(path, "rb") as file:
        encoding, _ = tokenize.detect_encoding(file.readline)
    with open(path, encoding=encoding, newline="") as file:
        return file.read()
