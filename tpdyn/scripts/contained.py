"""What may a script not do while it runs here? Leave for good, swallow Ctrl-C, run forever, or move us to another folder.

A script's own exit is never ours: `os._exit` becomes a `SystemExit` that can be caught. Ctrl-C is passed on after the script
has had it, whatever it did with it. A run that takes longer than its limit is interrupted, again and again until it ends. A
loop with a bare `except` would catch a single interrupt. Only the main thread can do the last two.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn, final

from tpdyn.home import PACKAGE
from tpdyn.recorder.live.frames import is_user_file
from tpdyn.scripts.processes import trained_here

AGAIN = 0.05
"""Seconds between two interruptions of a run that took too long."""

PATIENCE = 20
"""After so many interruptions they come within microseconds: one of them meets the handler of a bare `except`."""


@final
class TookTooLong(BaseException):
    """A run took longer than its limit; no `except Exception` of the script catches it."""


class ScriptLeft(SystemExit):
    """The script called `os._exit`."""


@contextlib.contextmanager
def contained(seconds: float | None = None) -> Iterator[None]:
    """Run a script's code within. seconds: how long it may take, without end if None.

    Raises KeyboardInterrupt after a Ctrl-C, and TookTooLong, also where the script caught them. The working folder is the
    same afterwards.
    """
    before, process, folder = os._exit, os.getpid(), os.getcwd()

    def leave(status: int) -> NoReturn:
        if os.getpid() != process:  # a child process of the script ends as it wants
            before(status)
        raise ScriptLeft(status)

    os._exit = leave
    try:
        with _interruptions(seconds), trained_here():
            yield
    finally:
        os._exit = before
        with contextlib.suppress(OSError):
            if os.getcwd() != folder:
                os.chdir(folder)


@contextlib.contextmanager
def _interruptions(seconds: float | None) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    happened: list[type[BaseException]] = []

    def on_interrupt(number: int, frame: FrameType | None) -> NoReturn:
        happened.append(KeyboardInterrupt)
        raise KeyboardInterrupt

    busy, over = [False], [False]

    def on_alarm(number: int, frame: FrameType | None) -> None:
        if over[0]:
            return
        if busy[0] or not _is_the_scripts(frame):  # never in the middle of putting things back
            signal.setitimer(signal.ITIMER_REAL, 1e-3)
            return
        busy[0] = True
        happened.append(TookTooLong)
        count = len(happened)
        signal.setitimer(signal.ITIMER_REAL, AGAIN if count < PATIENCE else 1e-6 * (5 + 37 * count % 200))
        busy[0] = False
        raise TookTooLong

    old_interrupt = signal.signal(signal.SIGINT, on_interrupt)
    timed = seconds is not None and hasattr(signal, "setitimer")
    old_alarm = signal.signal(signal.SIGALRM, on_alarm) if timed else None
    try:
        try:
            if timed and seconds is not None:
                signal.setitimer(signal.ITIMER_REAL, seconds)
            yield
        finally:
            over[0] = True
            if timed:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGINT, old_interrupt)
        if timed:
            signal.signal(signal.SIGALRM, old_alarm)
        if happened:
            raise happened[-1]


def _is_the_scripts(frame: FrameType | None) -> bool:
    """Tell whether the running code, or who called it, is the script before it is this package."""
    while frame is not None:
        file = frame.f_code.co_filename
        if is_user_file(file):
            return True
        if file.startswith(PACKAGE):
            return False
        frame = frame.f_back
    return False
