"""How do I record the first steps of a Hugging Face Trainer? Add a callback.

    callback = RecordingCallback(steps=3, path="program.json")
    Trainer(model, arguments, train_dataset=data, callbacks=[callback]).train()
    print(callback.program.show(step=0))

Needs transformers (`pip install tpdyn[integrations]`). A prediction needs recordings at several widths. Run
`tpdyn check` on the script, or join the recordings of several callbacks with `tpdyn.recorder.record.joined`.
"""

from __future__ import annotations

from typing import Any, final

from transformers import TrainerCallback

from tpdyn.integrations.first_steps import FirstSteps, Watching

__all__ = ["MonitorCallback", "RecordingCallback"]


@final
class RecordingCallback(FirstSteps, TrainerCallback):  # type: ignore[misc]
    """Records the first `steps` optimizer steps of `Trainer.train()`; see `FirstSteps` for its arguments."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start recording."""
        self._begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count optimizer steps (`global_step` leaves out accumulation steps)."""
        self._completed(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop, if training ended before `steps` steps."""
        self._end()


@final
class MonitorCallback(Watching, TrainerCallback):  # type: ignore[misc]
    """Watches `Trainer.train()`; see `tpdyn.monitor` for the options. `watched` is the monitor, once training began."""

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, optimizer: Any = None, **_: Any
    ) -> None:
        """Start watching the trainer's model and optimizer."""
        self._begin(model, optimizer)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop watching."""
        self._end()
