"""How does the real script behave at each width? It is run at every width and seed, a few optimizer steps long.

The script is the user's own: nothing in it is rewritten. Each run is seeded (torch, numpy, random), observed by
`tpdyn.measuring.observe` and stopped after the wanted number of optimizer steps. Runs that diverge are data.
"""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from tpdyn.measuring.measurement import SPLIT, MeasuredRow, Measurement
from tpdyn.measuring.observe import FIELDS, Observation, Observer
from tpdyn.recorder.live.frames import raised

Progress = Callable[[int, int], None]

__all__ = ["MeasuredRow", "Measurement", "MeasuringError", "measure"]


class MeasuringError(RuntimeError):
    """A run could not be measured. `partial` holds the runs finished before (None if there are none)."""

    def __init__(self, message: str, partial: Measurement | None = None) -> None:
        super().__init__(message)
        self.partial = partial


def measure(
    train: Callable[[int], Any],
    widths: Sequence[int] = (64, 128, 256, 512),
    seeds: int | Sequence[int] = 8,
    steps: int = 3,
    device: str = "auto",
    progress: Progress | None = None,
) -> Measurement:
    """Run `train(width)` at every width and seed for `steps` optimizer steps, and measure sizes and changes.

    train: an ordinary training loop (it may be long: it is stopped); it must build its model itself, at each call. What
    it prints is dropped. widths: two or more different ones; three or more are needed to estimate orders well. seeds:
    how many (0, 1, ...), or which. steps: outputs are measured after 0, ..., steps - 1 optimizer steps. progress:
    called with (runs done, runs in all) after each run.

    device: "script" leaves it to the script; "cpu", "cuda", "cuda:1", ... make it torch's default device, so that
    models, `torch.randn`, `torch.tensor` and the like use it where the script names none; "auto" is "cuda" if there is
    a GPU and a trial run of the script works with it as the default device, else "script".

    Raises ValueError for bad arguments, and MeasuringError when the script raises (naming width, seed and its line),
    makes fewer optimizer steps, or does not depend on the width; the finished runs are in its `partial`.

    Example:
        >>> import torch, tpdyn
        >>> def train(width):
        ...     model = torch.nn.Linear(width, 1)
        ...     optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        ...     for _ in range(10):
        ...         optimizer.zero_grad()
        ...         model(torch.ones(4, width)).square().mean().backward()
        ...         optimizer.step()
        >>> tpdyn.measure(train, widths=(8, 16), seeds=2).names
        ('output',)
    """
    widths, seeds = _checked(train, widths, seeds, steps)
    runs: dict[tuple[int, int], Observation] = {}
    total = len(widths) * len(seeds)
    notes: list[str] = []

    def so_far() -> Measurement | None:
        return _assemble(widths, seeds, steps, runs, device_used, notes) if runs else None

    device_used = "script"
    with _outer_state_kept():
        device_used = _choose_device(train, min(widths), seeds[0], device, notes)
        for width in widths:
            for seed in seeds:
                try:
                    runs[width, seed] = _run(train, width, seed, steps, device_used)
                except MeasuringError as error:
                    raise MeasuringError(str(error), so_far()) from error.__cause__
                if progress is not None:
                    progress(len(runs), total)
            _check_width_matters(widths, seeds, runs, so_far)
    return _assemble(widths, seeds, steps, runs, device_used, notes)


