"""How does the real script behave at each width? It is run at every width and seed, a few optimizer steps long.

The script is the user's own: nothing in it is rewritten. Each run is seeded (torch, numpy, random). Behind seeds that
the script gives itself it has a stream of its own (`tpdyn.recorder.live.seeding`). `tpdyn.measuring.observe` observes it, and
stops it after the wanted number of optimizer steps. Runs that diverge are data. Runs that are the same, bit for bit,
count once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch

from tpdyn.measuring.assembled import assembled, joined
from tpdyn.measuring.by_program import fits
from tpdyn.measuring.measurement import Measurement
from tpdyn.measuring.observe import Observation
from tpdyn.measuring.one_law import BESIDE, LIVE, difference
from tpdyn.measuring.run import MeasuringError, check_device, live_run
from tpdyn.measuring.runs import observed_runs, program_runs
from tpdyn.program.program import Program
from tpdyn.recorder.live.surroundings import undisturbed
from tpdyn.recorder.record import record
from tpdyn.store.means import HERE, Means
from tpdyn.store.workers import check_jobs

Progress = Callable[[int, int], None]
Watch = Callable[[Callable[[], Measurement | None], int, int], None]

__all__ = ["Measurement", "MeasuringError", "check_device", "measure", "measure_more"]


def measure(
    train: Callable[[int], Any],
    widths: Sequence[int] = (64, 128, 256, 512),
    seeds: int | Sequence[int] = 8,
    steps: int = 3,
    device: str = "auto",
    progress: Progress | None = None,
    *,
    by: Literal["script", "program"] = "script",
    program: Program | None = None,
    means: Means = HERE,
    watch: Watch | None = None,
) -> Measurement:
    """Run `train(width)` at every width and seed for `steps` optimizer steps, and measure sizes and changes.

    train: an ordinary training loop; it may be long, since it is stopped. It must build its model itself, at each call.
    What it prints is dropped. widths: two or more different ones; three or more are needed to estimate orders well.
    seeds: how many (0, 1, ...), or which. steps: outputs are measured after 0, ..., steps - 1 optimizer steps.
    progress: called with (runs done, runs in all) after each run. watch: likewise, but its first argument is a function
    that collects the runs so far.

    device: "script" leaves it to the script. "cpu", "cuda", "cuda:1", ... make it torch's default device. Models,
    `torch.randn`, `torch.tensor` and the like then use it where the script names none. "auto" is "cuda" if there is a
    GPU and a trial run of the script works with it. Else it is "script".

    by: "script" runs the script. "program" runs it for three seeds at each width. Its recorded program makes the
    others, at least 16, at little cost. Where a test tells the two apart, the runs are live ones, and the notes say so
    (`tpdyn.measuring.one_law`). Widths at which a dense run exceeds the memory are simulated. program: the recorded one, if
    there is one. means: where finished runs are kept, and how many are made at once (`tpdyn.store.means`).

    Raises ValueError for bad arguments. Raises MeasuringError when the script raises or leaves (naming width, seed and
    its line), or makes fewer optimizer steps. Raises it, too, when the script does not depend on the width. The
    finished runs are in its `partial`.

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
    if by not in ("script", "program"):
        raise ValueError(
            f"by is {by!r}; expected 'script' (live runs) or 'program' (the recorded program, and few live runs)"
        )
    check_jobs(means.jobs, means.backend)
    notes: list[str] = []
    with undisturbed():
        device_used = _choose_device(train, min(widths), kept[0], device, notes)
        if by == "script":
            return _live(train, widths, kept, steps, device_used, notes, means, progress, watch, program)
        program = record(train, steps=steps) if program is None else program
        return _by_program(train, program, widths, kept, steps, device_used, notes, means, progress)


