"""Which line of the user's script is running?

A frame is the user's unless its file belongs to torch, this package, the standard library or an installed package. The
answer is kept for each file.
"""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from functools import cache
from types import CodeType, FrameType

import torch

from tpdyn.home import PACKAGE
from tpdyn.program.program import Source
from tpdyn.recorder.errors import Told

_USER_PARTS_OF_THE_PACKAGE = (PACKAGE + "examples" + os.sep,)
_FOREIGN = tuple(
    {
        os.path.dirname(os.path.abspath(torch.__file__)) + os.sep,
        *(
            path + os.sep
            for name in ("stdlib", "platstdlib", "purelib", "platlib")
            if (path := sysconfig.get_paths().get(name))
        ),
    }
)

# By file, too: equal functions of two files are equal code.
_sources: dict[tuple[str, CodeType, int], Source] = {}


@cache  # asked for each frame of each operation
def is_user_file(file: str) -> bool:
    """Tell whether code of that file counts as the user's script."""
    if file.startswith("<"):
        return file.startswith(("<stdin>", "<ipython", "<string>"))
    file = _full(file)
    if file.startswith(PACKAGE):
        return file.startswith(_USER_PARTS_OF_THE_PACKAGE)
    return "site-packages" not in file and "dist-packages" not in file and not file.startswith(_FOREIGN)


def is_users(frame: FrameType) -> bool:
    """Tell whether a frame is of the user's script. Code that a library writes and runs is the library's."""
    if frame.f_code.co_filename != "<string>":
        return is_user_file(frame.f_code.co_filename)
    file = frame.f_globals.get("__file__")  # of the file that executes the text, if it shares its names
    return is_user_file(str(file)) if file else frame.f_globals.get("__name__") == "__main__"


def _full(file: str) -> str:
    try:
        return os.path.abspath(file)
    except FileNotFoundError:  # the script removed its working folder
        return file


def user_frames(start: FrameType | None = None) -> Iterator[FrameType]:
    """Yield the user's frames, innermost first."""
    frame = sys._getframe(1) if start is None else start
    while frame is not None:
        if is_users(frame):
            yield frame
        frame = frame.f_back  # type: ignore[assignment]


def source_at(code: CodeType, line: int) -> Source:
    """Return file (relative to the working folder when inside it), line number and text of a line of code."""
    file = code.co_filename
    source = _sources.get((file, code, line))
    if source is None:
        text = linecache.getline(file, line).strip()
        if not file.startswith("<"):
            file, here = _full(file), _full("") + os.sep
            file = file[len(here) :] if file.startswith(here) else file
        source = _sources[(code.co_filename, code, line)] = Source(file, line, text)
    return source


def user_source(start: FrameType | None = None) -> Source:
    """Return the user's line that is running now; `Source()` if there is none."""
    frame = sys._getframe(1) if start is None else start
    while frame is not None:  # asked for each operation: no generator
        if is_users(frame):
            return source_at(frame.f_code, frame.f_lineno or 0)
        frame = frame.f_back  # type: ignore[assignment]
    return Source()


def source_of(error: BaseException) -> Source:
    """Return the user's innermost line in a traceback."""
    source = Source()
    trace = error.__traceback__
    while trace is not None:
        if is_users(trace.tb_frame):
            source = source_at(trace.tb_frame.f_code, trace.tb_lineno)
        trace = trace.tb_next
    return source


def called_by_user() -> bool:
    """Tell whether the innermost frame outside of this package is the user's (and not torch's, say)."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    return frame is not None and is_users(frame)


def is_ours(file: str) -> bool:
    """Tell whether code of that file is this package's, run-time type checks around it included."""
    return file.startswith((PACKAGE, "<@beartype")) or f"{os.sep}jaxtyping{os.sep}" in file


def raised(error: BaseException) -> str:
    """Write `Type: message (file:line: text)`, the line being the innermost one of the user's code. One of ours is told."""
    if isinstance(error, Told):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    mine = [frame for frame in frames if is_user_file(frame.filename)] or list(frames[-1:])
    location = f" ({mine[-1].filename}:{mine[-1].lineno}: {mine[-1].line})" if mine else ""
    return f"{type(error).__name__}: {error}{location}"
