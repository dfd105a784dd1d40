"""How far is it? A bar where a person watches, plain lines where a log is kept (a pipe, CI)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOBase
from typing import IO, cast, final

Tell = Callable[[str, int, int], None]

EVERY = 10.0
"""Seconds between two lines about the same work."""


@contextmanager
def progress(stream: TextIOBase | None = None) -> Iterator[Tell]:
    """Show progress on standard error, or in `stream`; yield `tell(what, done, total)`."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    console = Console(file=cast(IO[str] | None, stream), stderr=stream is None)
    if not console.is_terminal:
        yield Lines(stream)
        return
    columns = (TextColumn("{task.description:>24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield tell


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
