"""What can go wrong while a program is read? The message says what, at which statement, and from which source line."""

from __future__ import annotations


class ReadingError(RuntimeError):
    """A reading stopped at a statement; the message shows the problem, the statement and its source line."""


class OutsideTheory(ReadingError):
    """The program does something that the theory does not cover; the message says what, and where."""
