"""What is the tensor program of a training script? Record it at several widths, fit, write canonically, verify.

    program = record(train, widths=(16, 24, 40), steps=3)

`train(width)` is an ordinary training loop. It is run once at each width and stopped after the wanted number of optimizer
steps. The recordings are lowered to the closed instructions and joined to one program in a symbolic width. Then the program
is checked against a further recording at a width that it has not seen.
"""

from __future__ import annotations

import contextlib
import gc
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch

from tpdyn.exponents import Scaling
from tpdyn.program.evaluation.views import from_view
from tpdyn.program.instructions import Leaf
from tpdyn.program.program import Program
from tpdyn.recorder.built.widened import built_model
from tpdyn.recorder.canonical import Canonical, canonical
from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.fitting.declared import check_finite, is_dim
from tpdyn.recorder.fitting.fake import Numbers, Signed, check_signatures, noting, signatures, signatures_at
from tpdyn.recorder.fitting.few import APART, Redrawn, seeds_for
from tpdyn.recorder.fitting.verify import replay_in_double, shapes_of, verify_program
from tpdyn.recorder.fitting.widths import check_same_structure, check_widths, fit
from tpdyn.recorder.live.choices import Choices
from tpdyn.recorder.live.recorder import Recorder, record_tape
from tpdyn.recorder.live.replay import same, verify_tape
from tpdyn.recorder.live.seeding import stream
from tpdyn.recorder.live.tape import Tape
from tpdyn.recorder.lowered import Lowered
from tpdyn.recorder.lowering import lower

__all__ = ["default_widths", "joined", "record", "recording"]

WIDTHS = (16, 24, 40)
"""At which a script is recorded unless other widths are given."""


def record(
    train: Callable[[int], object],
    widths: Sequence[int] | None = None,
    steps: int = 3,
    seed: int = 0,
    verify: bool = True,
    at: int | None = None,
    finite: Sequence[str] = (),
    progress: Callable[[str], object] | None = None,
) -> Program:
    """Return the program of a training script in a symbolic width.

    Args:
        train: `train(width)` builds a model of that width and trains it for at least `steps` steps; it is stopped there.
        widths: (16, 24, 40) unless given; at least two, better three. Avoid coincidences (the batch size, only powers of
            two). The script must accept them (multiples of the number of heads, say).
        steps: how many optimizer steps to unroll.
        seed: of torch, numpy and random at the start of each run.
        verify: check each recording against the live script, and the program at a further width.
        at: a large width, 100,000 say, at which shapes and constants are compared, too. Fake tensors do it, which need no
            memory (see `tpdyn.recorder.fitting.fake`).
        finite: what must not grow. Give dims as the table of dims prints them, "qkv.weight:0", or numbers that modules or
            their configs keep, "head_dim". One that does grow is refused (see `tpdyn.recorder.fitting.declared`).
        progress: is told, in words, what is being done.

    Raises:
        RecordingError: the script raises, takes no optimizer step, or is not reproduced by its recording.
        FitError: the recordings do not make one program in the width.
        LoweringError: operations without a rule.
    """
    if isinstance(steps, bool) or steps < 1:
        raise RecordingError(f"steps = {steps}: expected at least 1 optimizer step, try 3")
    tell = progress or (lambda text: None)
    widths = check_widths(widths or default_widths(train))
    if at is not None and (isinstance(at, bool) or at <= max(widths)):
        raise RecordingError(f"at = {at}: expected a width above the recorded ones, {max(widths)} at most; try 100000")
    how = How(steps, seed, verify, evaluations=True if at is not None else None)  # numbers noted must be asked for once
    try:
        return _recorded(train, widths, how, at, finite, tell)
    except _OtherPasses:
        return _recorded(train, widths, replace(how, unused=False, choices=Choices()), at, finite, tell)


@final
@dataclass(frozen=True)
class How:
    """How a script is recorded at each of its widths; evaluations, unused and choices as in `record_tape`."""

    steps: int
    seed: int
    verify: bool = True
    evaluations: bool | None = None
    unused: bool = True
    choices: Choices = field(default_factory=Choices)

    def tape(self, train: Callable[[int], object], width: int, numbers: Sequence[str] = ()) -> Tape:
        """Record once."""
        return record_tape(
            train,
            width,
            self.steps,
            self.seed,
            numbers,
            evaluations=self.evaluations,
            unused=self.unused,
            choices=self.choices,
        )


class _OtherPasses(Exception):
    """The forward passes of a width are not those of another."""


