"""How is a script checked from end to end? Record it, predict, run it at real widths, compare; one outcome.

This is all that `tpdyn check` decides: at which widths to record, what an outcome means as an exit status, what goes
into the JSON verdict. The command line only turns words into arguments and outcomes into words.
"""

from __future__ import annotations

import contextlib
import enum
import importlib.util
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from tpdyn.claims.report import Report, compare
from tpdyn.exponents import Order
from tpdyn.measuring.first_steps import after_first_steps, same_bits
from tpdyn.measuring.measure import MeasuringError, measure
from tpdyn.parametrizing.cover import PhaseCells, phase_cells
from tpdyn.parametrizing.derive import derive
from tpdyn.parametrizing.diagram import PhaseDiagram, phase_diagram
from tpdyn.parametrizing.families import differences
from tpdyn.parametrizing.fix import Fix, fix
from tpdyn.parametrizing.parametrization import GAUGES, Parametrization
from tpdyn.parametrizing.slices import Limits
from tpdyn.program.program import Program
from tpdyn.readings.interpret import OutsideTheory
from tpdyn.readings.orders.predict import predict
from tpdyn.readings.orders.prediction import Prediction, Reason, Regime
from tpdyn.recording.construction import Constructions
from tpdyn.recording.errors import RecordingError
from tpdyn.recording.frames import is_user_file
from tpdyn.recording.lowering.values import LoweringError
from tpdyn.recording.record import default_widths, record
from tpdyn.recording.script import BadTarget, load
from tpdyn.recording.standing_in import standing_in
from tpdyn.recording.widths import FitError
from tpdyn.tuning.optimum import Transfer
from tpdyn.tuning.sweep import SweepError
from tpdyn.tuning.transfer import transfer

Progress = Callable[[str, int, int], None]


@final
class Exit(enum.IntEnum):
    """The exit status of `tpdyn check`; of `tpdyn fix` (UNVERIFIED: its patch is not all that is needed)."""

    OK = 0
    UNEXPECTED = 1
    BAD_INPUT = 2
    UNSTABLE = 10
    TRIVIAL = 11
    DISAGREEMENT = 12
    OUTSIDE = 13
    ANOTHER_REGIME = 14
    UNVERIFIED = 15
    INTERRUPTED = 130


class BadInput(ValueError):
    """What was asked for cannot be checked: the message says what was given, what was expected, what to try."""


class BeyondTheory(RuntimeError):
    """The script does something that the theory, or the recording, has no rule for; the message names its line."""


@final
@dataclass(frozen=True)
class Checked:
    """A script's prediction and, if it was measured, the report that compares it with the runs.

    required: the regime that the script was required to be in, if any.
    """

    prediction: Prediction
    report: Report | None = None
    required: Regime | None = None

    @property
    def exit(self) -> Exit:
        """The status: what stands against the verdict comes first, then the regime."""
        if self.prediction.outside:
            return Exit.OUTSIDE
        if self.report is not None and not self.report.agrees:
            return Exit.DISAGREEMENT
        if self.required is not None:
            return Exit.OK if self.prediction.regime is self.required else Exit.ANOTHER_REGIME
        return {Regime.UNSTABLE: Exit.UNSTABLE, Regime.TRIVIAL: Exit.TRIVIAL}.get(self.prediction.regime, Exit.OK)

    def to_dict(self) -> dict[str, Any]:
        """The JSON verdict; what was not measured is null."""
        return self.report.to_dict() if self.report is not None else prediction_to_dict(self.prediction)


