"""Mirrors tpdyn/commands/runs.py and the commands `tpdyn runs`."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tpdyn.cli import app
from tpdyn.commands.failures import BadInput
from tpdyn.commands.runs import means_of, pruned
from tpdyn.scripts.target import Target
from tpdyn.store.store import Measured, Store

FACTS = {"script": "a.py", "kind": "measure", "by": "script", "width": 64, "seed": 0, "steps": 3, "notes": ["a note"]}


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    store = Store.under(tmp_path)
    store.put("ab12", FACTS, [Measured(0, "fc", "size", 0.25), Measured(1, "", "loss", 2.0)])
    store.put("cd34", FACTS | {"script": "b.py", "width": 128}, [])
    (store.folder / "ab" / "broken.parquet").write_bytes(b"")
    return tmp_path


def said(*words: str, status: int = 0) -> str:
    found = CliRunner().invoke(app, ["runs", *words])
    assert found.exit_code == status, found.output
    return found.output


def test_runs_are_listed_shown_and_forgotten(logs: Path) -> None:
    listed = said("list", "--logdir", str(logs))
    assert "a.py" in listed
    assert "128" in listed
    assert "1 files cannot be read" in listed
    shown = said("show", "ab1", "--logdir", str(logs))
    assert "note: a note" in shown
    assert "0.25" in shown
    assert "1 finished runs forgotten" in said("prune", "--broken", "--logdir", str(logs))
    assert "1 finished runs forgotten" in said("prune", "--script", "b.py", "--logdir", str(logs))
    assert "b.py" not in said("list", "--logdir", str(logs))
    assert pruned(logs, days=1) == 0
    assert pruned(logs, days=0) == 1
    assert "no finished runs" in said("list", "--logdir", str(logs))


def test_what_is_not_there_is_said(logs: Path, tmp_path: Path) -> None:
    assert "0 finished runs begin so" in said("show", "ff", "--logdir", str(logs), status=2)
    assert "which runs?" in said("prune", "--logdir", str(logs), status=2)
    assert "has no finished runs" in said("list", "--logdir", str(tmp_path / "nowhere"), status=2)
    with pytest.raises(BadInput, match="expected one of: loky, dask, ray"):
        means_of(Target("a.py:train"), logs, backend="slurm")