def _recorded(
    train: Callable[[int], object],
    widths: tuple[int, ...],
    how: How,
    at: int | None,
    finite: Sequence[str],
    tell: Callable[[str], object],
) -> Program:
    built = built_model(train)
    lowereds: list[Lowered] = []
    signed: list[list[Signed]] = []
    numbers = Numbers()
    kept: list[dict[str, frozenset[int]]] = []
    asked = [name for name in finite if not is_dim(name)]
    marks: list[str] | None = None
    for width in widths:
        tell(f"recording at width {width}")
        with noting(numbers) if at is not None and not lowereds else contextlib.nullcontext():
            tape = how.tape(train, width, asked)
        how = replace(how, evaluations=tape.evaluations)
        names = [mark.name for mark in tape.marks]
        if how.unused and at is None and marks not in (None, names):
            raise _OtherPasses
        marks = names
        kept.append(tape.numbers)
        if at is not None:
            signed.append(signatures(tape))
        lowereds.append(_lowered(tape, verify=how.verify))
        del tape  # the next one needs its memory
    tell("fitting the width")
    with _uncollected():
        fitted = fit(lowereds)
    if fitted.few and not built:
        tell(f"drawing {', '.join(fitted.few)} at more seeds")
        fitted = fit(lowereds, redrawn(train, widths, how, fitted.few))
    with _uncollected():
        form = canonical(fitted)
    if declared := check_finite(form.program, finite, kept):
        form = Canonical(replace(form.program, notes=(*form.program.notes, *declared)), form.views)
    if how.verify:
        width = built.base if built else further_width(widths, form.program)
        tell(f"verifying at width {width}")
        guarded = check_at(built.original if built else train, form, lowereds[0], width, how, laws=not built)
        form = Canonical(replace(form.program, verified=width, guarded=guarded), form.views)
    if at is not None:
        tell(f"comparing shapes and constants at width {at}")
        growing = check_signatures(widths, signed, at, signatures_at(train, at, how.steps, how.seed, numbers))
        note = f"shapes and constants were compared at width {at}, too: {growing} numbers that depend on the width"
        form = Canonical(replace(form.program, notes=(*form.program.notes, note)), form.views)
    program = replace(form.program, arrays=common_arrays(form, lowereds))
    return replace(program, notes=(*built.assumptions, *program.notes)) if built else program


def default_widths(train: Callable[[int], object]) -> tuple[int, ...]:
    """Return the widths at which a script is recorded unless others are given; a model that exists has its own."""
    built = built_model(train)
    return built.widths if built else WIDTHS


def lowered_at(train: Callable[[int], object], width: int, how: How, *, double: bool = False) -> Lowered:
    """Record once, and lower; with `double`, with the live values of the script in float64, to compare with."""
    return _lowered(how.tape(train, width), verify=how.verify, double=double)


def _lowered(tape: Tape, *, verify: bool, double: bool = False) -> Lowered:
    if verify:
        verify_tape(tape)
    tape = replace(tape, live=replay_in_double(tape) if double else {})
    with _uncollected():
        return lower(tape)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Pause Python's search for cycles. What is written down stays, and each search would walk through all of it in vain."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def check_at(
    train: Callable[[int], object], form: Canonical, first: Lowered, width: int, how: How, *, laws: bool = True
) -> dict[str, float]:
    """Record at a further width and compare; see `tpdyn.recorder.fitting.verify`."""
    try:
        held_out = lowered_at(train, width, replace(how, verify=True), double=True)
    except RecordingError as error:
        raise RecordingError(
            f"the program could not be verified at the further width {width}, which the script does not accept: {error}\n"
            "Give widths whose greatest common divisor the script accepts (multiples of the number of heads), or "
            "verify=False"
        ) from error
    check_same_structure(first, held_out, laws=laws)
    return verify_program(form, held_out)


def redrawn(
    train: Callable[[int], object], widths: Sequence[int], how: How, few: Mapping[str, int]
) -> dict[str, Redrawn]:
    """Draw initial parameters at several seeds, at the smallest width and at one far from it (or at the largest).

    few: the number of entries of each. Those that are not met in the first step are left out.
    """
    how = replace(how, steps=1, verify=False)

    def drawn(width: int, seed: int) -> dict[str, torch.Tensor]:
        with stream(seed):
            lowered = lowered_at(train, width, replace(how, seed=seed))
        leaves = ((at, lowered.statements[at].instruction) for at in lowered.leaf_values)
        return {
            leaf.name: lowered.leaf_values[at] for at, leaf in leaves if isinstance(leaf, Leaf) and leaf.name in few
        }

    both = (widths[0], APART * widths[0])
    seeds = range(how.seed + 1, how.seed + 1 + seeds_for(min(few.values())))
    try:
        far = [drawn(both[1], seed) for seed in seeds]
    except RecordingError:
        both = (widths[0], widths[-1])
        far = [drawn(both[1], seed) for seed in seeds]
    near = [drawn(both[0], seed) for seed in seeds]
    met = [name for name in few if all(name in draws for draws in (*near, *far))]
    return {name: Redrawn(both, ([draws[name] for draws in near], [draws[name] for draws in far])) for name in met}


