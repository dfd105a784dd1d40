"""Mirrors tpdyn/reporting/terminal.py: what matters first, in the columns there are, in any encoding."""

from __future__ import annotations

import io
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from rich.console import Console

from tpdyn.claims.report import Report, compare
from tpdyn.measuring.measurement import Measurement
from tpdyn.regimes.prediction import Prediction, Regime
from tpdyn.reporting.terminal import console, sentence, show


def printed(what: Report | Prediction, width: int = 80, terminal: bool = False, **options: Any) -> str:
    out = io.StringIO()
    made = Console(file=out, width=width, force_terminal=terminal, color_system=None, highlight=False)
    show(what, made, **options)
    return out.getvalue()


def test_the_first_lines_say_regime_evidence_cause_and_remedy(report: Report) -> None:
    text = printed(report)
    lines = text.splitlines()
    assert lines[0] == "  KERNEL   the output learns, every hidden representation is frozen"
    assert lines[1] == "  from width 64 to 512: the change of fc1 moved by x0.399 (theory: x0.354)"
    assert lines[2] == "  the runs confirm it: 3 confirmed, 0 undecided, 0 contradicted"
    assert "  why   every hidden representation is frozen (module fc2) [train.py:12]" in lines
    assert "  fix   raise the learning rate by sqrt(n)" in lines


def test_the_step_from_which_orders_stay_is_told_where_the_recorded_ones_do_not_show_it(
    predicted: Callable[..., Prediction],
) -> None:
    made = predicted()
    steps = made.program.steps
    shown = " ".join(printed(replace(made, settles=steps + 1)).split())
    assert (
        f"orders settle at step {steps + 1}, after the recorded ones" in shown and f"--steps {steps + 2} runs" in shown
    )
    assert "settle" not in printed(replace(made, settles=steps - 1))
    assert "later steps may have other orders" in " ".join(printed(replace(made, settles=None)).split())
    assert "later steps" not in printed(replace(made, settles=None, regime=Regime.UNSTABLE))


def test_the_named_command_stands_at_the_remedy_and_a_shell_reads_it_as_it_was(report: Report) -> None:
    """A long one is broken between its words, with a backslash; a quoted word and a long path stay whole."""
    command = "tpdyn fix train.py:train | patch -p0"
    assert f"  fix   {command}\n        (raise the learning rate by sqrt(n))" in printed(report, fix=command)
    path = "a/very/long/" * 9 + "train.py"
    words = [
        "tpdyn",
        "fix",
        path,
        "--set",
        "n_embd=4 * n",
        *(f"--width-arg=--size-{k}={{n}}" for k in range(5)),
        "--",
        "a",
    ]
    text = printed(report, width=80, fix=shlex.join(words))
    command = text.partition("  fix   ")[2].partition("        (raise")[0]
    assert shlex.split(command.replace("\\\n", "")) == words and path in command.splitlines()[1]
    assert all(len(line) <= 72 for line in command.splitlines() if path not in line)


def test_statements_are_told_on_request(report: Report) -> None:
    assert "h = self.fc2" not in printed(report) and "instruction" not in printed(report)
    within = replace(report.prediction.reasons[0], text="a value in fc2 (`h = self.fc2(torch.tanh(h))`) grows")
    told = replace(report, prediction=replace(report.prediction, reasons=(within,)))
    assert "why   a value in fc2 grows [train.py:12]" in printed(told)
    assert "(`h = self.fc2(torch.tanh(h))`) grows" in " ".join(printed(told, statements=True).split())
    asked = " ".join(printed(report, statements=True).split())
    assert "`h = self.fc2(torch.tanh(h))` instruction `h2_1 = " in asked


def test_a_prediction_alone_says_nothing_of_runs_and_shows_every_module(predicted: Callable[..., Prediction]) -> None:
    text = printed(predicted())
    assert text.startswith("  KERNEL") and "runs" not in text
    for name in ("fc1", "fc2"):
        assert any(
            line.startswith(f"  {name}") and "x0.71" in line and "vanishes" in line for line in text.splitlines()
        )


def test_factors_of_a_doubled_width_or_powers_of_it(report: Report) -> None:
    (line,) = [line for line in printed(report).splitlines() if line.startswith("  fc2")]
    assert "x0.71 x0.71 [0.6" in line and " ok " in line and ":12" in line
    (line,) = [line for line in printed(report, exponents=True).splitlines() if line.startswith("  fc2")]
    assert " -1/2 -0.50 [-0.57, -0.44] ok" in line


def test_what_is_not_confirmed_is_named(
    predicted: Callable[..., Prediction], measured: Callable[..., Measurement]
) -> None:
    text = printed(compare(predicted(), measured(noise=1.0)))
    assert "the runs leave it undecided" in text.splitlines()[2]
    assert "not confirmed: every hidden representation is frozen (fc1 and fc2)" in text
    assert " unclear " in text


def test_a_wrong_prediction_is_called_so(
    predicted: Callable[..., Prediction], measured: Callable[..., Measurement]
) -> None:
    text = printed(compare(predicted(fc2=Fraction(0)), measured()))
    assert "the runs contradict it: 2 confirmed, 0 undecided, 1 contradicted" in text.splitlines()[2]
    assert " WRONG " in text


