"""How far is it? A bar where a person watches (terminal, notebook), plain lines where a log is kept (a pipe, CI)."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOBase
from typing import IO, Any, cast, final

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""

EVERY = 10.0
"""Seconds between two lines about the same work."""


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""


@contextmanager
def progress(stream: TextIOBase | None = None) -> Iterator[Progress]:
    """Show progress on standard error, in a notebook's cell, or in `stream`; yield `tell(what, done, total)`.

    Example, in a notebook: `with progress() as tell: report = tpdyn.check(train, progress=tell)`.
    """
    shell = _notebook() if stream is None else None
    if shell is not None:
        yield Cell(shell)
        return
    from rich import progress as bars
    from rich.console import Console

    console = Console(file=cast(IO[str] | None, stream), stderr=stream is None)
    if not console.is_terminal or _in_ci():
        yield Lines(stream)
        return
    text = bars.TextColumn("{task.description:>24}")
    columns = (text, bars.BarColumn(), bars.MofNCompleteColumn(), bars.TimeElapsedColumn())
    with bars.Progress(*columns, console=console, transient=True) as bar:
        tasks: dict[str, bars.TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield tell


def _in_ci() -> bool:
    """Tell whether this is a job of continuous integration. Some give it a terminal, or ask for colours, and keep a log."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def _notebook() -> Callable[..., Any] | None:
    """Return IPython's `display` where a kernel, which can change what it has shown, runs this process."""
    interactive = sys.modules.get("IPython")  # a kernel has imported it
    shell = interactive.get_ipython() if interactive is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    return cast(Callable[..., Any], importlib.import_module("IPython.display").display)


@final
class Cell:
    """`tell` as one line under a notebook's cell, changed in place at most twice a second; needs no widgets."""

    def __init__(self, display: Callable[..., Any], clock: Callable[[], float] = time.monotonic) -> None:
        self._display = display
        self._clock = clock
        self._handle: Any = None
        self._last: tuple[str, float] = ("", 0.0)

    def __call__(self, what: str, done: int, total: int) -> None:
        """Change the line, if it is time to."""
        now = self._clock()
        if self._handle is not None and what == self._last[0] and done < total and now - self._last[1] < 0.5:
            return
        self._last = what, now
        full = round(30 * done / max(total, 1))
        shown = {"text/plain": f"{what} {'█' * full}{'░' * (30 - full)} {done}/{total}"}
        if self._handle is None:
            self._handle = self._display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)


@final
class Lines:
    """`tell` as plain lines: the beginning and the end of each work, and in between one line every ten seconds."""

    def __init__(self, stream: TextIOBase | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._told: dict[str, float] = {}
        self._finished: set[str] = set()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Say it, if it is time to."""
        now = self._clock()
        ends = done >= total and what not in self._finished
        if what in self._told and not ends and now - self._told[what] < EVERY:
            return
        if done >= total:
            if not ends:
                return
            self._finished.add(what)
        else:
            self._finished.discard(what)
        self._told[what] = now
        print(f"tpdyn: {what} {done}/{total}", file=cast(IO[str], self._stream or sys.stderr), flush=True)
