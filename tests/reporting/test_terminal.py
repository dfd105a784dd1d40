from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction

from rich.console import Console

from tpdyn.claims.report import Report, compare
from tpdyn.measuring.measurement import Measurement
from tpdyn.regimes.prediction import Prediction, Regime
from tpdyn.reporting.terminal import sentence, show, show_prediction


def printed(what: Report | Prediction, width: int = 100, terminal: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal, color_system=None, highlight=False)
    if isinstance(what, Report):
        show(what, console)
    else:
        show_prediction(what, console)
    return out.getvalue()


def test_the_first_three_lines_say_regime_reason_and_remedy(report: Report) -> None:
    first, second, third = printed(report).splitlines()[:3]
    assert "kernel regime" in first
    assert "the runs confirm it: 3 confirmed, 0 undecided, 0 contradicted" in first
    for part in ("h2_1", "fc2", "train.py:12", "h = self.fc2(torch.tanh(h))"):
        assert part in second
    assert third == "what to change: raise the learning rate by sqrt(n)"


def test_a_prediction_alone_shows_its_first_three_lines_and_every_module(predicted: Callable[..., Prediction]) -> None:
    text = printed(predicted())
    assert text.startswith("kernel regime:")
    assert "the runs" not in text.splitlines()[0]
    assert "frozen" in text
    for name in ("fc1", "fc2"):
        assert any(line.startswith(name) and "-1/2" in line for line in text.splitlines())


def test_every_module_has_a_line_with_prediction_interval_and_verdict(report: Report) -> None:
    lines = [line for line in printed(report).splitlines() if line.startswith(("fc1", "fc2"))]
    assert len(lines) == 2
    for line in lines:
        assert "-1/2" in line
        assert "✓ agrees" in line
        assert "[-0." in line


def test_a_wrong_prediction_is_called_so(
    predicted: Callable[..., Prediction], measured: Callable[..., Measurement]
) -> None:
    wrong = compare(predicted(fc2=Fraction(0)), measured())
    text = printed(wrong)
    assert "the runs contradict it: 2 confirmed, 0 undecided, 1 contradicted" in text.splitlines()[0]
    assert "✗ disagrees" in text


def test_outside_the_theory_comes_first_and_the_prediction_is_qualified(predicted: Callable[..., Prediction]) -> None:
    first, second, third = printed(predicted(outside=True)).splitlines()[:3]
    assert first.startswith("outside the theory; as far as it reaches: kernel regime")
    assert "two dims grow" in second
    assert "train.py:11" in second
    assert third == "what to change: keep the batch fixed"


def test_no_line_of_the_table_is_wider_than_a_hundred_columns(report: Report) -> None:
    assert all(len(line) <= 100 for line in printed(report).splitlines()[3:])


def test_there_is_no_control_character_without_colour(report: Report) -> None:
    assert "\x1b" not in printed(report)


def test_the_regime_as_a_sentence_names_the_layers_that_learn(predicted: Callable[..., Prediction]) -> None:
    text = sentence(predicted(Regime.FEATURE_LEARNING, fc1=Fraction(0)))
    assert text == "feature learning: stable, the output learns, and so does fc1"
