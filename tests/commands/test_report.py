from __future__ import annotations

import json
from pathlib import Path

import pytest

from tpdyn.commands.failures import BadInput
from tpdyn.commands.report import report


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs" / "sweep"
    folder.mkdir(parents=True)
    document = {"schema": "tpdyn.board/1", "kind": "transfer", "title": "sweep", "script": "", "transfers": []}
    (folder / "verdict.json").write_text(json.dumps(document))
    return tmp_path / "logs"


def test_the_ending_of_the_file_says_which_format(logs: Path, tmp_path: Path) -> None:
    made = report(logs, tmp_path / "r.html")
    assert isinstance(made, Path)
    assert made.read_text().startswith("<!doctype html>")
    assert Path(report(logs, tmp_path / "r.md")).read_text() == "## sweep\n\n\n"
    assert json.loads(Path(report(logs, tmp_path / "r.json")).read_text())["kind"] == "transfer"
    assert not list(tmp_path.glob(".r*"))


def test_without_a_file_the_page_gets_a_name_and_texts_are_returned(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert report(logs, None) == tmp_path / "report.html"
    assert str(report(logs / "sweep", None, "md")).startswith("## sweep")


def test_what_cannot_be_reported_is_bad_input(logs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, output, form, why in (
        (tmp_path / "none", None, "", "no such folder"),
        (tmp_path / "empty", None, "", "no log in it"),
        (logs, None, "pdf", "expected one of: html, md, json"),
        (logs, tmp_path / "no" / "r.html", "", "cannot be written"),
    ):
        with pytest.raises(BadInput, match=why):
            report(folder, output, form)
    (logs / "sweep" / "verdict.json").write_text("{")
    with pytest.raises(BadInput, match=r"verdict\.json"):
        report(logs, None)