def _checked(
    train: Callable[[int], Any], widths: Sequence[int], seeds: int | Sequence[int], steps: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    problems = []
    if not callable(train):
        problems.append(f"train is {train!r}; expected a function train(width) that holds the training loop")
    widths = tuple(widths)
    if any(isinstance(w, bool) or not isinstance(w, int) or w < 1 for w in widths):
        problems.append(f"widths are {widths}; expected whole numbers >= 1")
    elif len(set(widths)) != len(widths) or len(widths) < 2:
        problems.append(f"widths are {widths}; expected at least two different ones, better four (64, 128, 256, 512)")
    seeds = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not seeds or len(set(seeds)) != len(seeds):
        problems.append(f"seeds are {seeds}; expected at least one, and no seed twice; 8 give usable intervals")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        problems.append(f"steps is {steps!r}; expected a whole number >= 1, best 3")
    if problems:
        raise ValueError("; ".join(problems))
    return tuple(sorted(widths)), seeds


def _run(train: Callable[[int], Any], width: int, seed: int, steps: int, device: str) -> Observation:
    """One run; raises MeasuringError when it fails for another reason than divergence."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (the script's own generator)
    random.seed(seed)
    observer = Observer(steps)
    place = contextlib.nullcontext() if device == "script" else torch.device(device)
    try:
        with _uncompiled(), place, contextlib.redirect_stdout(io.StringIO()), observer.watch:
            train(width)
    except Exception as error:
        seen = observer.finish()
        if seen.broken_by(steps):
            seen.notes.append(f"at width {width}, seed {seed} the script gave up on NaN or Inf: {raised(error)}")
            return seen
        raise MeasuringError(f"the script failed at width {width}, seed {seed}: {raised(error)}") from error
    seen = observer.finish()
    if seen.steps < steps and not seen.broken_by(steps):
        raise MeasuringError(
            f"the script ended after {seen.steps} optimizer steps at width {width}, seed {seed}; expected at least "
            f"{steps}. "
            + (
                "Let it train longer, or ask for fewer steps"
                if seen.steps
                else "An optimizer step is a `.step()` of a torch.optim optimizer, or a change of the parameters "
                "after `backward()`; is `train` the function with the training loop?"
            )
        )
    return seen


def _choose_device(train: Callable[[int], Any], width: int, seed: int, device: str, notes: list[str]) -> str:
    if device == "script":
        return device
    if device != "auto":
        torch.empty(0, device=device)  # torch names an impossible device itself
        return device
    if not torch.cuda.is_available():
        return "script"
    try:
        _run(train, width, seed, 1, "cuda")
    except MeasuringError as error:
        notes.append(f"not moved to the GPU, since the script does not run with it as the default device: {error}")
        return "script"
    return "cuda"


def _check_width_matters(
    widths: tuple[int, ...],
    seeds: tuple[int, ...],
    runs: dict[tuple[int, int], Observation],
    so_far: Callable[[], Measurement | None],
) -> None:
    first, second = (runs.get((width, seeds[0])) for width in widths[:2])
    if first is None or second is None or first.shapes != second.shapes or not first.shapes:
        return
    shapes = ", ".join(f"{name} {list(shape)}" for name, shape in list(first.shapes.items())[:4])
    raise MeasuringError(
        f"the model does not depend on the width: at widths {widths[0]} and {widths[1]} all parameters have the same "
        f"shapes ({shapes}). Build the model from the width that train(width) is given",
        so_far(),
    )


@contextlib.contextmanager
def _outer_state_kept() -> Iterator[None]:
    """Random states and defaults of the caller are the same afterwards."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    dtype, deterministic = torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled()
    grad = torch.is_grad_enabled()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])
        torch.set_default_dtype(dtype)
        torch.use_deterministic_algorithms(deterministic)
        torch.set_grad_enabled(grad)


@contextlib.contextmanager
def _uncompiled() -> Iterator[None]:
    """Compiled models run eagerly: inside compiled code no module is called."""
    with torch.compiler.set_stance("force_eager"):
        yield


def _assemble(
    widths: tuple[int, ...],
    seeds: tuple[int, ...],
    steps: int,
    runs: dict[tuple[int, int], Observation],
    device: str,
    notes: list[str],
) -> Measurement:
    names = tuple(dict.fromkeys(name for run in runs.values() for _, name in run.outputs))
    parameters = tuple(dict.fromkeys(name for run in runs.values() for name in run.shapes))
    shape = (len(widths), len(seeds), steps)
    outputs = np.full((*shape, len(names), len(FIELDS) + len(SPLIT)), np.nan)
    sizes = np.full((*shape, len(parameters), 2), np.nan)
    gradients = np.full((*shape, len(parameters)), np.nan)
    losses = np.full(shape, np.nan)
    diverged = np.zeros(shape, dtype=np.bool_)
    completed = np.zeros(shape[:2], dtype=np.bool_)
    column = {name: k for k, name in enumerate(names)}
    row = {name: k for k, name in enumerate(parameters)}
    for (width, seed), run in runs.items():
        at = widths.index(width), seeds.index(seed)
        completed[at] = True
        for (t, name), values in run.outputs.items():
            if t < steps:
                outputs[(*at, t, column[name])] = values
        for (t, name), pair in run.parameters.items():
            if t < steps:
                sizes[(*at, t, row[name])] = pair
        for (t, name), value in run.gradients.items():
            if t < steps and name in row:
                gradients[(*at, t, row[name])] = value
        for t, value in run.losses.items():
            if t < steps:
                losses[(*at, t)] = value
        diverged[at] = [run.broken_by(t) or t > run.steps for t in range(steps)]
        notes = [*notes, *run.notes]
        if run.unknown_base:
            notes.append(
                f"no change is known for {', '.join(dict.fromkeys(run.unknown_base))}: the input was computed from "
                "other modules' outputs outside of any module; put the network into one nn.Module"
            )
    part = {name: outputs[..., k] for k, name in enumerate(FIELDS)}
    return Measurement(
        widths=widths,
        seeds=seeds,
        steps=steps,
        names=names,
        parameters=parameters,
        size=part["size"],
        rms=part["rms"],
        change=part["change"],
        change_rms=part["change_rms"],
        nonfinite=part["nonfinite"],
        epsilon=part["epsilon"],
        split=outputs[..., len(FIELDS) :],
        parameter_size=sizes[..., 0],
        parameter_change=sizes[..., 1],
        gradient_size=gradients,
        loss=losses,
        diverged=diverged,
        completed=completed,
        device=device,
        notes=tuple(dict.fromkeys(notes)),
    )
