"""How does the real script behave at each width? It is run at every width and seed, a few optimizer steps long.

The script is the user's own: nothing in it is rewritten. Each run is seeded (torch, numpy, random), and has a stream of its
own behind seeds that the script gives itself (`tpdyn.scripts.seeding`); it is observed by `tpdyn.measuring.observe` and stopped
after the wanted number of optimizer steps. Runs that diverge are data. Runs that are the same, bit for bit, count once.
"""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from tpdyn.measuring.assembled import assembled, joined
from tpdyn.measuring.measurement import MeasuredRow, Measurement
from tpdyn.measuring.observe import Observation, Observer
from tpdyn.recorder.live.frames import raised
from tpdyn.scripts.seeding import stream

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

    Raises ValueError for bad arguments, and MeasuringError when the script raises or leaves (naming width, seed and its line),
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
    widths, kept = _checked(train, widths, seeds, steps)
    runs: dict[tuple[int, int], Observation] = {}
    total = len(widths) * len(kept)
    notes: list[str] = []

    def so_far() -> Measurement | None:
        return assembled(widths, kept, steps, runs, device_used, notes) if runs else None

    device_used = "script"
    with _outer_state_kept():
        device_used = _choose_device(train, min(widths), kept[0], device, notes)
        for width in widths:
            for seed in kept:
                try:
                    runs[width, seed] = _run(train, width, seed, steps, device_used)
                except MeasuringError as error:
                    raise MeasuringError(str(error), so_far()) from error.__cause__
                if progress is not None:
                    progress(len(runs), total)
            _check_width_matters(widths, kept, runs, so_far)
            if width == widths[0]:
                kept = _different(width, kept, runs, notes)
                total = len(widths) * len(kept)
    return assembled(widths, kept, steps, runs, device_used, notes)


def measure_more(
    train: Callable[[int], Any],
    known: Measurement,
    widths: Sequence[int],
    seeds: Sequence[int],
    *,
    on: Callable[[], bool] = lambda: True,
    progress: Progress | None = None,
) -> Measurement:
    """Make the runs at those widths and seeds that `known` has not; all of them as one measurement.

    on: asked before each run; when it says no, the runs made so far are returned. Raises MeasuringError as `measure` does.
    """
    have = {
        (width, seed)
        for w, width in enumerate(known.widths)
        for s, seed in enumerate(known.seeds)
        if known.completed[w, s]
    }
    missing = [(width, seed) for width in sorted(widths) for seed in seeds if (width, seed) not in have]
    runs: dict[tuple[int, int], Observation] = {}

    def all_of_them() -> Measurement:
        made = tuple(sorted({width for width, _ in runs})), tuple(dict.fromkeys(seed for _, seed in runs))
        return joined(known, assembled(*made, known.steps, runs, known.device, [])) if runs else known

    with _outer_state_kept():
        for width, seed in missing:
            if not on():
                break
            try:
                runs[width, seed] = _run(train, width, seed, known.steps, known.device)
            except MeasuringError as error:
                raise MeasuringError(str(error), all_of_them()) from error.__cause__
            if progress is not None:
                progress(len(runs), len(missing))
    return all_of_them()


def _checked(
    train: Callable[[int], Any], widths: Sequence[int], seeds: int | Sequence[int], steps: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    problems = []
    if not callable(train):
        problems.append(f"train is {train!r}; expected a function train(width) that holds the training loop")
    widths = tuple(widths)
    if any(isinstance(w, bool) or not isinstance(w, int) or w < 1 for w in widths):
        problems.append(f"widths are {widths}; expected whole numbers >= 1")
    elif len(set(widths)) != len(widths):
        twice = next(w for w in widths if widths.count(w) > 1)
        problems.append(f"widths are {widths}: {twice} is given twice; expected each once")
    elif len(widths) < 2:
        problems.append(f"widths are {widths}; expected at least two different ones, better four (64, 128, 256, 512)")
    seeds = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not seeds or len(set(seeds)) != len(seeds):
        problems.append(f"seeds are {seeds}; expected at least one, and no seed twice; 8 give usable intervals")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        problems.append(f"steps is {steps!r}; expected a whole number >= 1, best 3")
    if problems:
        raise ValueError("; ".join(problems))
    return tuple(sorted(widths)), seeds


def _different(
    width: int, seeds: tuple[int, ...], runs: dict[tuple[int, int], Observation], notes: list[str]
) -> tuple[int, ...]:
    """The seeds whose runs at that width differ; the others are left out of `runs`, and a note says so."""
    kept: list[int] = []
    for seed in seeds:
        if any(runs[width, seed].same_as(runs[width, other]) for other in kept):
            del runs[width, seed]
        else:
            kept.append(seed)
    if len(kept) == len(seeds):
        return seeds
    same = (
        "all seeds gave the same run"
        if len(kept) == 1
        else f"only {len(kept)} of {len(seeds)} seeds gave different runs"
    )
    notes.append(
        f"{same}, bit for bit, and count as {len(kept)}: without a spread no interval is known. Draw the initial weights "
        "from generators of torch, numpy or random inside of the function, not from a constant"
    )
    return tuple(kept)


def check_device(device: str) -> None:
    """Raise ValueError for a device that does not exist here."""
    if device in ("auto", "script"):
        return
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise ValueError(
            f"device is {device!r}, which cannot be used here ({first}); expected auto, script, cpu or an accelerator that "
            "torch finds, such as cuda"
        ) from error


def _run(train: Callable[[int], Any], width: int, seed: int, steps: int, device: str) -> Observation:
    """One run; raises MeasuringError when it fails for another reason than divergence."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (the script's own generator)
    random.seed(seed)
    observer = Observer(steps)
    place = contextlib.nullcontext() if device == "script" else torch.device(device)
    try:
        with (
            _uncompiled(), place, contextlib.redirect_stdout(io.StringIO()), stream(seed) as seeded, observer.watch
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
        shown = ", ".join(seeded[:3]) + (f" and {len(seeded) - 3} more" if len(seeded) > 3 else "")
        seen.notes.append(
            f"the script seeds its random numbers itself ({shown}): each run mixes its own seed in, so that runs differ in "
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
                "after `backward()`; is `train` the function with the training loop?"
            )
        )
    return seen


def _choose_device(train: Callable[[int], Any], width: int, seed: int, device: str, notes: list[str]) -> str:
    check_device(device)
    if device != "auto":
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