def check(
    train: Callable[[int], Any],
    *,
    widths: Sequence[int] = (64, 128, 256, 512),
    record_widths: Sequence[int] | None = None,
    steps: int = 3,
    seeds: int = 8,
    device: str = "auto",
    measured: bool = True,
    require: str = "",
    at: int | None = None,
    finite: Sequence[str] = (),
    progress: Progress | None = None,
) -> Checked:
    """Record `train(width)`, predict, run it at `widths`, compare.

    require: the regime that the script must be in ("feature-learning", "kernel", ...), for its exit status; any unless given.
    at, finite: a large width at which the shapes and constants of the recording are compared, too; what must not grow (see
    `tpdyn.record`).
    record_widths: three small widths at which the script is recorded, (16, 24, 40) unless given. progress: called with
    (what is being done, how much of it is done, how much there is). The script's output is passed on (to standard
    error) from its first run only: it is run dozens of times.

    Raises `BadInput` when the script raises, makes no optimizer step, and the like; `BeyondTheory` when it does
    something without a rule.
    """
    required = _regime(require) if require else None
    if measured and len(set(widths)) < 2:
        raise BadInput(
            f"widths are {', '.join(map(str, widths)) or 'none'}; expected at least two different ones, better four that "
            "double, e.g. 64,128,256,512: one width alone shows no exponent"
        )
    tell = progress or (lambda what, done, total: None)
    recorded = tuple(record_widths or default_widths(train))
    watched = _Watched(train, lambda done: tell("recording", done, len(recorded) + 1))
    tell("recording", 0, len(recorded) + 1)
    with _translated():
        program = record(watched, widths=recorded, steps=steps, at=at, finite=finite)
    if program.steps < steps:
        raise BadInput(
            f"the script ended after {program.steps} optimizer steps; expected {steps} (some orders appear only once every "
            "layer has been updated): let it train longer, or ask for fewer with --steps"
        )
    tell("predicting", 0, 1)
    with _translated():
        prediction = predict(program)
    tell("predicting", 1, 1)
    if not measured:
        return Checked(prediction, required=required)
    with _translated():
        measurement = measure(
            watched,
            widths=tuple(widths),
            seeds=seeds,
            steps=steps,
            device=device,
            progress=lambda done, total: tell("measuring", done, total),
        )
        return Checked(prediction, compare(prediction, measurement), required)


def recorded(
    train: Callable[[int], Any],
    *,
    widths: Sequence[int] | None = None,
    steps: int = 3,
    progress: Progress | None = None,
) -> Program:
    """A script as a program in a symbolic width; failures of the script are `BadInput` or `BeyondTheory`."""
    tell = progress or (lambda what, done, total: None)
    sizes = tuple(widths or default_widths(train))
    tell("recording", 0, len(sizes) + 1)
    watched = _Watched(train, lambda done: tell("recording", done, len(sizes) + 1))
    with _translated():
        return record(watched, widths=sizes, steps=steps)


def derived(program: Program, gauge: str = "no multipliers") -> tuple[Parametrization, dict[str, tuple[str, ...]]]:
    """The maximal update of a program, and how the script differs from each named family.

    gauge: how it is written, one of `tpdyn.parametrizing.parametrization.GAUGES`.
    """
    known = {each.replace(" ", "-"): each for each in GAUGES}
    if gauge.replace(" ", "-") not in known:
        raise BadInput(f"--gauge {gauge}: no such gauge; expected one of: {', '.join(known)}")
    with _translated():
        return derive(program, gauge=known[gauge.replace(" ", "-")]), differences(program)


