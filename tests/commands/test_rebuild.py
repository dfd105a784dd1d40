"""Mirrors tpdyn/commands/rebuild.py: a log comes back from the finished runs alone, as its command wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest
from typer.testing import CliRunner

from tpdyn.board.folder import logs_in
from tpdyn.cli import app
from tpdyn.commands.report import report

SCRIPT = """
    import torch
    from torch import nn

    class Net(nn.Module):  # its hidden value is not a module's output: the recorded program measures it
        def __init__(self, width):
            super().__init__()
            self.first, self.last = nn.Parameter(torch.randn(width, 3)), nn.Parameter(torch.randn(1, width))

        def forward(self, x):
            return torch.tanh(x @ self.first.T) @ self.last.T / len(self.first)

    def train(width):
        model = Net(width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1 * width)
        x, y = torch.randn(8, 3), torch.randn(8, 1)
        for _ in range(20):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
"""


def said(*words: object, status: int = 0) -> str:
    found = CliRunner().invoke(app, [str(word) for word in words])
    assert found.exit_code == status, found.output
    return found.output


def test_a_check_is_rebuilt_without_its_script_equal_to_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.py").write_text(dedent(SCRIPT))
    words = "check s.py:train --widths 16,32 --json a.json --by program"  # three live runs, sixteen of the program
    checked = CliRunner().invoke(app, words.split())
    assert checked.exit_code in (0, 10, 12, 16), checked.output
    assert "by runs of the recorded program, 16 at each width" in checked.output.replace("\n  ", " ")
    Path("s.py").unlink()
    assert "s-train" in said("runs", "rebuild", "s-train", "--output", "again", "--json", "b.json")
    assert json.loads(Path("b.json").read_text()) == json.loads(Path("a.json").read_text())
    assert report(Path("again"), None, "md") == report(Path("logs/s-train"), None, "md")
    (one,), (other,) = logs_in(Path("again")), logs_in(Path("logs/s-train"))
    assert one.document == other.document
    before = {path.relative_to("logs/s-train").parent for path in Path("logs/s-train").rglob("events*")}
    assert {path.relative_to("again/s-train").parent for path in Path("again/s-train").rglob("events*")} == before
    said("runs", "prune", "--days", 0)
    assert "is gone" in said("runs", "rebuild", status=2)


def test_sweeps_are_rebuilt_without_their_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.py").write_text(dedent(SCRIPT))
    words = "transfer s.py:train --widths 8,16 --powers -1,1 --seeds 2 --steps 5 --json a.json"
    said(*words.split())
    Path("s.py").unlink()
    said("runs", "rebuild", "--json", "b.json")
    assert json.loads(Path("b.json").read_text()) == json.loads(Path("a.json").read_text())


def test_a_log_that_nothing_is_noted_of_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("logs/runs").mkdir(parents=True)
    Path("logs/runs/store.json").write_text('{"format": 1}')
    assert "holds no note of a log" in said("runs", "rebuild", status=2)
    assert "expected one of: none" in said("runs", "rebuild", "mine", status=2)