def further_width(widths: Sequence[int], program: Program | None = None) -> int:
    """Return a width to verify at: a prime multiple of what all widths are multiples of, not among them.

    Let a dim of the program be a root of the width, say. Then it is the first multiple at which all dims are whole.

    >>> further_width((16, 24, 40))
    56
    """
    unit = math.gcd(*widths)
    factor = min(widths) // unit + 1
    while unit * factor in widths or factor < 3 or any(factor % k == 0 for k in range(2, factor)):
        factor += 1
    dims = {dim for statement in program.statements for dim in statement.shape} if program else set()
    others = (unit * k for k in range(min(widths) // unit + 1, FARTHEST * max(widths) // unit))
    fitting = (width for width in others if width not in widths and all(_is_whole(dim, width) for dim in dims))
    return unit * factor if all(_is_whole(dim, unit * factor) for dim in dims) else next(fitting, unit * factor)


FARTHEST = 8
"""How many times as large as the largest recorded width a width may be at which a program is verified."""


def _is_whole(dim: Scaling, width: int) -> bool:
    try:
        return dim.size_at(width) > 0
    except ValueError:
        return False


def common_arrays(form: Canonical, lowereds: Sequence[Lowered]) -> dict[str, Any]:
    """Collect arrays and data that are the same at every width, by the name of their leaf in the program."""
    arrays: dict[str, Any] = {}
    first = lowereds[0]
    for position, value in first.leaf_values.items():
        instruction = first.statements[position].instruction
        view = form.views.get(position)
        if view is None or not isinstance(instruction, Leaf) or instruction.kind in ("parameter", "random"):
            continue
        if instruction.law.is_number:
            continue
        others = [lowered.leaf_values[position] for lowered in lowereds[1:]]
        if not all(same(other, value) for other in others):
            continue
        for piece, tensor in from_view(view, value, shapes_of(form.program, view, first.width)).items():
            arrays[form.program.statements[piece].name] = tensor.detach().cpu().numpy().copy()
    return arrays


class recording:
    """Records the first iterations of an existing loop, at the one width that it has.

    `with recording(steps=3) as recorder: <loop>` leaves the block after `steps` optimizer steps (None: at its end). Then
    `recorder.program` is the program with the numbers of that width. It can be shown, stored and run. One width does not
    tell which dims and constants grow. For a prediction, `record` at several, or take `joined` of several such recordings,
    each with its `width`. on_ready: called with the recorder when the block has ended, unless it raised or made no
    optimizer step. Use it to join the recording with earlier ones, predict, log.
    """

    def __init__(
        self, steps: int | None = None, *, width: int = 0, on_ready: Callable[[recording], object] | None = None
    ) -> None:
        if steps is not None and (isinstance(steps, bool) or steps < 1):
            raise RecordingError(f"steps = {steps}: expected at least 1 optimizer step, or None for the whole block")
        self._recorder = Recorder(width, steps)
        self._on_ready = on_ready

    def __enter__(self) -> recording:
        self._recorder.__enter__()
        return self

    def __exit__(self, *problem: Any) -> bool | None:
        handled = self._recorder.__exit__(*problem)
        if self._on_ready is not None and (problem[0] is None or handled) and self._recorder.tape.steps:
            self._on_ready(self)
        return handled

    @property
    def tape(self) -> Tape:
        """The operations of the block. Raises RecordingError if no optimizer step was completed."""
        tape = self._recorder.tape
        if tape.steps == 0:
            raise RecordingError("no optimizer step was completed inside the block; expected at least one")
        return tape

    @property
    def program(self) -> Program:
        """The program of the block. Raises RecordingError if no optimizer step was completed."""
        lowered = lower(self.tape)
        form = canonical(fit([lowered]))
        return replace(form.program, arrays=common_arrays(form, [lowered]))


def joined(recordings: Sequence[recording]) -> Program:
    """Join several recordings of one loop, each at its own `width`, to one program in a symbolic width.

    Each is verified by replay. Of four or more the widest is left out of the fit: it is what the program is verified
    against. The laws of parameters that existed before a recording began are measured, not read (notes say so).

    Raises:
        RecordingError, FitError, LoweringError: as `record`.
    """
    tapes = sorted((each.tape for each in recordings), key=lambda tape: tape.width)
    widths = check_widths([tape.width for tape in tapes])
    if len(widths) < len(tapes):
        raise RecordingError(f"widths {', '.join(str(tape.width) for tape in tapes)}: expected each once")
    held_out = tapes.pop() if len(tapes) > 3 else None
    lowereds = [_lowered(tape, verify=True) for tape in tapes]
    with _uncollected():
        form = canonical(fit(lowereds))
    if held_out is not None:
        last = _lowered(held_out, verify=True, double=True)
        check_same_structure(lowereds[0], last)
        guarded = verify_program(form, last)
        form = Canonical(replace(form.program, verified=held_out.width, guarded=guarded), form.views)
    return replace(form.program, arrays=common_arrays(form, lowereds))
