"""What does the verdict look like in a terminal? Ten seconds: regime, evidence, cause, remedy; then a table of modules.

It fits the columns there are (80 where that is not known). Numbers, locations and words are never cut. Signs and words
carry the meaning, colour only repeats it.
"""

from __future__ import annotations

import math
import os
import re
import sys
import textwrap
from collections.abc import Sequence
from typing import final

from rich.console import Console
from rich.text import Text

from tpdyn.claims.beside import counted, distances
from tpdyn.claims.outcome import Outcome, ReportRow
from tpdyn.claims.report import Report, expected_rows
from tpdyn.program.program import Program
from tpdyn.program.show import show_statement
from tpdyn.regimes.prediction import Prediction, Reason, Regime
from tpdyn.reporting.table import Line, line_of, location, table, without_control
from tpdyn.reporting.words import advice, counted_noun, evidence, headline, listed, missing, sentence

__all__ = ["console", "sentence", "show"]

COLOURS = {
    Regime.UNSTABLE: "red",
    Regime.TRIVIAL: "yellow",
    Regime.KERNEL: "cyan",
    Regime.FEATURE_LEARNING: "green",
}
EVIDENCE_COLOURS = {Outcome.CONFIRMED: "green", Outcome.UNDECIDED: "yellow", Outcome.CONTRADICTED: "bold red"}
WIDTH = 80
WIDEST = 120
MOST_REASONS = 4
MOST_FORMULA = 60
TOO_WIDE = re.compile(r"(?:size|change): the interval is too wide; measure [\w ]+")


def show(
    verdict: Report | Prediction, to: Console | None = None, *, facts: bool = True, exponents: bool = False,
    statements: bool = False, fix: str = "",
) -> None:  # fmt: skip
    """Print the verdict of a report, or of a prediction without runs.

    facts: also what else matters. exponents: powers of n instead of factors. statements: instructions of the program beside
    the lines of the script. fix: the command that writes the remedy into the script, if there is one.
    """
    out = to or console()
    report, prediction = (verdict, verdict.prediction) if isinstance(verdict, Report) else (None, verdict)
    lines = _headline(prediction, out.width)
    advised: list[str] = []
    if report is not None:
        advised = advice(report)
        lines += _wrapped("  ", _moved(report), out.width)
        lines += _wrapped("  ", evidence(report), out.width, EVIDENCE_COLOURS[report.outcome])
        for text in (*missing(report), *advised):
            lines += _wrapped("  ", text, out.width)
        lines += _limit(report, out.width)
    step, rows = (None, expected_rows(prediction)) if report is None else (report.step, report.rows())
    lines += [
        Text(""),
        *_cause(prediction, out.width, statements, fix, None if report is None else report.outcome),
        Text(""),
        *_legend(exponents, out.width, step),
        *table(_lines(prediction, rows, report is not None), out.width, exponents=exponents, step=step),
    ]
    for names, note in _row_notes(rows, bool(advised)):
        lines += _wrapped("  ", f"{listed(names)}: {note}", out.width)
    if facts:
        lines += [Text(""), *_notes(prediction, report, out.width, statements)]
    for line in lines:
        out.print(line, soft_wrap=True, markup=False)


def console() -> Console:
    """Make a console on standard output, as wide as COLUMNS or the terminal says; else 80 columns.

    Tables take as much of it as they need, sentences at most 120 columns. Characters that its encoding does not have are replaced.
    """
    tolerant(sys.stdout)
    terminal = Console(highlight=False)
    asked = os.environ.get("COLUMNS", "")
    if not (asked.isdigit() and int(asked)) and not terminal.is_terminal:
        terminal.width = WIDTH
    return terminal


