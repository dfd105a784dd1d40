"""Mirrors tpdyn/claims/unseen.py: the program measures what no live run shows, unless it is of another law or takes too long."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tpdyn
from tpdyn.claims.deciding import until_decided
from tpdyn.claims.outcome import Outcome
from tpdyn.claims.report import Report, compare
from tpdyn.claims.unseen import ProgramRuns, far_widths, marked, unseen
from tpdyn.measuring.measurement import Measurement
from tpdyn.regimes.prediction import Prediction, Regime


class Inside(nn.Module):
    """A network in muP whose only hidden values are not a module's output."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(width, 3))
        self.last = nn.Parameter(torch.randn(2, width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.first.T) @ self.last.T / len(self.first)


def train(width: int) -> None:
    net = Inside(width)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.3 * width)
    x = torch.linspace(-1, 1, 6).view(2, 3)
    for _ in range(3):
        loss = (net(x) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


WIDTHS = (16, 32, 64, 128)


@pytest.fixture(scope="module")
def prediction() -> Prediction:
    return tpdyn.predict(tpdyn.record(train), remedy=False)


@pytest.fixture(scope="module")
def live() -> Measurement:
    return tpdyn.measure(train, WIDTHS, seeds=6)


def judged(prediction: Prediction, live: Measurement, runs: ProgramRuns | None = None) -> Report:
    return compare(prediction, live, by_program={} if runs is None else runs.of_values())


def row_of(report: Report) -> tuple[str, str, str]:
    (name,) = unseen(report.prediction)
    row = next(each for each in report.rows() if each.name == name)
    return row.verdict, row.by, row.note


def test_a_value_without_a_module_is_measured_by_the_program(prediction: Prediction, live: Measurement) -> None:
    (name,) = unseen(prediction)
    assert prediction.regime is Regime.FEATURE_LEARNING and name.startswith("test_unseen.py:")
    assert row_of(judged(prediction, live))[0] == "not measured"
    runs = ProgramRuns(prediction, live)
    report = judged(prediction, live, runs)
    verdict, by, note = row_of(report)
    assert (verdict, by) == ("agrees", "program")
    assert note.startswith("by runs of the recorded program, 8 at each width, 16 to 128")
    assert report.measured(name).seeds != live.seeds and report.measured("output") is live
    assert not runs.notes


def test_nothing_is_run_where_modules_show_everything(prediction: Prediction, live: Measurement) -> None:
    runs = ProgramRuns(replace(prediction, table=tuple(row for row in prediction.table if row.kind != "value")), live)
    assert runs.of_values() == {} and runs.measurement is None
    assert marked(runs.prediction) is prediction.program


def test_runs_of_another_law_measure_nothing(prediction: Prediction, live: Measurement) -> None:
    other = replace(live, rms=live.rms * np.array(live.widths)[:, None, None, None] ** 0.5)
    runs = ProgramRuns(prediction, other)
    assert runs.of_values() == {}
    assert "not of the law of the live ones" in runs.notes[0]


def test_too_few_live_runs_compare_nothing(prediction: Prediction, live: Measurement) -> None:
    one = replace(live, seeds=live.seeds[:1], **{
        name: getattr(live, name)[:, :1] for name in live.__dataclass_fields__ if isinstance(getattr(live, name), np.ndarray)
    })  # fmt: skip
    runs = ProgramRuns(prediction, one)
    assert runs.of_values() == {} and "too few" in runs.notes[0]


def test_further_widths_and_seeds_are_added_and_far_ones_simulated(prediction: Prediction, live: Measurement) -> None:
    runs = ProgramRuns(prediction, live)
    first = runs.beside()
    assert first is not None and len(first.seeds) == 8
    more = runs.beside((256,), 10)
    assert more is not None and more.widths == (*WIDTHS, 256) and len(more.seeds) == 10 and more.completed.all()
    assert np.array_equal(more.rms[:4, :8], first.rms, equal_nan=True)  # what was run is not run again
    far = runs.at((1024, 2048), 2)
    assert far is not None and far.widths == (1024, 2048)
    assert any("width 2048 was simulated" in note for note in far.notes)
    report = compare(prediction, live, by_program={unseen(prediction)[0]: far})
    assert "by simulated runs of the recorded program, 2 at each width, 1024 to 2048" in row_of(report)[2]


class Crossing(Inside):
    """A second matrix moves the hidden value at order -1/2 with a large constant: both parts cross at width 10,000."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.slow = nn.Parameter(torch.randn(width, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ (self.first + self.slow).T) @ self.last.T / len(self.first)


def crossing(width: int) -> None:
    net = Crossing(width)
    rates = {"first": 0.01 * width, "slow": width**0.5, "last": 0.3 * width}
    optimizer = torch.optim.SGD([{"params": [p], "lr": rates[name]} for name, p in net.named_parameters()])
    x = torch.linspace(-1, 1, 6).view(2, 3)
    for _ in range(3):
        loss = (net(x) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_a_change_whose_parts_cross_late_is_judged_by_its_leading_part() -> None:
    late = tpdyn.predict(tpdyn.record(crossing), remedy=False)
    runs = ProgramRuns(late, tpdyn.measure(crossing, (32, 64, 128, 256), seeds=8))
    (name,) = unseen(late)
    runs.beside(seeds=24)
    whole = judged(late, runs.live, runs)
    verdict, _, note = row_of(whole)
    assert verdict == "inconclusive" and "may be a part of order -1/2 with a larger constant" in note
    assert runs.measurement is not None
    factor = np.sqrt(np.array(runs.measurement.widths))[:, None, None, None]
    planted = replace(runs.measurement, change=runs.measurement.change * factor)
    verdict, _, note = row_of(compare(late, runs.live, by_program={name: planted}))
    assert verdict == "inconclusive" and "parts of lower order make most of it" in note  # a slope of 0, by chance
    part = runs.part(name, whole.step, 8)
    assert part is not None
    verdict, by, note = row_of(compare(late, runs.live, by_program={name: part}))
    assert (verdict, by) == ("agrees", "program")
    assert note.startswith("by runs of the recorded program (change by first alone), 8 at each width, 32 to 256")
    assert row_of(until_decided(whole, lambda *_: runs.live, program=runs))[0] == "agrees"


def test_a_rest_that_outgrows_the_leading_part_is_no_rest(
    monkeypatch: pytest.MonkeyPatch, prediction: Prediction, live: Measurement
) -> None:
    """If the rest grows, the change does: its leading part alone says nothing."""
    runs = ProgramRuns(prediction, live)
    (name,) = unseen(prediction)
    assert runs.part(name, 2, 8) is None  # all parameters lead
    monkeypatch.setattr("tpdyn.claims.unseen.leading_of", lambda *_: frozenset({"last"}))
    monkeypatch.setattr("tpdyn.claims.unseen.rest_of", lambda *_: np.sqrt(WIDTHS)[:, None] * np.linspace(0.9, 1.1, 4))
    assert runs.part(name, 2, 8) is None


def test_no_run_is_begun_without_time(prediction: Prediction, live: Measurement) -> None:
    runs = ProgramRuns(prediction, live, on=lambda: False)
    assert runs.of_values() == {}
    slow = ProgramRuns(prediction, live)
    assert slow.beside() is not None
    slow.slowest = {128: 1.0}
    assert slow.at((1024, 2048), 2) is None  # 64 times as long as at 128 would be too long


def test_far_widths_are_doubled_and_stay_below_an_epsilon() -> None:
    assert far_widths((64, 128, 256, 512), {}) == (8192, 16384, 32768, 65536)
    assert far_widths((48, 96), {}) == (6144, 12288, 24576, 49152)
    assert far_widths((64, 512), {"fc": 1e4}) == (1024, 2048)
    assert far_widths((64, 512), {"fc": 3e3}) == ()
    assert far_widths((64, 65536), {}) == ()


def test_a_wrong_theory_of_such_a_value_is_contradicted(prediction: Prediction, live: Measurement) -> None:
    runs = ProgramRuns(prediction, live).of_values()[unseen(prediction)[0]]
    factor = np.sqrt(np.array(runs.widths))[:, None, None, None]
    wrong = replace(runs, change=runs.change * factor, change_rms=runs.change_rms * factor)
    report = compare(prediction, live, by_program={unseen(prediction)[0]: wrong})
    assert row_of(report)[0] == "disagrees" and report.outcome is Outcome.CONTRADICTED
