"""What may a script not do while it runs here? Leave for good, swallow Ctrl-C, run forever, or move us to another folder.

A script's own exit is never ours (`tpdyn.scripts.leaving`). A process that the script forks ends where the script does.
Ctrl-C is passed on after the script has had it, whatever it or its handler did with it. A run that takes
longer than its limit is interrupted, again and again until it ends. A loop with a bare `except` would catch a single
interrupt. Only the main thread can do the last two.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn, final

from tpdyn.home import PACKAGE
from tpdyn.recorder.live.frames import is_user_file
from tpdyn.scripts.leaving import ScriptLeft, caught, end_child
from tpdyn.scripts.processes import trained_here

__all__ = ["ScriptLeft", "TookTooLong", "contained"]

AGAIN = 0.05
"""Seconds between two interruptions of a run that took too long."""

PATIENCE = 20
"""After so many interruptions they come within microseconds: one of them meets the handler of a bare `except`."""


@final
class TookTooLong(BaseException):
    """A run took longer than its limit; no `except Exception` of the script catches it.

    children: how many processes of its own ran then.
    """

    def __init__(self, children: int = 0) -> None:
        super().__init__()
        self.children = children


@contextlib.contextmanager
def contained(seconds: float | None = None) -> Iterator[None]:
    """Run a script's code within. seconds: how long it may take, without end if None.

    Raises KeyboardInterrupt after a Ctrl-C, and TookTooLong, also where the script caught them. The working folder is the
    same afterwards.
    """
    before, process, folder = os._exit, os.getpid(), os.getcwd()

    os._exit = caught(before)
    try:
        with _interruptions(seconds), trained_here():
            yield
    finally:
        if os.getpid() != process:
            end_child(sys.exception(), before)
        os._exit = before
        with contextlib.suppress(OSError):
            if os.getcwd() != folder:
                os.chdir(folder)


@contextlib.contextmanager
def _interruptions(seconds: float | None) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    happened: list[BaseException] = []

    def on_interrupt(number: int, frame: FrameType | None) -> NoReturn:
        happened.append(KeyboardInterrupt())
        raise KeyboardInterrupt

    busy, over, children = [False], [False], [0]

    def on_alarm(number: int, frame: FrameType | None) -> None:
        if over[0]:
            return
        if busy[0] or not _is_the_scripts(frame):  # never in the middle of putting things back
            signal.setitimer(signal.ITIMER_REAL, 1e-3)
            return
        busy[0] = True
        children[0] = children[0] or len(multiprocessing.active_children())
        happened.append(TookTooLong(children[0]))
        count = len(happened)
        signal.setitimer(signal.ITIMER_REAL, AGAIN if count < PATIENCE else 1e-6 * (5 + 37 * count % 200))
        busy[0] = False
        raise happened[-1]

    set_handler: Any = signal.signal
    old_interrupt = set_handler(signal.SIGINT, on_interrupt)
    timed = seconds is not None and hasattr(signal, "setitimer")
    old_alarm = set_handler(signal.SIGALRM, on_alarm) if timed else None

    def noting(number: int, handler: Any) -> Any:
        """Set the script's own handler, behind which a Ctrl-C is remembered. A second one is not left to it."""

        def noted(number: int, frame: FrameType | None) -> None:
            if happened or not callable(handler):
                on_interrupt(number, frame)
            happened.append(KeyboardInterrupt())
            handler(number, frame)

        return set_handler(number, noted if number == signal.SIGINT else handler)

    changed: Any = signal
    changed.signal = noting
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
        changed.signal = set_handler
        set_handler(signal.SIGINT, old_interrupt)
        if timed:
            set_handler(signal.SIGALRM, old_alarm)
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
