from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tpdyn.claims.report import Report, compare
from tpdyn.measuring.measurement import Measurement
from tpdyn.regimes.prediction import Prediction, Regime
from tpdyn.reporting.document import SCHEMA, of_prediction, of_refusal, of_report, summary


def test_every_field_is_published(report: Report, published: Callable[[dict[str, Any]], list[str]]) -> None:
    for made in (of_report(report, runs=(1, 2)), of_prediction(report.prediction), of_refusal("sorts has no rule")):
        assert published(made) == []


def test_a_check_holds_all_that_the_report_says_and_its_runs(report: Report) -> None:
    made = of_report(report, title="mlp", script="train.py")
    told = report.to_dict()
    assert {key: made[key] for key in told if key != "modules"} == {k: v for k, v in told.items() if k != "modules"}
    for module, row in zip(made["modules"], told["modules"], strict=True):
        assert {key: module[key] for key in row} == row
    assert (made["schema"], made["kind"], made["title"]) == (SCHEMA, "check", "mlp")
    assert (made["widths"], len(made["seeds"]), made["steps"]) == ([64, 128, 256, 512], 6, 3)
    (fc2,) = [module for module in made["modules"] if module["name"] == "fc2"]
    assert np.asarray(fc2["change"]) == pytest.approx(report.measurement.change[..., 1], rel=1e-4)
    assert fc2["fits"][2]["change"]["estimate"] == pytest.approx(-0.5, abs=0.05)
    assert fc2["fits"][0]["change"] is None  # nothing has changed yet
    assert fc2["place"] == {"file": "train.py", "line": 12, "text": "h = self.fc2(torch.tanh(h))"}
    assert fc2["formula"].startswith("h2_1 = a1_1 fc2.weight^T")
    json.dumps(made, allow_nan=False)


def test_a_report_is_a_short_cell_of_a_notebook(report: Report) -> None:
    made = report._repr_html_()
    assert "kernel: confirmed by the runs" in made
    assert "agrees" in made
    assert len(made) < 4000


def test_runs_that_diverge_are_null(predicted: Callable[..., Prediction], measured: Callable[..., Measurement]) -> None:
    measurement = measured(fc1=0.5)
    measurement.change[3, 0, 2, 0] = np.inf
    measurement.size[3, 0, 2, 0] = np.nan
    report = compare(predicted(Regime.UNSTABLE, fc1=Fraction(1, 2)), measurement)
    (fc1,) = [module for module in of_report(report)["modules"] if module["name"] == "fc1"]
    assert fc1["change"][3][0][2] is None
    assert fc1["size"][3][0][2] is None


def test_a_prediction_has_the_same_fields_as_a_check(report: Report) -> None:
    measured, predicted = of_report(report), of_prediction(report.prediction, runs=(0, 24))
    assert predicted.keys() == measured.keys()
    assert predicted["modules"][0].keys() == measured["modules"][0].keys()
    assert (predicted["outcome"], predicted["widths"], predicted["runs"]) == (None, [], [0, 24])
    json.dumps(predicted, allow_nan=False)


def test_a_summary_is_short_and_says_what_came_out(report: Report) -> None:
    short = summary(of_report(report, title="mlp"))
    assert (short["says"], short["outcome"]) == ("kernel", "confirmed")
    assert len(json.dumps(short)) < 300
