"""What do the callbacks of all frameworks share? The first steps are recorded, or a monitor watches all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tpdyn.monitoring.monitor import monitor
from tpdyn.program.program import Program
from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.record import recording


class FirstSteps:
    """A recording that a callback begins and ends. Training then goes on unchanged.

    steps: number of optimizer steps to record. width: the model's width, to join several recordings
    (`tpdyn.recorder.record.joined`). path: file for the program as JSON, written once the steps are done. on_ready: called
    then with the recording, e.g. to join it with others, predict and log.
    """

    def __init__(
        self,
        steps: int = 3,
        *,
        width: int = 0,
        path: str | Path | None = None,
        on_ready: Callable[[recording], object] | None = None,
    ) -> None:
        if isinstance(steps, bool) or steps < 1:
            raise RecordingError(f"steps = {steps}: expected at least 1 optimizer step, try 3")
        self._steps = steps
        self._recording = recording(width=width, on_ready=on_ready)
        self._path = None if path is None else Path(path)
        self._state = "waiting"

    @property
    def program(self) -> Program:
        """The program of the recorded steps. Its dims are numbers: those of the width that was trained.

        Raises RecordingError until training has taken that many steps.
        """
        if self._state != "done":
            raise RecordingError(
                f"the recording is {self._state}: it ends after {self._steps} optimizer steps, or when training ends. "
                "Ask after the trainer has begun"
            )
        return self._recording.program

    @property
    def recording(self) -> recording:
        """The recording itself, for `tpdyn.recorder.record.joined`."""
        return self._recording

    def _begin(self) -> None:
        """Start recording, at the first training only."""
        if self._state == "waiting":
            self._recording.__enter__()
            self._state = "running"

    def _completed(self, steps: int) -> None:
        """Note how many optimizer steps are done; stop after `steps` of them."""
        if steps >= self._steps:
            self._end()

    def _end(self, error: BaseException | None = None) -> None:
        """Stop recording, because enough is recorded, training ends, or something was raised."""
        if self._state != "running":
            return
        self._state = "done" if error is None else "broken off"
        self._recording.__exit__(None if error is None else type(error), error, None)
        if self._path is not None and error is None:
            self._path.write_text(self.program.to_json(), encoding="utf-8")


class Watching:
    """A monitor that a callback begins and ends. options: of `tpdyn.monitor`. `watched`: the monitor, once training began."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self.watched: monitor | None = None

    def _begin(self, model: Any, optimizers: Any) -> None:
        self.watched = monitor(model, optimizers, **self._options)
        self.watched.__enter__()

    def _end(self) -> None:
        if self.watched is not None:
            self.watched.__exit__(None, None, None)
