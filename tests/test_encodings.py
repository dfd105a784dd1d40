"""May a script hold letters that the terminal lacks? Each command prints in any encoding; files are written in UTF-8."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from tpdyn.cli import main

SCRIPT = """
import torch

class Modèle(torch.nn.Module):
    def __init__(self, n):
        super().__init__()
        self.η, self.out = torch.nn.Linear(4, n), torch.nn.Linear(n, 3)

    def forward(self, x):
        return self.out(torch.tanh(self.η(x)))  # η → ∞ 😀

def train(n):
    print("η →", n)
    model = Modèle(n)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (model(torch.ones(5, 4)) - 1).square().mean().backward()  # ∑
        optimizer.step()

def raises(n):
    raise ValueError("η → 😀")
"""

COMMANDS = {
    "check script.py:train --no-measure --show-dims --statements --json verdict.json": 10,
    "check script.py:raises": 2,
    "check script.py:trän": 2,
    "fix script.py:train": 0,
    "explain ηη": 2,
}
"""Each with its exit status."""


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_every_command_prints_in_an_encoding_that_lacks_the_letters_of_the_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tpdyn.cli.keep_the_exit", lambda: None)
    Path("script.py").write_text(SCRIPT, encoding="utf-8")
    for command, status in list(COMMANDS.items())[: None if encoding == "ascii" else 2]:
        streams = [io.BytesIO(), io.BytesIO()]
        for name, stream in zip(("stdout", "stderr"), streams, strict=True):
            monkeypatch.setattr(sys, name, io.TextIOWrapper(stream, encoding=encoding))
        monkeypatch.setattr(sys, "argv", ["tpdyn", *command.split()])
        with pytest.raises(SystemExit) as left:
            main()
        sys.stdout.flush()
        sys.stderr.flush()
        printed = b"".join(stream.getvalue() for stream in streams)
        assert left.value.code == status and b"?" in printed and b"Traceback" not in printed, printed
    assert "η" in str(json.loads(Path("verdict.json").read_text(encoding="utf-8")))
