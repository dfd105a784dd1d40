"""How do I record the first steps of a Lightning Trainer? Add a callback.

    callback = RecordingCallback(steps=3, path="program.json")
    Trainer(max_steps=1000, callbacks=[callback]).fit(module, loader)
    print(callback.program.show(step=0))

Needs lightning (`pip install tpdyn[integrations]`). A prediction needs recordings at several widths. Run `tpdyn check`
on the script, or join the recordings of several callbacks with `tpdyn.recorder.record.joined`.
"""

from __future__ import annotations

from typing import Any, final

from lightning.pytorch.callbacks import Callback

from tpdyn.integrations.first_steps import FirstSteps, Watching

__all__ = ["MonitorCallback", "RecordingCallback"]


@final
class RecordingCallback(FirstSteps, Callback):  # type: ignore[misc]
    """Records the first `steps` optimizer steps of `Trainer.fit()`; see `FirstSteps` for its arguments."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start recording."""
        self._begin()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count optimizer steps after each batch."""
        self._completed(trainer.global_step)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Stop, if training ended before `steps` steps."""
        self._end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Stop, because training failed."""
        self._end(exception)


@final
class MonitorCallback(Watching, Callback):  # type: ignore[misc]
    """Watches `Trainer.fit()`; see `tpdyn.monitor` for the options. `watched` is the monitor, once training began."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start watching the module and the trainer's optimizers."""
        self._begin(pl_module, trainer.optimizers)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Stop watching."""
        self._end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Stop watching, because training failed."""
        self._end()
