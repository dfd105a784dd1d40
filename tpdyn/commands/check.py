"""How is a script checked from end to end? Record it, predict, run it at real widths, compare; one outcome.

`tpdyn check` decides only this: the widths to record at, the exit status of an outcome, the JSON verdict. The command line
only turns words into arguments and outcomes into words.
"""

from __future__ import annotations

import math
import re
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, final

from tpdyn.claims.deciding import until_decided
from tpdyn.claims.outcome import Outcome
from tpdyn.claims.report import Report, compare, with_limit
from tpdyn.claims.unseen import ProgramRuns
from tpdyn.commands.failures import LONGEST, BadInput, BeyondTheory, Exit, Watched, translated
from tpdyn.limits.comparison import approach
from tpdyn.limits.limit import limit as limit_of
from tpdyn.measuring.measure import check_device, measure, measure_more
from tpdyn.measuring.measurement import Measurement
from tpdyn.parametrizing.derive import derive
from tpdyn.parametrizing.editing.fix import patch_folder
from tpdyn.parametrizing.families import differences
from tpdyn.parametrizing.maps.cover import PhaseCells, phase_cells
from tpdyn.parametrizing.maps.planes import Limits
from tpdyn.parametrizing.parametrization import GAUGES, Parametrization
from tpdyn.program.program import Program
from tpdyn.recorder.record import WIDTHS, default_widths, record
from tpdyn.regimes.predict import predict
from tpdyn.regimes.prediction import Prediction, Regime
from tpdyn.reporting.document import Document, of_prediction, of_report
from tpdyn.reporting.progress import Progress, silent
from tpdyn.scripts.own_width import own_width
from tpdyn.scripts.target import Target
from tpdyn.store.means import HERE, Means
from tpdyn.store.workers import check_jobs

BASE_WIDTH, STEPS = 256, 3
"""What `tpdyn fix` takes unless told otherwise."""
POINTS, SCRAMBLES = 4096, 4
"""Of a limit beside runs: its error, below a percent, is small against theirs. `tpdyn limit` takes more."""


class Watching(Protocol):
    """Who looks on while a check runs, such as `tpdyn.reporting.live.Live`."""

    def predicted(self, prediction: Prediction, runs: int) -> None:
        """Take note that the prediction is known, and how many runs are to be made."""

    def measured(self, so_far: Callable[[], Measurement | None], done: int, runs: int) -> None:
        """Take note that one more run was made; `so_far` collects all of them."""


@final
@dataclass(frozen=True)
class Checked:
    """A script's prediction and, if it was measured, the report that compares it with the runs.

    required: the regime that the script was required to be in, if any. no_limit: why there is none to be put beside the runs,
    if one was asked for.
    """

    prediction: Prediction
    report: Report | None = None
    required: Regime | None = None
    no_limit: str = ""

    @property
    def exit(self) -> Exit:
        """The status: what stands against the verdict comes first, then the regime."""
        if self.prediction.outside:
            return Exit.OUTSIDE
        if self.report is not None and self.report.outcome is not Outcome.CONFIRMED:
            contradicted = self.report.outcome is Outcome.CONTRADICTED
            return Exit.DISAGREEMENT if contradicted else Exit.UNDECIDED
        if self.required is not None:
            return Exit.OK if self.prediction.regime is self.required else Exit.ANOTHER_REGIME
        return {Regime.UNSTABLE: Exit.UNSTABLE, Regime.TRIVIAL: Exit.TRIVIAL}.get(self.prediction.regime, Exit.OK)

    def to_dict(self, *, title: str = "", script: str = "") -> Document:
        """Return the document that a log holds, too (docs/reference/verdict.md); what was not measured is null or empty."""
        if self.report is not None:
            return of_report(self.report, title=title, script=script)
        return of_prediction(self.prediction, title=title, script=script)


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
    time_limit: float = LONGEST,
    decide_within: float | None = None,
    by: Literal["script", "program"] = "script",
    limit: bool = False,
    means: Means = HERE,
    progress: Progress = silent,
    watch: Watching | None = None,
) -> Checked:
    """Record `train(width)`, predict, run it at `widths`, compare.

    require: the regime that the script must be in ("feature-learning", "kernel", ...), for its exit status; any unless
    given. at: a large width at which the shapes and constants of the recording are compared, too. finite: what must not
    grow (see `tpdyn.record`).
    record_widths: three small widths at which the script is recorded, (16, 24, 40) unless given.
    time_limit: seconds that one run may take.
    decide_within: seconds for further runs while the regime is undecided (`tpdyn.claims.deciding`).
    by: "program" runs the recorded program for most seeds (`tpdyn.measure`). means: the store of finished runs, and workers.
    limit: put runs of the recorded program beside the limit of infinite width, too, as many as are measured.
    progress: called with (what is being done, how much of it is done, how much there is). The script's output is passed on
    (to standard error) from its first run only: it is run dozens of times. watch: is told the prediction and the runs so far.

    Raises `BadInput` when the script raises, makes no optimizer step, and the like. Raises `BeyondTheory` when it does
    something without a rule.
    """
    required = _regime(require) if require else None
    check_distinct(widths, "--widths")
    if measured:
        check_widths(widths, "--widths")
        with translated():
            check_device(device)
            check_jobs(means.jobs, means.backend)
    if means.worker is not None:
        means = replace(means, worker=Watched(means.worker, silent=True, seconds=time_limit))
    if record_widths:
        check_widths(record_widths, "--record-widths")
    program = recorded(
        train, widths=record_widths, steps=steps, at=at, finite=finite, time_limit=time_limit, progress=progress
    )
    if program.steps < steps:
        raise BadInput(
            f"the script ended after {program.steps} optimizer steps; expected {steps}. Some orders appear only once every "
            "layer has been updated. Let it train longer, or ask for fewer with --steps"
        )
    progress("predicting", 0, 1)
    with translated():
        prediction = predict(program)
    progress("predicting", 1, 1)
    if not measured:
        return Checked(prediction, required=required)
    quiet = Watched(train, silent=True, seconds=time_limit)
    if watch is not None:
        watch.predicted(prediction, len(widths) * seeds)
    with translated():
        measurement = measure(
            quiet,
            widths=tuple(widths),
            seeds=seeds,
            steps=steps,
            device=device,
            progress=partial(progress, "measuring"),
            by=by,
            program=program,
            means=means,
            watch=None if watch is None else watch.measured,
        )
        unseen = ProgramRuns(prediction, measurement, means)
        report = compare(prediction, measurement, by_program=unseen.of_values())
        if decide_within is not None:
            report = _decided(quiet, report, decide_within, means, progress, unseen)
        report = replace(report, notes=(*report.notes, *unseen.notes))
    if not limit:
        return Checked(prediction, report, required)
    report, without = _beside_limit(report, widths, seeds, progress)
    return Checked(prediction, report, required, without)


