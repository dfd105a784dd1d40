from __future__ import annotations

import json
from pathlib import Path

from tpdyn.claims.report import Report
from tpdyn.reporting.document import of_prediction, of_report
from tpdyn.reporting.tensorboard import log


def test_a_log_holds_its_document_as_a_file(report: Report, tmp_path: Path) -> None:
    folder = log(report, tmp_path / "mlp", script="train.py")
    document = json.loads((folder / "verdict.json").read_text())
    assert document == json.loads(json.dumps(of_report(report, title="mlp", script="train.py")))
    assert json.loads((folder / "program-map.json").read_text())["nodes"]["name"][0] == "fc1.weight"


def test_a_prediction_alone_is_a_document_too(report: Report, tmp_path: Path) -> None:
    folder = log(report.prediction, tmp_path / "mlp")
    assert json.loads((folder / "verdict.json").read_text()) == of_prediction(report.prediction, title="mlp")
