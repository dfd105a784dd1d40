"""How are the first steps of a Hugging Face Trainer recorded? By a callback.

    callback = RecordingCallback(steps=3, path="program.json")
    Trainer(model, arguments, train_dataset=data, callbacks=[callback]).train()
    print(callback.program.show(step=0))

Needs transformers (`pip install tpdyn[integrations]`). For a prediction record at several widths: `tpdyn check` of the
script, or `joined` of the recordings of several callbacks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

from transformers import TrainerCallback

from tpdyn.integrations.first_steps import FirstSteps
from tpdyn.program.program import Program
from tpdyn.recorder.record import recording

__all__ = ["RecordingCallback"]


@final
class RecordingCallback(TrainerCallback):  # type: ignore[misc]
    """Records the first `steps` optimizer steps of `Trainer.train()`; see `FirstSteps` for its arguments."""

    def __init__(self, steps: int = 3, *, width: int = 0, path: str | Path | None = None) -> None:
        self._first = FirstSteps(steps, width=width, path=path)

    @property
    def program(self) -> Program:
        """The program of the recorded steps."""
        return self._first.program

    @property
    def recording(self) -> recording:
        """The recording itself, to be joined with others."""
        return self._first.recording

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The loop begins."""
        self._first.begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """An optimizer step is done (`global_step` counts no accumulation steps)."""
        self._first.completed(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Training ended, perhaps before `steps` steps."""
        self._first.end()
