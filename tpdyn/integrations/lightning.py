"""How do I record the first steps of a Lightning Trainer? Add a callback.

    callback = RecordingCallback(steps=3, path="program.json")
    Trainer(max_steps=1000, callbacks=[callback]).fit(module, loader)
    print(callback.program.show(step=0))

Needs lightning (`pip install tpdyn[integrations]`). A prediction needs recordings at several widths. Run `tpdyn check`
on the script, or join the recordings of several callbacks with `tpdyn.recorder.record.joined`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, final

from lightning.pytorch.callbacks import Callback

from tpdyn.integrations.first_steps import FirstSteps
from tpdyn.monitoring.monitor import monitor
from tpdyn.program.program import Program
from tpdyn.recorder.record import recording

__all__ = ["MonitorCallback", "RecordingCallback"]


@final
class RecordingCallback(Callback):  # type: ignore[misc]
    """Records the first `steps` optimizer steps of `Trainer.fit()`; see `FirstSteps` for its arguments."""

    def __init__(
        self,
        steps: int = 3,
        *,
        width: int = 0,
        path: str | Path | None = None,
        on_ready: Callable[[recording], object] | None = None,
    ) -> None:
        self._first = FirstSteps(steps, width=width, path=path, on_ready=on_ready)

    @property
    def program(self) -> Program:
        """The program of the recorded steps."""
        return self._first.program

    @property
    def recording(self) -> recording:
        """The recording itself, for `tpdyn.recorder.record.joined`."""
        return self._first.recording

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start recording."""
        self._first.begin()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count optimizer steps after each batch."""
        self._first.completed(trainer.global_step)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Stop, if training ended before `steps` steps."""
        self._first.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Stop, because training failed."""
        self._first.end(exception)


@final
class MonitorCallback(Callback):  # type: ignore[misc]
    """Watches `Trainer.fit()`; see `tpdyn.monitor` for the options. `watched` is the monitor, once training began."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self.watched: monitor | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start watching the module and the trainer's optimizers."""
        self.watched = monitor(pl_module, trainer.optimizers, **self._options)
        self.watched.__enter__()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Stop watching."""
        if self.watched is not None:
            self.watched.__exit__(None, None, None)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Stop watching, because training failed."""
        self.on_train_end(trainer, pl_module)
