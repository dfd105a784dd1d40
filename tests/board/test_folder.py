from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tpdyn.board.folder import logs_in

Make = Callable[..., dict[str, Any]]


def test_the_logs_below_a_folder_are_found_in_the_order_of_people(tmp_path: Path, make: Make) -> None:
    for name in ("run-10", "run-2", "deep/er"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "verdict.json").write_text(json.dumps(make(name)))
    assert [log.name for log in logs_in(tmp_path)] == ["deep/er", "run-2", "run-10"]
    (alone,) = logs_in(tmp_path / "run-2")
    assert (alone.name, alone.document, alone.atlas) == ("run-2", make("run-2"), None)


def test_what_is_no_document_has_an_error_in_words(tmp_path: Path, make: Make) -> None:
    contents = {
        "a": "{",
        "b": "[1]",
        "c": json.dumps({"schema": "other"}),
        "d": "\ud800".encode("utf-8", "surrogatepass"),
    }
    for name, content in contents.items():
        (tmp_path / name).mkdir()
        file = tmp_path / name / "verdict.json"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    logs = logs_in(tmp_path)
    assert [log.document for log in logs] == [None] * 4
    assert all("verdict.json" in log.error for log in logs)
    assert "expected 'tpdyn.board/1'" in logs[2].error
