"""How does a history reach TensorBoard while the run goes on? Each look is written and flushed; expected bands beside it.

A run writes three things into `logdir/monitor` (`monitor-2`, ... for later runs). An event file holds the tags
`what/module` for the dashboards. It holds one packed tensor a look for the tab, too. The history is lines of JSON. A
disk that is full in the middle ends the writing with one warning, not the run.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, final

import numpy as np

from tpdyn.monitoring.alarms import Alarm
from tpdyn.monitoring.expected import Band
from tpdyn.monitoring.history import FILE, LAST, History, heading, line, says
from tpdyn.monitoring.probe import Key
from tpdyn.reporting.events import Run
from tpdyn.reporting.folders import CannotLog
from tpdyn.reporting.tags import HIGH, LOOKS_TAG, LOW, MONITOR_RUN, SCHEMA, SUMMARY_TAG, WATCHED_TAG, tag_of


@final
class Writer:
    """The files of one monitored run. Raises `CannotLog`, before anything runs, if they cannot be made."""

    def __init__(self, logdir: Path, history: History, bands: Mapping[Key, Band]) -> None:
        folder, number = logdir / MONITOR_RUN, 1
        self._head = _head(logdir, history, bands)
        try:
            while True:
                try:
                    folder.mkdir(parents=True)
                    break
                except FileExistsError:
                    number += 1
                    folder = logdir / f"{MONITOR_RUN}-{number}"
            self._run = Run(folder, live=True)
            self._lines = (folder / FILE).open("w", encoding="utf-8")
            self._lines.write(heading(history, {key: self._head[key] for key in ("tpdyn", "title", "bands")}) + "\n")
            self._lines.flush()
        except OSError as error:
            raise CannotLog(
                f"cannot write the log folder {folder}: {error.strerror or error}; give another logdir"
            ) from error
        self._bands = bands
        self._alarms: list[Alarm] = []
        self._keys: dict[Key, int] = {}
        self._modules: dict[str, tuple[str, str]] = {}
        self._standing: list[list[str]] = []
        self._step = -1
        self.folder = folder

    def write(
        self,
        step: int,
        look: Mapping[Key, float],
        new: Mapping[str, tuple[str, str]],
        alarms: Sequence[Alarm],
        standing: Collection[tuple[str, str]] = (),
    ) -> None:
        """Write one look, its expected bands and its alarms, and flush. standing: (rule, name) of all alarms that hold now."""
        if self._lines.closed:
            return
        now = sorted(map(list, standing))
        more: dict[str, Any] = {"time": round(time.time(), 3), "standing": now}
        if alarms:
            more["alarms"] = [asdict(each) for each in alarms]
        try:
            self._lines.write(line(step, look, new, more) + "\n")
            self._lines.flush()
            self._run.scalars(step, self._tagged(step, look))
            if alarms:
                self._alarms += alarms
                self._run.text("alarms", "\n".join(f"* {each.told()}" for each in self._alarms), step)
            changed = bool(alarms) or now != self._standing
            self._standing = now
            self._pack(step, look, new, changed)
            self._run.flush()
        except OSError as error:
            warnings.warn(f"tpdyn.monitor stops writing to {self.folder}: {error.strerror or error}", stacklevel=2)
            self._shut()

    def close(self) -> None:
        """Say that the run is over, and close both files."""
        if self._lines.closed:
            return
        try:
            self._lines.write(LAST + "\n")
            self._run.board(WATCHED_TAG, self._step + 1, self._told_head() | {"over": True})
        except OSError as error:
            warnings.warn(f"tpdyn.monitor could not end {self.folder}: {error.strerror or error}", stacklevel=2)
        self._shut()

    def _shut(self) -> None:
        with contextlib.suppress(OSError):  # what is left in the buffer of a full disk
            self._lines.close()
        self._run.__exit__()

    def _tagged(self, step: int, look: Mapping[Key, float]) -> dict[str, float]:
        """Name what the dashboards show: each number, and the edges of its band."""
        tagged = {}
        for (what, name), value in look.items():
            tagged[tag_of(what, name)] = value
            band = self._bands[what, name].at(step) if (what, name) in self._bands else None
            for kind, bound in zip((LOW, HIGH), band or (), strict=False):
                tagged[tag_of(what, name, f"expected {kind}")] = bound
        return tagged

    def _pack(self, step: int, look: Mapping[Key, float], new: Mapping[str, tuple[str, str]], changed: bool) -> None:
        """Write what the tab shows: numbers in the order of the keys; keys, modules and alarms when they change."""
        fresh = [key for key in look if key not in self._keys]
        for key in fresh:
            self._keys[key] = len(self._keys)
        numbers = np.full(len(self._keys), np.nan, dtype=np.float32)
        for key, value in look.items():
            numbers[self._keys[key]] = value
        self._modules |= new
        self._step = step
        if changed or fresh or new:
            self._run.board(WATCHED_TAG, step, self._told_head())
        self._run.numbers(LOOKS_TAG, step, numbers)
        summary = {key: self._head[key] for key in ("schema", "kind", "title", "script")}
        self._run.board(SUMMARY_TAG, step, summary | {"says": says(step, len(self._standing))})

    def _told_head(self) -> dict[str, Any]:
        return self._head | {
            "keys": [list(key) for key in self._keys],
            "modules": {name: list(pair) for name, pair in self._modules.items()},
            "alarms": [asdict(each) for each in self._alarms],
            "standing": self._standing,
        }


def _head(logdir: Path, history: History, bands: Mapping[Key, Band]) -> dict[str, Any]:
    from tpdyn import __version__

    edges = [
        {
            "what": what,
            "name": name,
            "steps": band.steps.tolist(),
            "low": band.lowest.tolist(),
            "high": band.highest.tolist(),
        }
        for (what, name), band in bands.items()
    ]
    start = {"schema": SCHEMA, "kind": "monitor", "tpdyn": __version__, "title": logdir.absolute().name, "script": ""}
    return start | {"width": history.width, "bands": edges, "over": False}
