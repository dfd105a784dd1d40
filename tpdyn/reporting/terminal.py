"""What does the verdict look like in a terminal? Three lines that say it, then a table of every module.

The first three lines are the regime; why, naming the value, its module and the line of the script that decides; and
what to change. Signs and words carry the meaning, colour only repeats it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import PurePath
from typing import NamedTuple

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from tpdyn.claims.outcome import Outcome
from tpdyn.claims.report import Report
from tpdyn.exponents import Order, show_order
from tpdyn.program.program import Program, Source
from tpdyn.program.show import show_statement
from tpdyn.regimes.prediction import Prediction, Reason, Regime
from tpdyn.reporting.words import counted_noun, evidence, listed

COLOURS = {
    Regime.UNSTABLE: "red",
    Regime.TRIVIAL: "yellow",
    Regime.KERNEL: "cyan",
    Regime.FEATURE_LEARNING: "green",
}
EVIDENCE_COLOURS = {Outcome.CONFIRMED: "green", Outcome.UNDECIDED: "yellow", Outcome.CONTRADICTED: "bold red"}
WIDTH = 100
MOST_REASONS = 4
MOST_FORMULA = 60


def show(report: Report, to: Console | None = None, *, facts: bool = True) -> None:
    """Print the verdict of a report: headline, table and, with `facts`, what else matters."""
    out = to or console()
    out.print(*_headline(report.prediction, report), sep="\n", soft_wrap=not out.is_terminal)
    _print_apart(out, _report_table(report))
    for bullet in _bullets(_row_notes(report)):
        out.print(bullet)
    if facts:
        out.print(*_notes(report.prediction, report), sep="\n")


def show_prediction(prediction: Prediction, to: Console | None = None) -> None:
    """Print a prediction alone, without runs beside it."""
    out = to or console()
    out.print(*_headline(prediction), sep="\n", soft_wrap=not out.is_terminal)
    _print_apart(out, _prediction_table(prediction))
    out.print(*_notes(prediction), sep="\n")


def sentence(prediction: Prediction) -> str:
    """The regime as one sentence that stands on its own."""
    match prediction.regime:
        case Regime.UNSTABLE:
            return "unstable: values grow without bound as the width grows"
        case Regime.TRIVIAL:
            return "trivial: stable, but the output stops learning as the width grows"
        case Regime.KERNEL if prediction.entrywise:
            return "operator regime (kernel-like): the output learns, every hidden representation is frozen"
        case Regime.KERNEL:
            return "kernel regime: the output learns, every hidden representation is frozen"
        case Regime.FEATURE_LEARNING:
            learning = list(dict.fromkeys(row.name for row in prediction.rows() if row.learns))
            verb = "do" if len(learning) > 1 else "does"
            return f"feature learning: stable, the output learns, and so {verb} {listed(learning)}"


def console() -> Console:
    """Standard output; as wide as the terminal within reason, 100 columns where there is none."""
    made = Console(highlight=False)
    made.width = min(made.width, WIDTH + 20) if made.is_terminal else WIDTH
    return made


def _print_apart(out: Console, table: Table) -> None:
    out.print()
    out.print(table)
    out.print()


def _headline(prediction: Prediction, report: Report | None = None) -> list[RenderableType]:
    colour = COLOURS[prediction.regime]
    if prediction.outside:
        first = Text.assemble(("outside the theory", "bold magenta"), f"; as far as it reaches: {sentence(prediction)}")
        reason: Reason | None = prediction.outside[0]
    else:
        name, _, rest = sentence(prediction).partition(":")
        first = Text.assemble((name, f"bold {colour}"), f":{rest}")
        reason = prediction.reasons[0] if prediction.reasons else None
    if report is not None:
        first.append(" · ").append(*_agreement(report))
    why = Text("why: ", style="bold").append(
        _reason(prediction, reason) if reason else "no value decides it", style="not bold"
    )
    fix = reason.fix if reason and reason.fix else "nothing; this is the regime that large widths need"
    if not (reason and reason.fix) and prediction.regime is not Regime.FEATURE_LEARNING:
        fix = "nothing single; see the table"
    return [first, why, Text("what to change: ", style="bold").append(fix, style="not bold")]


def _agreement(report: Report) -> tuple[str, str]:
    return evidence(report), EVIDENCE_COLOURS[report.outcome]


def _reason(prediction: Prediction, reason: Reason) -> str:
    """The reason, its instruction, module and source line; what the text says already is not said twice."""
    text = reason.text.rstrip(".")
    places = []
    if reason.source.file:
        code = reason.source.text.strip()
        places.append(_place(reason.source) + (f" `{code}`" if code and code not in text else ""))
    if reason.module and reason.module not in text:
        places.append(f"module {reason.module}")
    if reason.statement and reason.statement not in text:
        places.append(f"instruction `{_instruction(prediction.program, reason)}`")
    return f"{text} ({', '.join(places)})" if places else text


def _instruction(program: Program, reason: Reason) -> str:
    """The statement as a formula where that is short, else its name."""
    for position, statement in enumerate(program.statements):
        if statement.name == reason.statement and statement.origin.source == reason.source:
            formula = " ".join(show_statement(program, position).partition("#")[0].split())
            return formula if len(formula) <= MOST_FORMULA else reason.statement
    return reason.statement


class _Line(NamedTuple):
    """One module of a prediction, over all steps."""

    name: str
    size: Order
    change: Order
    at_most: bool
    learns: bool | None
    source: str


def _lines(prediction: Prediction) -> list[_Line]:
    names = dict.fromkeys(row.name for row in prediction.rows() if row.kind in ("module", "output"))
    lines = []
    for name in names:
        rows = [row for row in prediction.rows() if row.name == name and row.kind in ("module", "output")]
        changes = [row.change for row in rows if row.change is not None]
        largest = max(changes) if changes else None
        lines.append(
            _Line(
                name,
                rows[0].size,
                largest,
                any(row.at_most for row in rows if row.change == largest),
                None if all(row.learns is None for row in rows) else any(row.learns for row in rows),
                _place(rows[0].source),
            )
        )
    return lines


def _prediction_table(prediction: Prediction) -> Table:
    table = _table("module", "size", "change", "", "line")
    for line in _lines(prediction):
        word = {None: "", True: "learns features", False: "frozen"}[line.learns]
        table.add_row(
            _name(line.name),
            show_order(line.size),
            _change(line.change, line.at_most),
            Text("grows", "bold red") if line.change is not None and line.change > 0 else word,
            Text(line.source, "dim"),
        )
    return table


def _report_table(report: Report) -> Table:
    table = _table("module", "size", "measured", "change", "measured", "interval", "verdict", "line")
    marks = {
        "agrees": ("✓ agrees", "green"),
        "disagrees": ("✗ disagrees", "bold red"),
        "diverged": ("✗ diverged", "bold red"),
    }
    for row in report.rows():
        size, change = row.measured_size_order, row.measured_change_order
        table.add_row(
            _name(row.name),
            show_order(row.size_order),
            f"{size.estimate:+.2f}" if size else "",
            _change(row.change_order, row.at_most),
            f"{change.estimate:+.2f}" if change else "",
            f"[{change.low:+.2f}, {change.high:+.2f}]" if change else "",
            Text(*marks.get(row.verdict, (f"? {row.verdict}", "yellow"))),
            Text(_place(row.source), "dim"),
        )
    return table


def _row_notes(report: Report) -> Iterable[str]:
    """What is said of single modules; what is said of several, once."""
    names: dict[str, list[str]] = {}
    for row in report.rows():
        if row.note:
            names.setdefault(row.note, []).append(row.name)
    return (f"{listed(each)}: {note}" for note, each in names.items())


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold", collapse_padding=True)
    for index, heading in enumerate(headings):
        number = heading in ("size", "measured", "change", "interval")
        # The first and the last column give way where there is little room; numbers and verdicts never do.
        flexible = index in (0, len(headings) - 1)
        table.add_column(
            heading,
            justify="right" if number else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=None if flexible else len(heading),
            ratio=None,
        )
    return table


def _notes(prediction: Prediction, report: Report | None = None) -> list[RenderableType]:
    notes: list[RenderableType] = []
    others = [*prediction.outside[1:], *prediction.reasons[0 if prediction.outside else 1 :]]
    if others:
        notes.append(Text("also:", style="bold"))
        notes += _bullets(_reason(prediction, reason) for reason in others[:MOST_REASONS])
        if len(others) > MOST_REASONS:
            notes += _bullets([f"and {len(others) - MOST_REASONS} more (all of them with --json, or in `.reasons`)"])
    program = prediction.program
    facts = [
        "order: the exponent of the width n, so +1/2 grows like sqrt(n), 0 stays, negative vanishes; zero is exactly 0",
        f"recorded {program.steps} optimizer steps at widths {', '.join(map(str, program.widths))}"
        + (f"; replayed and verified at {program.verified}" if program.verified is not None else ""),
        *program.notes,
        *_epsilon(prediction),
    ]
    if any(line.at_most for line in _lines(prediction)):
        facts.append("<= marks an upper bound: a known cancellation may make the true order smaller")
    if report is not None:
        facts += [_measured(report), *report.notes]
    return [*notes, *_bullets(facts, "·", "dim")]


def _epsilon(prediction: Prediction) -> list[str]:
    """Up to which width the orders hold that take the epsilon of an optimizer or a normalisation as negligible."""
    if not prediction.epsilon:
        return []
    name = min(prediction.epsilon, key=lambda parameter: prediction.epsilon[parameter])
    width, recorded = prediction.epsilon[name], prediction.program.verified or 0
    others = len(prediction.epsilon) - 1
    owners = {parameter.name for parameter in prediction.program.parameters}
    whose = "the optimizer's epsilon" if name in owners else "the epsilon of a normalisation"
    which = name + (f", the first of {others + 1}" if others else "")
    if width <= recorded:
        return [f"{whose} is not negligible even at width {recorded} ({which}): lower it"]
    power = math.floor(math.log10(width)) if math.isfinite(width) else 0
    about = f"{width:.1e}" if power > 5 else f"{round(width, 1 - power):.0f}"
    return [f"{whose} is negligible up to a width of about {about} ({which}), where it starts to matter"]


def _measured(report: Report) -> str:
    measurement = report.measurement
    widths = ", ".join(map(str, measurement.widths))
    return (
        f"measured {counted_noun(len(measurement.seeds), 'seed')} at widths {widths}; sizes compared at step 0, changes at step "
        f"{report.step}, within {report.margin:g} at {report.confidence:.0%} confidence"
    )


def _bullets(texts: Iterable[str], mark: str = "-", style: str = "") -> list[RenderableType]:
    """Each text with a mark before it, later lines hanging."""
    bullets: list[RenderableType] = []
    for text in texts:
        grid = Table.grid(padding=(0, 1))
        grid.add_row(Text(mark, style), Text(text, style))
        bullets.append(grid)
    return bullets


def _change(order: Order, at_most: bool) -> Text:
    text = ("<= " if at_most and order is not None else "") + show_order(order)
    if order is None or order == 0:
        return Text(text)
    return Text(text, "red" if order > 0 else "cyan")


def _name(name: str) -> Text:
    return Text(name or "(root)", "bold")


def _place(source: Source) -> str:
    return f"{PurePath(source.file).name}:{source.line}" if source.file else ""