def _live(
    train: Callable[[int], Any],
    widths: tuple[int, ...],
    seeds: tuple[int, ...],
    steps: int,
    device: str,
    notes: list[str],
    means: Means,
    progress: Progress | None,
    watch: Watch | None = None,
    program: Program | None = None,
) -> Measurement:
    """Make live runs: at the first width all seeds, which shows what differs, then everything else."""
    runs: dict[tuple[int, int], Observation] = {}
    total = len(widths) * len(seeds)

    def so_far() -> Measurement | None:
        return assembled(widths, seeds, steps, dict(sorted(runs.items())), device, notes) if runs else None

    def make(wanted: list[tuple[int, int]]) -> None:
        try:
            for pair, seen in observed_runs(train, wanted, steps, device, means, program=program):
                runs[pair] = seen
                if progress is not None:
                    progress(len(runs), total)
                if watch is not None:
                    watch(so_far, len(runs), total)
        except MeasuringError as error:
            raise MeasuringError(str(error), so_far()) from error.__cause__

    make([(widths[0], seed) for seed in seeds])
    kept = _different(widths[0], seeds, runs, notes)
    total = len(widths) * len(kept)
    make([(widths[1], kept[0])])
    _check_width_matters(widths, kept, runs, so_far)
    make([(width, seed) for width in widths[1:] for seed in kept if (width, seed) not in runs])
    ordered = {(width, seed): runs[width, seed] for width in widths for seed in kept}
    return assembled(widths, kept, steps, ordered, device, notes)


def _by_program(
    train: Callable[[int], Any],
    program: Program,
    widths: tuple[int, ...],
    seeds: tuple[int, ...],
    steps: int,
    device: str,
    notes: list[str],
    means: Means,
    progress: Progress | None,
) -> Measurement:
    """Make few live runs at each width, and many of the program. Live runs alone if both are not of one law."""
    dense = tuple(width for width in widths if fits(program, width))
    live_seeds = seeds[: max(LIVE, 2)] if len(seeds) >= LIVE else (*seeds, *further(seeds, LIVE - len(seeds)))
    others = seeds[len(live_seeds) :]
    others = (*others, *further((*live_seeds, *others), BESIDE - len(others)))
    total = len(dense) * len(live_seeds) + len(widths) * len(others)
    done = 0

    def one_more(*_: int) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(min(done, total), total)

    if len(dense) < 2:
        raise ValueError(
            f"widths are {widths}, of which live runs fit into memory at {dense or 'none'}. Expected at least two where the "
            "script itself can be run"
        )
    live = _live(train, dense, live_seeds, steps, device, list(notes), means, one_more, program=program)
    where = "cpu" if device == "script" else device
    dtype = torch.float32 if np.nanmax(live.epsilon, initial=0.0) > torch.finfo(torch.float64).eps else torch.float64
    runs: dict[tuple[int, int], Observation] = {}
    for width in widths:
        for seed, seen in program_runs(program, width, others, steps, means, dtype=dtype, device=where):
            runs[width, seed] = seen
            one_more()
    why = "the live runs are all the same"
    if len(live.seeds) == len(live_seeds):
        at = assembled(dense, others, steps, {pair: run for pair, run in runs.items() if pair[0] in dense}, device, [])
        found = difference(live, at)
        if found is None:
            recorded = assembled(widths, others, steps, runs, device, [])
            text = (
                f"{len(others)} runs at each width are of the recorded program, {len(live_seeds)} are live. A permutation test "
                "does not tell them apart"
            )
            return replace(joined(live, recorded), notes=(*live.notes, text, *recorded.notes))
        why = f"they differ in {found.told()}"
    notes.append(f"the runs are live ones: those of the recorded program are not of the same law, {why}")
    return _live(train, dense, seeds, steps, device, notes, means, progress, program=program)


def further(seeds: Sequence[int], count: int) -> tuple[int, ...]:
    """Return the next seeds, so many, that are not among the given ones."""
    start = max(seeds) + 1
    return tuple(range(start, start + max(0, count)))


def measure_more(
    train: Callable[[int], Any],
    known: Measurement,
    widths: Sequence[int],
    seeds: Sequence[int],
    *,
    means: Means = HERE,
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
        pairs = tuple(sorted({width for width, _ in runs})), tuple(dict.fromkeys(seed for _, seed in runs))
        return joined(known, assembled(*pairs, known.steps, runs, known.device, [])) if runs else known

    with undisturbed():
        try:
            for pair, seen in observed_runs(train, missing, known.steps, known.device, means, on=on):
                runs[pair] = seen
                if progress is not None:
                    progress(len(runs), len(missing))
        except MeasuringError as error:
            raise MeasuringError(str(error), all_of_them()) from error.__cause__
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
    """Return the seeds whose runs at that width differ; drop the others from `runs`, and note it."""
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


def _choose_device(train: Callable[[int], Any], width: int, seed: int, device: str, notes: list[str]) -> str:
    check_device(device)
    if device != "auto":
        return device
    if not torch.cuda.is_available():
        return "script"
    try:
        live_run(train, width, seed, 1, "cuda")
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