def test_under_a_contradiction_nothing_is_called_right_as_it_is(
    predicted: Callable[..., Prediction], measured: Callable[..., Measurement]
) -> None:
    made = predicted(Regime.FEATURE_LEARNING, fc1=Fraction(0), fc2=Fraction(0))
    reason = replace(made.reasons[0], fix="nothing: this script keeps its features learning at any width")
    made = replace(made, reasons=(reason,))
    assert "fix   nothing: this script keeps" in printed(compare(made, measured(fc1=0.0, fc2=0.0)))
    against = printed(compare(made, measured()), fix="tpdyn fix train.py")
    assert "nothing" not in against and "tpdyn fix" not in against
    assert "but   do not trust the prediction here" in against


def test_outside_the_theory_comes_first_and_the_prediction_is_qualified(predicted: Callable[..., Prediction]) -> None:
    first, second = printed(predicted(outside=True)).splitlines()[:2]
    assert first == "  OUTSIDE THE THEORY"
    assert second.startswith("  as far as it reaches: kernel")
    text = printed(predicted(outside=True), fix="tpdyn fix train.py")
    assert "two dims grow" in text and "[train.py:11]" in text
    assert "fix   keep the batch fixed" in text and "tpdyn fix" not in text


@pytest.mark.parametrize("width", [60, 80, 100, 120])
@pytest.mark.parametrize("exponents", [False, True])
def test_no_line_is_longer_than_the_columns_and_nothing_is_cut(report: Report, width: int, exponents: bool) -> None:
    named = tuple(
        replace(row, name=row.name.replace("fc", "encoder.layers.11.attention.self.output.fc")) for row in report.table
    )
    text = printed(replace(report, table=named), width, exponents=exponents)
    for line in text.splitlines():
        assert len(line) <= width, line
    for place in (":11", ":12", ":13"):
        assert any(line.endswith(place) for line in text.splitlines())
    assert "\u2026" not in text and ".fc2" in text


LONG = "encoder.layers.11.attention.self.output.a_projection_with_a_long_name_of_its_own.and_another.fc"


def long_names(report: Report) -> Report:
    named = tuple(replace(row, name=row.name.replace("fc", LONG)) for row in report.table)
    (first, *others) = report.prediction.reasons
    reason = replace(first, text=f"the largest change is {LONG}1, of order -1/2")
    return replace(report, table=named, prediction=replace(report.prediction, reasons=(reason, *others)))


def test_a_wide_terminal_gets_whole_names_and_short_sentences(report: Report) -> None:
    lines = printed(long_names(report), 200).splitlines()
    rows = [line for line in lines if line.endswith((":11", ":12", ":13"))]
    assert len(rows) == 3 and any(f"{LONG}2" in row and "x0.71 [0." in row for row in rows)
    assert all(len(line) <= 120 for line in lines if line not in rows and not line.startswith("  layer"))


def test_a_narrow_terminal_gets_folded_names_and_sentences_whose_names_break_at_their_dots(report: Report) -> None:
    text = printed(long_names(report), 60)
    assert all(len(line) <= 60 for line in text.splitlines()) and f"{LONG}1" in re.sub(r"\s", "", text)
    lines = printed(report, 40).splitlines()
    assert all(len(line) <= 40 for line in lines), lines
    rows = [line for line in lines if line.endswith((":11", ":12", ":13"))]
    assert len(rows) == 3 and any("x0.71 x0.7" in row and " ok " in row for row in rows)  # the interval alone gives way


def test_what_a_row_lacks_is_said_once_and_not_beside_a_line_that_says_what_would_decide(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = (
        "by runs of the recorded program; size: it was odd; change: the interval is too wide; measure with more seeds"
    )
    noted = replace(report, table=tuple(replace(row, note=note) for row in report.table))
    text = " ".join(printed(noted).split())
    assert text.count("size: it was odd") == text.count("by runs of the recorded program") == 1
    assert text.count("change: the interval is too wide; measure with more seeds") == 1
    monkeypatch.setattr("tpdyn.reporting.terminal.advice", lambda report: ["to decide: --seeds 9"])
    text = printed(noted)
    assert "to decide: --seeds 9" in text and "size: it was odd" in text and "too wide" not in text


def test_there_is_no_control_character_without_colour(report: Report) -> None:
    assert "\x1b" not in printed(report)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_any_encoding_can_be_printed_to(report: Report, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    """A source line with characters that the terminal's encoding lacks: arrows, Greek letters, emoji."""
    bytes_ = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(bytes_, encoding=encoding))
    reason = replace(report.prediction.reasons[0], text="\u03b7 \u2192 \U0001f600 grows")
    show(replace(report, prediction=replace(report.prediction, reasons=(reason,))))
    sys.stdout.flush()
    assert b"KERNEL" in bytes_.getvalue() and b"grows" in bytes_.getvalue()


def test_columns_are_honoured_and_eighty_where_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert console().width == 80
    monkeypatch.setenv("COLUMNS", "97")
    assert console().width == 97
    monkeypatch.setenv("COLUMNS", "200")
    assert console().width == 200


def test_the_regime_as_a_sentence_names_the_layers_that_learn(predicted: Callable[..., Prediction]) -> None:
    text = sentence(predicted(Regime.FEATURE_LEARNING, fc1=Fraction(0)))
    assert text == "feature learning: stable, the output learns, and so does fc1"
