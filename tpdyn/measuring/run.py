"""What does the real script do at one width and seed? One run of it, seeded, observed, and stopped after the wanted steps."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import torch

from tpdyn.measuring.measurement import Measurement
from tpdyn.measuring.observe import Observation, Observer
from tpdyn.recorder.live.frames import raised
from tpdyn.recorder.live.hooks import aside
from tpdyn.recorder.live.seeding import stream
from tpdyn.recorder.live.surroundings import seed_everything


class MeasuringError(RuntimeError):
    """A run could not be measured. `partial` holds the runs finished before (None if there are none)."""

    def __init__(self, message: str, partial: Measurement | None = None) -> None:
        super().__init__(message)
        self.partial = partial


def check_device(device: str) -> None:
    """Raise ValueError for a device that does not exist here."""
    if device in ("auto", "script"):
        return
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise ValueError(
            f"device is {device!r}, which cannot be used here ({first}). Expected auto, script, cpu or an accelerator that "
            "torch finds, such as cuda"
        ) from error


def live_run(train: Callable[[int], Any], width: int, seed: int, steps: int, device: str) -> Observation:
    """Make one run; raise MeasuringError when it fails for another reason than divergence."""
    seed_everything(seed)
    observer = Observer(steps)
    on_device = contextlib.nullcontext() if device == "script" else torch.device(device)
    try:
        with (
            aside(), _uncompiled(), on_device, contextlib.redirect_stdout(io.StringIO()), stream(seed) as seeded, observer.watch
        ):  # fmt: skip
            train(width)
    except (Exception, SystemExit) as error:
        seen = observer.finish()
        if seen.broken_by(steps):
            seen.notes.append(f"at width {width}, seed {seed} the script gave up on NaN or Inf: {raised(error)}")
            return seen
        raise MeasuringError(f"the script failed at width {width}, seed {seed}: {raised(error)}") from error
    seen = observer.finish()
    if seeded:
        files = ", ".join(
            dict.fromkeys(location.partition(":")[0] for location in seeded)
        )  # lines may differ between runs
        seen.notes.append(
            f"the script seeds its random numbers itself ({files}): each run mixes its own seed in. So runs differ in "
            "their initial weights, and in data drawn from those generators"
        )
    if seen.steps < steps and not seen.broken_by(steps):
        raise MeasuringError(
            f"the script ended after {seen.steps} optimizer steps at width {width}, seed {seed}; expected at least "
            f"{steps}. "
            + (
                "Let it train longer, or ask for fewer steps"
                if seen.steps
                else "An optimizer step is a `.step()` of a torch.optim optimizer, or a change of the parameters "
                "after `backward()`. Is `train` the function with the training loop?"
            )
        )
    return seen


@contextlib.contextmanager
def _uncompiled() -> Iterator[None]:
    """Run compiled models eagerly: modules are not called inside of compiled code."""
    with torch.compiler.set_stance("force_eager"):
        yield