def _beside_limit(report: Report, widths: Sequence[int], seeds: int, tell: Progress) -> tuple[Report, str]:
    """Return the report with runs beside the limit; or as it was, and why there is none."""
    program = report.prediction.program
    try:
        with translated():
            beside = limit_of(program, _points(program), SCRAMBLES, progress=partial(tell, "taking the limit"))
            approaching = approach(
                program, widths, max(2, seeds), beside=beside,
                progress=partial(tell, "comparing with the limit"),
            )  # fmt: skip
    except (BeyondTheory, BadInput) as error:
        return report, str(error)
    return with_limit(report, approaching), ""


def predicted(program: Program, *, require: str = "") -> Checked:
    """Predict a program that is recorded already. Raises `BadInput` if it lacks an update, or was recorded at one width."""
    required = _regime(require) if require else None
    with translated():
        try:
            return Checked(predict(program), required=required)
        except ValueError as error:
            raise BadInput(str(error)) from error


def _points(program: Program) -> int:
    """Choose about `POINTS` of them, a quarter of which is a width that the script takes."""
    unit = 4 * math.gcd(*program.widths)
    return max(1, round(POINTS / unit)) * unit


def _decided(
    quiet: Watched, report: Report, seconds: float, means: Means, tell: Progress, unseen: ProgramRuns
) -> Report:
    """Run further, as long as the time allows, and return the report."""
    end, known = time.monotonic() + seconds, report.measurement

    def on() -> bool:
        return time.monotonic() < end

    def more(widths: tuple[int, ...], seeds: tuple[int, ...]) -> Measurement:
        nonlocal known
        what = f"deciding ({len(seeds)} seeds to width {max(widths)})"
        known = measure_more(
            quiet, known, widths, seeds, on=on, means=means,
            progress=partial(tell, what),
        )  # fmt: skip
        return known

    unseen.on = on
    decided = until_decided(report, more, on=on, program=unseen)
    if decided.outcome is Outcome.UNDECIDED and not on():
        return replace(
            decided, notes=(*decided.notes, f"the budget of {seconds:g} s was used up before it was decided: --budget")
        )
    return decided


def recorded(
    train: Callable[[int], Any],
    *,
    widths: Sequence[int] | None = None,
    steps: int = 3,
    at: int | None = None,
    finite: Sequence[str] = (),
    time_limit: float = LONGEST,
    progress: Progress = silent,
) -> Program:
    """Record a script as a program in a symbolic width; raise `BadInput` or `BeyondTheory` where that fails."""
    sizes = tuple(widths or default_widths(train))
    check_distinct(sizes, "--record-widths")
    progress("recording", 0, len(sizes) + 1)
    # A run that is begun again counts, and there is one more.
    watched = Watched(train, lambda done: progress("recording", done, max(done, len(sizes) + 1)), seconds=time_limit)
    with translated():
        return record(watched, widths=sizes, steps=steps, at=at, finite=finite)