@final
@dataclass(frozen=True)
class Fixed:
    """The edits of a script, and whether they do what they are for.

    derived: what the script is to become. again: what was derived from the edited script, None where that was not tried or
    did not go (`problem` says why). neutral: whether at the base width the first steps are those of the script as it was, bit
    for bit; None where that could not be compared.
    """

    fix: Fix
    derived: Parametrization
    again: Parametrization | None = None
    problem: str = ""
    base_width: int = 256
    neutral: bool | None = None

    @property
    def nothing_to_change(self) -> bool:
        """Whether the script is there already."""
        return self.derived.maximal and not self.derived.edits()

    @property
    def verified(self) -> bool:
        """Whether the edited script learns features, needs no further edit, and is the same at the base width."""
        there = self.again is not None and self.again.maximal and not self.again.edits()
        return there and self.neutral is not False

    @property
    def exit(self) -> Exit:
        """The status: a patch that is not verified is no success."""
        return Exit.OK if self.nothing_to_change or self.verified else Exit.UNVERIFIED

    def told(self) -> str:
        """What the patch does and whether it was verified, in words."""
        if self.nothing_to_change:
            return "nothing to change: the script is in the maximal update parametrization already"
        lines = ["to reach the maximal update:", *(f"  {edit}" for edit in self.derived.edits())]
        elsewhere = "" if self.fix.folder == Path.cwd().resolve() else f", to be applied in {self.fix.folder}"
        lines += [f"the patch{elsewhere}:", *(f"  {edit}" for edit in self.fix.edits or ("none",))]
        if self.fix.by_hand:
            lines += ["left to you:", *(f"  {edit}" for edit in self.fix.by_hand)]
        if self.verified:
            lines.append(
                "verified: the patched script was recorded again; it learns features, nothing is left to change"
            )
        else:
            lines.append(f"NOT verified: {self.problem or 'the patched script was recorded again'}")
            if self.again is not None:
                lines += [f"  it is: {self.again.regime.value}", *(f"  {edit}" for edit in self.again.edits())]
        if self.again is not None and not self.problem:
            lines.append(
                {
                    True: f"at width {self.base_width} its first steps are those of the script as it is, bit for bit",
                    False: f"at width {self.base_width} its first steps are NOT those of the script as it is",
                    None: f"at width {self.base_width} the two could not be compared (not accepted there, or random)",
                }[self.neutral]
            )
        return "\n".join(lines)


def fixed(
    target: str,
    width_args: str | Sequence[str] | None = None,
    arguments: Sequence[str] = (),
    settings: Sequence[str] = (),
    *,
    widths: Sequence[int] | None = None,
    steps: int = 3,
    base_width: int = 256,
    progress: Progress | None = None,
) -> Fixed:
    """The edits that bring a script to its maximal update, recorded again with them; no file is touched.

    base_width: where nothing is to change. The rest is as in `recorded`, and as in `tpdyn.recording.script.load`.
    """
    made = Constructions(load(target, width_args, arguments, settings, widths=widths or ()))
    program = recorded(made, widths=widths, steps=steps, progress=progress)
    with _translated():
        wanted = derive(program)
        edits = fix(program, wanted, made.found, base_width)
    if not wanted.edits():
        return Fixed(edits, wanted, wanted, "no edit of these kinds helps further")
    if edits.by_hand:
        return Fixed(edits, wanted, problem="the patch is not all that is needed")
    try:
        with standing_in(edits.after):
            patched = load(target, width_args, arguments, settings)
            program = recorded(patched, widths=widths, steps=steps, progress=progress)
            with _translated():
                again = derive(program)
            after = _first_steps(patched, base_width, steps)
    except (BadInput, BeyondTheory, BadTarget) as error:
        return Fixed(edits, wanted, problem=f"the patched script could not be recorded: {error}")
    plain = load(target, width_args, arguments, settings)
    before = _first_steps(plain, base_width, steps)
    neutral = None if before is None or after is None else same_bits(before, after)
    if neutral is False and before is not None:
        once_more = _first_steps(plain, base_width, steps)
        neutral = False if once_more is not None and same_bits(before, once_more) else None
    return Fixed(edits, wanted, again, "", base_width, neutral)


def _first_steps(train: Callable[[int], Any], width: int, steps: int) -> dict[str, Any] | None:
    """The parameters after the first steps; None where the script does not run at that width."""
    quiet = _Watched(train, lambda done: None)
    quiet.silent = True
    try:
        with _translated():
            return after_first_steps(quiet, width, steps)
    except (BadInput, BeyondTheory):
        return None