def tolerant(stream: object) -> None:
    """Have a stream replace characters that its encoding does not have, instead of raising UnicodeEncodeError."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None and getattr(stream, "errors", "") == "strict":
        reconfigure(errors="replace")


def _wrapped(head: str, text: str, width: int, style: str = "", hang: str | None = None) -> list[Text]:
    """Break text after `head` into lines that hang under it."""
    hang = " " * len(head) if hang is None else hang
    wrapper = _Wrapper(
        min(max(width, 30), WIDEST), initial_indent=head, subsequent_indent=hang, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
    return [Text(line, style) for line in wrapper.wrap(without_control(text)) or [head]]


@final
class _Wrapper(textwrap.TextWrapper):
    """Breaks a name that is longer than a line behind one of its dots or slashes."""

    def _split(self, text: str) -> list[str]:
        room = self.width - len(self.subsequent_indent)
        words: list[str] = super()._split(text)
        return [part for word in words for part in (re.split(r"(?<=[./])", word) if len(word) > room else (word,))]


def _command(head: str, command: str, width: int) -> list[Text]:
    """Break a shell command between its words, as a shell reads on. A backslash ends a line that is not the last."""
    words = re.findall(r"(?:'[^']*'|\S)+", command)
    broken = [words[0]]
    for word in words[1:]:
        if len(head) + len(broken[-1]) + 1 + len(word) + 2 <= width:
            broken[-1] += f" {word}"
        else:
            broken.append(word)
    if len(head) + len(command) <= width:
        broken = [command]
    ends = [" \\"] * (len(broken) - 1) + [""]
    heads = [head] + [" " * len(head)] * (len(broken) - 1)
    return [Text(start).append(text + end, "bold") for start, text, end in zip(heads, broken, ends, strict=True)]


def _headline(prediction: Prediction, width: int) -> list[Text]:
    name, rest = headline(prediction)
    if prediction.outside:
        lines = [Text("  OUTSIDE THE THEORY", "bold magenta")]
        return [*lines, *_wrapped("  as far as it reaches: ", sentence(prediction), width, hang="  ")]
    lines = _wrapped(f"  {name}   ", rest, width, hang="  ")
    lines[0].stylize(f"bold {COLOURS[prediction.regime]}", 2, 2 + len(name))
    return lines


def _moved(report: Report) -> str:
    """Tell 'from width 64 to 512: the change of fc2 grew x5.4 (theory x2.8)', of the value that decides."""
    row = _decisive(report)
    measurement = report.measurement if row is None else report.measured(row.name)
    if row is None or row.measured_change_order is None or row.change_order is None:
        return f"widths {measurement.widths[0]} to {measurement.widths[-1]}"
    ratio = measurement.widths[-1] / measurement.widths[0]
    grew = ratio**row.measured_change_order.estimate
    verb = "grew" if row.measured_change_order.estimate > 0.05 else "moved by"
    theory = "faster than any power" if row.change_order == math.inf else f"x{ratio ** float(row.change_order):.3g}"
    return (
        f"from width {measurement.widths[0]} to {measurement.widths[-1]}: the change of {row.name or 'the output'} {verb} "
        f"x{grew:.3g} (theory: {theory})"
    )


def _limit(report: Report, width: int) -> list[Text]:
    """Tell how far runs are from the limit, and which claims about it fail."""
    if report.approach is None:
        return []
    lines = [
        *_wrapped("  limit ", distances(report.approach), width),
        *_wrapped("        ", counted(report.beside), width),
    ]
    failed = [claim for claim in report.beside if claim.verdict == "fails"]
    for claim in failed[:MOST_REASONS]:
        lines += _wrapped("        ", f"fails: {claim.what} of {claim.of} ({claim.told})", width, "bold red")
    if len(failed) > MOST_REASONS:
        lines += _wrapped("        ", f"and {len(failed) - MOST_REASONS} more that fail (all with --json)", width)
    return lines


def _decisive(report: Report) -> ReportRow | None:
    """Choose the row that shows the regime best: the deciding one, a representation that learns or freezes, or the output."""
    names = next((claim.names for claim in reversed(report.claims) if claim.names), ())
    rows = [row for row in report.rows() if row.name in names]
    return max(rows, key=lambda row: -99 if row.change_order is None else row.change_order, default=None)


def _cause(
    prediction: Prediction, width: int, statements: bool, fix: str, outcome: Outcome | None = None
) -> list[Text]:
    """Tell the decisive reason and its remedy. Where runs contradict the prediction, do not say that nothing needs a change."""
    against = outcome is Outcome.CONTRADICTED
    reasons = prediction.outside or prediction.reasons
    if not reasons:
        return _wrapped("  why   ", "no value decides it", width)
    reason = reasons[0]
    lines = _wrapped("  why   ", _reason(prediction, reason, statements), width)
    nothing = reason.fix.startswith("nothing")
    if reason.fix and not (nothing and against):
        if fix and not nothing and not prediction.outside:
            lines += _command("  fix   ", fix, width)
            lines += _wrapped("        ", f"({reason.fix})", width)
        else:
            lines += _wrapped("  fix   ", reason.fix, width)
    elif prediction.regime is Regime.FEATURE_LEARNING and not prediction.outside and not against:
        lines += _wrapped("  fix   ", "nothing; this is the regime that large widths need", width)
    if against:
        text = "do not trust the prediction here: see the rows that are WRONG or NaN, and report it with the script"
        lines += _wrapped("  but   ", text, width)
    return lines


def _reason(prediction: Prediction, reason: Reason, statements: bool) -> str:
    """Tell the reason with its line; with `statements` also the text of that line and the instruction."""
    text = reason.text.rstrip(".")
    if not statements:  # a value within a module is told by its text
        text = text.replace(f" (`{reason.source.text}`)", "")
    if reason.module and reason.module not in text:
        text += f" (module {reason.module})"
    code = without_control(reason.source.text)
    if statements and code and code not in text:
        text += f" `{code}`"
    if statements and reason.statement and reason.statement not in text:
        text += f" instruction `{_instruction(prediction.program, reason)}`"
    return f"{text} [{location(reason.source)}]" if reason.source.file else text


def _instruction(program: Program, reason: Reason) -> str:
    """Write the statement as a formula where that is short, else its name."""
    for position, statement in enumerate(program.statements):
        if statement.name == reason.statement and statement.origin.source == reason.source:
            formula = " ".join(show_statement(program, position).partition("#")[0].split())
            return formula if len(formula) <= MOST_FORMULA else reason.statement
    return reason.statement


def _legend(exponents: bool, width: int, step: int | None = None) -> list[Text]:
    what = (
        "powers of the width n (0: independent of n)"
        if exponents
        else "when the width doubles (x1.00: independent of it)"
    )
    return _wrapped("  ", what + ("" if step is None else f"; changes after {counted_noun(step, 'step')}"), width)


def _lines(prediction: Prediction, rows: Sequence[ReportRow], measured: bool) -> list[Line]:
    """Return a line for each row. Beside runs, only what learns though its change vanishes is said to learn: unit vectors."""
    learns: dict[str, bool] = {}
    for row in prediction.rows():
        if row.learns is not None and (not measured or (row.learns and row.change is not None and row.change < 0)):
            learns[row.name] = learns.get(row.name, False) or row.learns
    return [line_of(row, learns.get(row.name)) for row in rows]


def _row_notes(rows: Sequence[ReportRow], advised: bool) -> list[tuple[list[str], str]]:
    """Collect the notes on modules; one on several is said once. advised: that more runs are needed is said already."""
    names: dict[str, list[str]] = {}
    for row in rows:
        for note in re.split(r"; (?=(?:size|change): )", row.note) if row.note else ():
            if not (advised and TOO_WIDE.fullmatch(note)):
                names.setdefault(note, []).append(row.name or "(root)")
    return [(each, note) for note, each in names.items()]


def _notes(prediction: Prediction, report: Report | None, width: int, statements: bool) -> list[Text]:
    lines: list[Text] = []
    others = [*prediction.outside[1:], *prediction.reasons[0 if prediction.outside else 1 :]]
    if others:
        lines.append(Text("  also", "bold"))
        for reason in others[:MOST_REASONS]:
            lines += _wrapped("  - ", _reason(prediction, reason, statements), width)
        if len(others) > MOST_REASONS:
            lines += _wrapped(
                "  - ", f"and {len(others) - MOST_REASONS} more (all with --json, or in `.reasons`)", width
            )
    program = prediction.program
    facts = [
        f"recorded {counted_noun(program.steps, 'optimizer step')} at widths {', '.join(map(str, program.widths))}"
        + (f"; replayed and verified at {program.verified}" if program.verified is not None else ""),
        *program.notes,
        *_horizon(prediction),
        *_epsilon(prediction),
    ]
    if any(row.at_most for row in prediction.rows()):
        facts.append("<= marks an upper bound: a known cancellation may make the true order smaller")
    if report is not None:
        facts += [_measured(report), *report.notes]
    facts.append("powers instead of factors: --exponents; what is an order? tpdyn explain order")
    for fact in facts:
        lines += _wrapped("  . ", fact, width, "dim")
    return lines


def _horizon(prediction: Prediction) -> list[str]:
    """Tell from which step on the orders stay, where the recorded steps do not show it."""
    steps, settles = prediction.program.steps, prediction.settles
    if settles is None:
        known = prediction.regime is Regime.UNSTABLE
        return [] if known else ["later steps may have other orders: the verdict is that of the steps that were read"]
    if settles < steps:
        return []
    return [
        f"orders settle at step {settles}, after the recorded ones (0 to {steps - 1}). The verdict is that of all later steps; "
        f"--steps {settles + 1} runs so far"
    ]


def _epsilon(prediction: Prediction) -> list[str]:
    """Tell up to which width the orders hold that take the epsilon of an optimizer or a normalisation as negligible."""
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
        f"measured {counted_noun(len(measurement.seeds), 'seed')} at widths {widths}; orders agree within {report.margin:g} "
        f"at {100 * report.confidence:.4g} % confidence"
    )