def derived(program: Program, gauge: str = "no multipliers") -> tuple[Parametrization, dict[str, tuple[str, ...]]]:
    """Derive the maximal update of a program, and how the script differs from each named family.

    gauge: how it is written, one of `tpdyn.parametrizing.parametrization.GAUGES`.
    """
    known = {each.replace(" ", "-"): each for each in GAUGES}
    if gauge.replace(" ", "-") not in known:
        raise BadInput(f"--gauge {gauge}: no such gauge; expected one of: {', '.join(known)}")
    with translated():
        return derive(program, gauge=known[gauge.replace(" ", "-")]), differences(program)


def cells(
    program: Program,
    symbols: Sequence[str],
    progress: Progress = silent,
    *,
    around: str = "script",
    limits: Limits = (-1, 2),
) -> PhaseCells:
    """Compute all cells of a slice with symbols such as 'c=c' and 'b=out.weight:b'; raise `BadInput` for an unknown name."""
    named = dict(word.partition("=")[::2] for word in symbols)
    if len(named) < len(symbols) or not all((*named, *named.values())):
        raise BadInput(
            f"--symbol {', '.join(symbols)}: expected different names with what they move, e.g. c=c, b=out.weight:b"
        )
    with translated():
        return phase_cells(
            program, named, around=around, limits=limits, progress=lambda done: progress("reading", done, done)
        )


def check_distinct(widths: Sequence[int], option: str) -> None:
    """Refuse widths that come twice; raises `BadInput`."""
    twice = [width for width in dict.fromkeys(widths) if widths.count(width) > 1]
    if twice:
        given = ", ".join(map(str, widths))
        raise BadInput(f"{option} {given}: {', '.join(map(str, twice))} is given twice; expected different widths")


def check_widths(widths: Sequence[int], option: str) -> None:
    """Refuse widths that are not positive, come twice, or are too few; raises `BadInput`."""
    given = ", ".join(map(str, widths)) or "none"
    if any(width < 1 for width in widths):
        raise BadInput(f"{option} {given}: expected whole numbers from 1 up; a width of 0 makes an empty network")
    check_distinct(widths, option)
    if len(widths) < 2:
        raise BadInput(
            f"{option} {given}: expected at least two different ones, better four that double, e.g. 64,128,256,512: one width "
            "alone shows no exponent"
        )


def by_of(text: str) -> Literal["script", "program"]:
    """Read who makes the runs; raise `BadInput` for anything else."""
    if text == "script":
        return "script"
    if text == "program":
        return "program"
    raise BadInput(f"--by {text}: expected script (live runs) or program (the recorded program, and few live runs)")


def _regime(text: str) -> Regime:
    known = {regime.value.replace(" ", "-"): regime for regime in Regime}
    if text.replace(" ", "-") not in known:
        raise BadInput(f"--require {text}: no such regime; expected one of: {', '.join(known)}")
    return known[text.replace(" ", "-")]


def script_widths(widths: Sequence[int], record_widths: Sequence[int] | None) -> tuple[int, ...]:
    """Choose the widths to record at, for a script run as it is: those given, else the three smallest.

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


def name_of(target: str) -> str:
    """Return the folder name of a target's logs: `examples/digits_mlp.py:train` is `digits_mlp-train`."""
    file, _, function = target.partition(".py")
    return Path(file).name + (f"-{function[1:]}" if function.startswith(":") else "")


def script_of(target: str) -> str:
    """Return the full path of a target's file, which tells scripts of one name apart."""
    file, dot, _ = target.partition(".py")
    return str(Path(file + dot).resolve())


def fix_command(target: Target, program: Program, steps: int) -> str:
    """Return the command that writes the remedy as a patch and applies it, with the options of the recording.

    steps: as they were asked for. The base width is the script's own where its text says so. Else it is the
    multiple nearest to 256 of the greatest common divisor of the recorded widths. The script may refuse others.
    """
    script, widths, folder = Path(script_of(target.target)), program.widths, patch_folder(program)
    unit = math.gcd(*widths)
    base = own_width(script, target.width_args, target.settings) or max(1, round(BASE_WIDTH / unit)) * unit
    words = ["tpdyn", "fix", target.target]
    words += [f"--width-arg={each}" for each in target.width_args]
    words += [word for each in target.settings for word in ("--set", each)]
    words += ["--record-widths", ",".join(map(str, widths))] * (tuple(widths) != WIDTHS)
    words += ["--steps", str(max(steps, 2))] * (steps != STEPS)
    words += ["--base-width", str(base)] * (base != BASE_WIDTH)
    words += ["--", *target.arguments] * bool(target.arguments)
    elsewhere = "" if folder == Path.cwd().resolve() else f" -d {shlex.quote(str(folder))}"
    return f"{shlex.join(words)} | patch -p0{elsewhere}"


def seconds_of(text: str) -> float:
    """Read a time such as "10m", "90s", "1h" or "30" as seconds; raise `BadInput` for anything else."""
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if matched is None or float(matched[1]) <= 0:
        raise BadInput(f"--budget {text}: expected a time such as 90s, 10m or 1h")
    return float(matched[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[matched[2]]
