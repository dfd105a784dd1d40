"""What can go wrong while a script is recorded?"""

from __future__ import annotations

from tpdyn.program.program import Source


class RecordingError(RuntimeError):
    """A script could not be recorded, or its recording does not reproduce it. The message says what was met, where in
    the script, and what to try."""

    def __init__(self, message: str, source: Source | None = None) -> None:
        source = source or Source()
        location = f"\n  at {source}: {source.text}" if source.file else ""
        super().__init__(message + location)
        self.source = source


class Told(Exception):
    """An error of ours inside of a script's run, whose message says all that a user needs."""
