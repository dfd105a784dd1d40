"""Is a program shown as recorded, with its orders? Is a file of one predicted without the script?"""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest
from typer.testing import CliRunner

from tpdyn.cli import app
from tpdyn.commands.failures import Exit

SCRIPT = """
    import torch

    def train(width, power=-1.0):
        first, out = torch.nn.Linear(3, width, bias=False), torch.nn.Linear(width, 1, bias=False)
        torch.nn.init.normal_(first.weight)
        torch.nn.init.normal_(out.weight, std=width**power)
        rates = {first: 0.1 * width, out: 0.1 / width}
        optimizer = torch.optim.SGD([{"params": layer.parameters(), "lr": lr} for layer, lr in rates.items()])
        for _ in range(3):
            optimizer.zero_grad()
            (out(torch.tanh(first(torch.ones(2, 3)))) - 1).square().mean().backward()
            optimizer.step()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("show")
    (folder / "script.py").write_text(dedent(SCRIPT))
    done = run("show", f"{folder / 'script.py'}:train", "--steps", "3", "--save", str(folder / "program.json"))
    assert done[0] == 0
    (folder / "shown.txt").write_text(done[1])
    return folder


def run(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.stdout, done.stderr


def test_a_script_and_the_file_of_its_program_are_shown_alike(folder: Path) -> None:
    again = run("show", str(folder / "program.json"))
    assert again[:2] == (0, (folder / "shown.txt").read_text())
    assert "-- step 2, optimizer" in again[1]


def test_each_value_has_its_orders_beside_it_on_request(folder: Path) -> None:
    status, text, _ = run("show", str(folder / "program.json"), "--step", "1", "--phase", "forward", "--orders")
    assert status == 0
    assert "-- step 1, forward" in text
    assert "step 0" not in text
    (hidden,) = [line for line in text.splitlines() if "tanh(" in line and "change" in line][:1]
    assert "[2, n]" in hidden
    assert "size 0" in hidden
    assert "change 0" in hidden


def test_a_program_file_is_predicted_as_its_script_is(folder: Path, tmp_path: Path) -> None:
    status, text, _ = run("predict", str(folder / "program.json"), "--json", str(tmp_path / "verdict.json"))
    assert status == Exit.OK
    assert "FEATURE LEARNING" in text
    assert json.loads((tmp_path / "verdict.json").read_text())["regime"] == "feature learning"
    status, _, said = run("predict", str(folder / "program.json"), "--require", "kernel")
    assert status == Exit.ANOTHER_REGIME
    assert "required: kernel; predicted: feature learning" in said


def test_what_cannot_be_shown_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('{"a":')
    for words, message in (
        (("show", "nowhere.json"), "no such file"),
        (("show", str(tmp_path / "broken.json")), "not a program that tpdyn wrote"),
        (("show", str(folder / "program.json"), "--step", "7"), "steps 0 to 2"),
        (("show", str(folder / "program.json"), "--phase", "sleep"), "expected one of initialization"),
        (("predict", str(folder / "program.json"), "--require", "nice"), "no such regime"),
    ):
        status, _, said = run(*words)
        assert status == Exit.BAD_INPUT, words
        assert message in said