def phases(
    program: Program,
    x: str = "c",
    y: str = "",
    progress: Progress | None = None,
    *,
    around: str = "script",
    through: Sequence[str] = (),
    x_limits: Limits | None = None,
    y_limits: Limits | None = None,
) -> PhaseDiagram:
    """The phase diagram of a program on a slice; an unknown name of an axis or point is `BadInput`."""
    tell = progress or (lambda what, done, total: None)
    with _translated():
        return phase_diagram(
            program, x, y, around=around, through=through, x_limits=x_limits, y_limits=y_limits,
            progress=lambda done: tell("reading", done, done),
        )  # fmt: skip


def cells(
    program: Program,
    symbols: Sequence[str],
    progress: Progress | None = None,
    *,
    around: str = "script",
    limits: Limits = (-1, 2),
) -> PhaseCells:
    """All cells of a slice with symbols such as 'c=c' and 'b=out.weight:b'; what names nothing is `BadInput`."""
    tell = progress or (lambda what, done, total: None)
    named = dict(word.partition("=")[::2] for word in symbols)
    if len(named) < len(symbols) or not all(named.values()):
        raise BadInput(
            f"--symbol {', '.join(symbols)}: expected different names with what they move, e.g. c=c, b=out.weight:b"
        )
    with _translated():
        return phase_cells(
            program, named, around=around, limits=limits, progress=lambda done: tell("reading", done, done)
        )


def check_picture_path(path: Path, option: str = "--save") -> None:
    """Refuse a picture that cannot be drawn, before any long work."""
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise BadInput(f"{option} {path}: expected a file that ends in .png, .svg or .pdf")
    _check_file(path, option)
    check_pictures(f"{option} {path}")


def check_pictures(option: str) -> None:
    """Refuse an option that needs pictures, before any long work, where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise BadInput(f"{option}: a picture needs matplotlib; install it: pip install 'tpdyn[pictures]'")


def _regime(text: str) -> Regime:
    known = {regime.value.replace(" ", "-"): regime for regime in Regime}
    if text.replace(" ", "-") not in known:
        raise BadInput(f"--require {text}: no such regime; expected one of: {', '.join(known)}")
    return known[text.replace(" ", "-")]


def transferred(train: Callable[[int], Any], widths: Sequence[int], factors: Sequence[float], **how: Any) -> Transfer:
    """`tpdyn.transfer`, with every way in which the script can fail as one of the two known errors."""
    with _translated():
        return transfer(train, widths, factors, **how)


def script_widths(widths: Sequence[int], record_widths: Sequence[int] | None) -> tuple[int, ...]:
    """At which widths to record a script that is run as it is: those given, else the three smallest to be measured.

    A script may refuse other widths (a multiple of its number of heads, say); those the user names it takes.
    """
    if record_widths:
        return tuple(record_widths)
    if len(set(widths)) < 3:
        raise BadInput(
            f"widths are {', '.join(map(str, widths))}; a script is recorded at the three smallest: give three or "
            "more, or --record-widths, e.g. 32,48,64"
        )
    return tuple(sorted(set(widths))[:3])


def prediction_to_dict(prediction: Prediction) -> dict[str, Any]:
    """The JSON verdict of a prediction alone."""
    rows = [row for row in prediction.rows() if row.kind in ("module", "output")]
    modules = []
    for name in dict.fromkeys(row.name for row in rows):
        mine = [row for row in rows if row.name == name]
        modules.append(
            {
                "name": name,
                "size_order": _text(mine[0].size),
                "change_order": _text(max((row.change for row in mine if row.change is not None), default=None)),
                "measured_change_order": None,
                "verdict": None,
                "source": str(mine[0].source),
            }
        )
    return {
        "regime": prediction.regime.value,
        "agrees": None,
        "modules": modules,
        "reasons": [reason_text(reason) for reason in (*prediction.reasons, *prediction.outside)],
    }


def reason_text(reason: Reason) -> str:
    """A reason as one sentence with its place and its remedy."""
    where = f" [{reason.source}]" if reason.source.file else ""
    return f"{reason.text}{where}" + (f" Fix: {reason.fix}" if reason.fix else "")


def beyond_to_dict(message: str) -> dict[str, Any]:
    """The JSON verdict of a script for which there is no prediction."""
    return {"regime": None, "agrees": None, "modules": [], "reasons": [message]}


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write a verdict, at once or not at all; raises OSError if the folder cannot be written."""
    handle, temporary = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2, allow_nan=False)
            file.write("\n")
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def check_json_path(path: Path) -> None:
    """Refuse a JSON file that cannot be written, before any long work."""
    _check_file(path, "--json")


