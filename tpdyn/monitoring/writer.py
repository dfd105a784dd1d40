"""How does a history reach TensorBoard while the run goes on? Each look is written and flushed; expected bands beside it.

Into `logdir/monitor` (`monitor-2`, ... for later runs): an event file with the tags `what/module`, and the history as lines of
JSON. A disk that is full in the middle ends the writing with one warning, not the run.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

from tpdyn.monitoring.alarms import Alarm
from tpdyn.monitoring.expected import Band
from tpdyn.monitoring.history import FILE, History, heading, line
from tpdyn.monitoring.probe import Key
from tpdyn.reporting.events import Run
from tpdyn.reporting.folders import CannotLog
from tpdyn.reporting.tags import HIGH, LOW, MONITOR_RUN, tag_of


@final
class Writer:
    """The files of one monitored run. Raises `CannotLog`, before anything runs, if they cannot be made."""

    def __init__(self, logdir: Path, history: History, bands: Mapping[Key, Band]) -> None:
        folder, number = logdir / MONITOR_RUN, 1
        while folder.exists():
            number += 1
            folder = logdir / f"{MONITOR_RUN}-{number}"
        try:
            self._run = Run(folder)
            self._lines = (folder / FILE).open("w", encoding="utf-8")
            self._lines.write(heading(history, {}) + "\n")
            self._lines.flush()
        except OSError as error:
            raise CannotLog(
                f"cannot write the log folder {folder}: {error.strerror or error}; give another logdir"
            ) from error
        self._bands = bands
        self._alarms: list[Alarm] = []
        self.folder = folder

    def write(
        self, step: int, look: Mapping[Key, float], new: Mapping[str, tuple[str, str]], alarms: Sequence[Alarm]
    ) -> None:
        """Write one look, its expected bands and its alarms, and flush."""
        if self._lines.closed:
            return
        try:
            self._lines.write(line(step, look, new) + "\n")
            self._lines.flush()
            for (what, name), value in look.items():
                self._run.scalar(tag_of(what, name), step, value)
                band = self._bands[what, name].at(step) if (what, name) in self._bands else None
                for kind, bound in zip((LOW, HIGH), band or (), strict=False):
                    self._run.scalar(tag_of(what, name, f"expected {kind}"), step, bound)
            if alarms:
                self._alarms += alarms
                self._run.text("alarms", "\n".join(f"* {each.told()}" for each in self._alarms), step)
            self._run.flush()
        except OSError as error:
            warnings.warn(f"tpdyn.monitor stops writing to {self.folder}: {error.strerror or error}", stacklevel=2)
            self.close()

    def close(self) -> None:
        """Close both files."""
        self._lines.close()
        self._run.__exit__()
