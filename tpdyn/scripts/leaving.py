"""Who decides the exit status? This process alone: `os._exit` of a script becomes a `SystemExit` that can be caught."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import NoReturn, Protocol, final


@final
class ScriptLeft(SystemExit):
    """The script called `os._exit`."""


class Leave(Protocol):
    """Ends the process, as `os._exit`."""

    def __call__(self, status: int) -> NoReturn:
        """End it with this status."""
        ...


def keep_the_exit() -> None:
    """Let `os._exit` raise ScriptLeft in this process from now on, whoever calls it. So no script decides its status.

    Python tells of an error in a function of `atexit`, ends a thread at one, and goes on.
    """
    os._exit = caught(os._exit)


def caught(leave: Leave) -> Leave:
    """Return what raises ScriptLeft in this process, and leaves in one that is forked from it."""
    process = os.getpid()

    def leaving(status: int) -> NoReturn:
        if os.getpid() != process:  # a child process of the script ends as it wants
            leave(status)
        raise ScriptLeft(status)

    return leaving


def end_child(error: BaseException | None, leave: Leave) -> NoReturn:
    """End a process that the script forked as it would end with the script. It is no second one of ours."""
    status = 0
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif isinstance(error, Exception):
        traceback.print_exception(error)
        status = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    leave(status)