def _check_file(path: Path, option: str) -> None:
    folder = path.absolute().parent
    if path.is_dir():
        raise BadInput(f"{option} {path} is a folder; expected a file, e.g. {path / 'verdict'}{path.suffix or '.json'}")
    if not folder.is_dir():
        raise BadInput(f"{option} {path}: the folder {folder} does not exist; make it first")
    if not os.access(folder, os.W_OK):
        raise BadInput(f"{option} {path}: the folder {folder} cannot be written; give another file")


class _Watched:
    """The user's function: its runs are counted, its output is passed on from the first run only."""

    def __init__(self, train: Callable[[int], Any], done: Callable[[int], None]) -> None:
        self._train = self.__wrapped__ = train
        self._done = done
        self._runs = 0
        self.silent = False

    def __call__(self, width: int) -> None:
        self._runs += 1
        with contextlib.ExitStack() as stack:
            if self._runs == 1 and not self.silent:
                stack.enter_context(contextlib.redirect_stdout(sys.stderr))
            else:
                nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                stack.enter_context(contextlib.redirect_stdout(nowhere))
            try:
                self._train(width)
            except SystemExit as leaving:
                if leaving.code not in (None, 0):
                    raise BadInput(f"at width {width} the script left with status {leaving.code!r}") from leaving
            finally:
                self._done(self._runs)


@contextlib.contextmanager
def _translated() -> Any:
    """Every way in which the user's script can fail, as one of the two errors that the command line knows."""
    try:
        yield
    except (OutsideTheory, LoweringError) as error:
        raise BeyondTheory(str(error)) from error
    except (RecordingError, MeasuringError, SweepError) as error:
        raise BadInput(str(error)) from error
    except FitError as error:
        raise (BeyondTheory if error.outside else BadInput)(str(error)) from error
    except ValueError as error:
        if _is_ours(error) or isinstance(error, BadInput):
            raise BadInput(str(error)) from error
        raise BadInput(_blame(error)) from error
    except Exception as error:
        if _is_ours(error):
            raise
        raise BadInput(_blame(error)) from error


def _is_ours(error: BaseException) -> bool:
    """Whether the error was raised below the user's code by this package, rather than by the user's own line."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    users = [index for index, file in enumerate(files) if is_user_file(file)]
    package = str(Path(__file__).parent)
    return not users or any(file.startswith(package) for file in files[users[-1] :])


def _blame(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_user_file(frame.filename)]
    place = f"\n  at {frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}" if frames else ""
    return f"the script raised {type(error).__name__}: {error}{place}"


def _text(order: Order) -> str | None:
    return None if order is None else str(order)


def name_of(target: str) -> str:
    """The folder name of a target's logs: `examples/digits_mlp.py:train` is `digits_mlp-train`."""
    file, _, function = target.partition(".py")
    return Path(file).name + (f"-{function[1:]}" if function.startswith(":") else "")


def status_of(error: BaseException) -> Exit | None:
    """The exit status of an error that is the user's to mend; None for one that is not."""
    if isinstance(error, BeyondTheory):
        return Exit.OUTSIDE
    # An unwritable file or folder is an OSError; a target that cannot be loaded a BadTarget.
    return Exit.BAD_INPUT if isinstance(error, BadInput | BadTarget | OSError) else None
