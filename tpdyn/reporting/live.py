"""How is a check seen while it runs? In a log of its own beside the one to come, which is removed at the end.

The log "my-run (running)" first holds the prediction, then the runs so far, at most every two seconds. The log "my-run" is
written as a whole when the check is done. So an interrupted check leaves an earlier log as it was. Watching never stops a
check: a folder that cannot be written is not watched.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import final

from tpdyn.claims.report import compare
from tpdyn.measuring.measurement import Measurement
from tpdyn.regimes.prediction import Prediction
from tpdyn.reporting import board
from tpdyn.reporting.atlas import atlas
from tpdyn.reporting.document import of_prediction, of_report
from tpdyn.reporting.events import Run
from tpdyn.reporting.folders import FIRST_LINE, MARKER, owner_of
from tpdyn.reporting.tags import ATLAS_TAG, RUNNING, VERDICT_RUN

EVERY = 2.0
"""Seconds between two documents."""


@final
class Live:
    """`with Live(folder, script) as live: check(..., watch=live)`. folder: where the log will be written in the end."""

    def __init__(self, folder: Path, script: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self._title, self._script, self._clock = folder.name, script, clock
        self._folder = folder.with_name(folder.name + RUNNING)
        self._run: Run | None = None
        self._prediction: Prediction | None = None
        self._step, self._told = 0, -EVERY

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        if self._run is not None:
            self._run.__exit__()
            self._run = None
            shutil.rmtree(self._folder, ignore_errors=True)

    def predicted(self, prediction: Prediction, runs: int) -> None:
        """Show the prediction; `runs` runs are still to be made."""
        self._prediction = prediction
        with contextlib.suppress(OSError):
            ours = (self._folder / MARKER).exists() and owner_of(self._folder) == self._script
            if self._folder.exists() and not ours:
                return
            shutil.rmtree(self._folder, ignore_errors=True)  # of a check that was killed
            self._run = Run(self._folder / VERDICT_RUN)
            (self._folder / MARKER).write_text(f"{FIRST_LINE}{self._script}\n", encoding="utf-8")
            self._run.board(ATLAS_TAG, 0, atlas(prediction.program, prediction.sizes, prediction.changes))
            self._put(of_prediction(prediction, title=self._title, script=self._script, runs=(0, runs)))

    def measured(self, so_far: Callable[[], Measurement | None], done: int, runs: int) -> None:
        """Show that one more run was made; `so_far` collects all of them."""
        if self._run is None or self._prediction is None or self._clock() - self._told < EVERY:
            return
        with contextlib.suppress(OSError, ValueError):  # ValueError: too little is there to be compared
            measurement = so_far()
            if measurement is not None:
                report = compare(self._prediction, measurement)
                self._put(of_report(report, title=self._title, script=self._script, runs=(done, runs)))

    def _put(self, document: dict[str, object]) -> None:
        assert self._run is not None
        self._told = self._clock()
        board.put(self._run, self._step, document)
        self._run.flush()
        self._step += 1
