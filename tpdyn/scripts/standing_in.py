"""How is a script run as if its files said something else? Their texts stand in for the files, which stay as they are."""

from __future__ import annotations

import builtins
import importlib.machinery
import io
import linecache
import os
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from tpdyn.recorder.live.frames import is_user_file

_NAME = "get_code"


@contextmanager
def standing_in(texts: Mapping[str, str]) -> Iterator[None]:
    """Give a file that is imported or run the given text. texts: by absolute path.

    The user's modules from the folders of these files are forgotten, so that they are imported anew. They come back at the
    end.
    """
    texts = {_real(path): text for path, text in texts.items()}

    def compiled(path: str) -> CodeType | None:
        text = texts.get(_real(path))
        return None if text is None else compile(text, path, "exec", dont_inherit=True)

    lines = {path: linecache.cache.get(path) for path in texts}
    with _imported_as(compiled, texts), opened_as(texts):
        for path, text in texts.items():
            linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
        try:
            yield
        finally:
            for path, kept in lines.items():
                linecache.cache.pop(path, None)
                if kept is not None:
                    linecache.cache[path] = kept


@contextmanager
def imported_as(codes: Mapping[str, CodeType], main: str | None = None) -> Iterator[set[str]]:
    """Give a file that is imported the given code; its lines are shown as they are. codes: by absolute path.

    main: a script that is run meanwhile. What lies beside it is imported anew, too, as in a process of its own. It may draw
    data, or count its calls. Yields the set of files that were imported so, which grows.
    """
    codes = {_real(path): code for path, code in codes.items()}
    met: set[str] = set()

    def code_of(path: str) -> CodeType | None:
        real = _real(path)
        if real in codes:
            met.add(real)
        return codes.get(real)

    with _imported_as(code_of, [*codes, *([] if main is None else [_real(main)])]):
        yield met


@contextmanager
def opened_as(texts: Mapping[str, str]) -> Iterator[set[str]]:
    """Give a file that is opened to be read the given text. texts: by absolute path.

    A file that the script writes is from then on what it wrote. Yields the set of files that were opened so, which grows.
    """
    held = {_real(path): text for path, text in texts.items()}
    met: set[str] = set()
    original, original_code = io.open, io.open_code

    def text_at(file: Any) -> str | None:
        if not isinstance(file, str | bytes | os.PathLike):
            return None  # a descriptor
        real = _real(os.fsdecode(file))
        if real in held:
            met.add(real)
        return held.get(real)

    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        text = text_at(file)
        if text is None:
            return original(file, mode, *args, **kwargs)
        if set(mode) & set("wax+"):
            held.pop(_real(os.fsdecode(file)))
            return original(file, mode, *args, **kwargs)
        bytes_of = io.BytesIO(text.encode())
        if "b" in mode:
            return bytes_of
        given = dict(zip(("buffering", "encoding", "errors", "newline"), args, strict=False)) | kwargs
        return io.TextIOWrapper(bytes_of, given.get("encoding") or "utf-8", given.get("errors"), given.get("newline"))

    def opened_code(path: str) -> Any:
        text = text_at(path)
        return original_code(path) if text is None else io.BytesIO(text.encode())

    before = builtins.open
    builtins.open = io.open = opened
    io.open_code = opened_code  # what `runpy.run_path` opens
    try:
        yield met
    finally:
        builtins.open, io.open, io.open_code = before, original, original_code


@contextmanager
def _imported_as(code_of: Callable[[str], CodeType | None], files: Iterable[str]) -> Iterator[None]:
    """Make imports ask `code_of` for a file's code first; the user's modules beside these files are imported anew meanwhile."""
    folders, paths = {os.path.dirname(path) + os.sep for path in files}, set(sys.path)
    loader: Any = importlib.machinery.SourceFileLoader
    get_code = loader.get_code
    inherited = _NAME not in vars(loader)

    def given(self: Any, fullname: str) -> CodeType | None:
        code = code_of(self.get_filename(fullname))
        return get_code(self, fullname) if code is None else code

    before, forgotten = dict(sys.modules), _modules_in(folders)
    for name in forgotten:
        del sys.modules[name]
    loader.get_code = given  # what an import asks for
    try:
        yield
    finally:
        if inherited:
            del loader.get_code
        else:
            loader.get_code = get_code
        added = {_real(path) + os.sep for path in {*sys.path} - paths}  # by the script
        for name, module in _modules_in(folders | added).items():
            if before.get(name) is not module:
                del sys.modules[name]
        sys.modules.update(forgotten)


def _modules_in(folders: Set[str]) -> dict[str, ModuleType]:
    """Collect the user's modules whose files lie in these folders."""
    begins = tuple(folders)
    return {
        name: module
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None))
        and name != "__main__"
        and is_user_file(file)  # first: it asks the file system nothing
        and _real(file).startswith(begins)
    }


def _real(path: str | Path) -> str:
    try:
        return os.path.realpath(path)
    except FileNotFoundError:  # the script removed its working folder
        return os.fspath(path)


def text_of(path: str | Path) -> str:
    """Read the text of a Python file with its line ends as they are; its encoding line counts."""
    with open(path, "rb") as file:
        encoding, _ = tokenize.detect_encoding(file.readline)
    with open(path, encoding=encoding, newline="") as file:
        return file.read()
