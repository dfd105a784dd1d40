"""Is a script simulated, and taken to its limit, from the command line? It may come in all the ways that `check` takes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from textwrap import dedent

import pytest
from typer.testing import CliRunner

from tpdyn.cli import app
from tpdyn.commands.failures import BadInput
from tpdyn.commands.limit import measured
from tpdyn.commands.simulate import listed, number, table

SCRIPT = """
    import argparse, math, torch

    x = torch.linspace(-1, 1, 12).reshape(4, 3)

    def train(width, power=-1.0, steps=3):
        first, hidden, out = (torch.nn.Linear(a, b, bias=False) for a, b in ((3, width), (width, width), (width, 1)))
        for layer, std in ((first, 1.0), (hidden, width**-0.5), (out, width**power)):
            torch.nn.init.normal_(layer.weight, 0, std)
        rates = {first: 0.2 * width, hidden: 0.2, out: 0.2 / width}
        optimizer = torch.optim.SGD([{"params": layer.parameters(), "lr": lr} for layer, lr in rates.items()])
        for _ in range(steps):
            loss = (out(torch.tanh(hidden(torch.tanh(first(x))))) - 1).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def standard(width):
        train(width, power=-0.5)

    def adam(width):
        first, hidden, out = (torch.nn.Linear(a, b, bias=False) for a, b in ((3, width), (width, width), (width, 1)))
        weights = [p for layer in (first, hidden, out) for p in layer.parameters()]
        optimizer = torch.optim.Adam(weights, lr=1e-3, weight_decay=0.1)
        for _ in range(3):
            loss = (out(torch.tanh(hidden(torch.tanh(first(x))))) - 1).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    if __name__ == "__main__":
        parser = argparse.ArgumentParser()
        parser.add_argument("--d-model", type=int, default=64)
        train(parser.parse_args().d_model)
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "script.py"
    path.write_text(dedent(SCRIPT))
    return path


def test_the_distance_from_the_limit_is_told(script: Path) -> None:
    words = ("--points", "256", "--scrambles", "2", "--compare", "16,64", "--seeds", "3", "--json", "limit.json")
    status, out, _ = tpdyn("limit", f"{script}:train", *words)
    assert status == 0 and "distance from the limit n = 16 n = 64 power" in " ".join(out.split())
    assert json.loads(Path("limit.json").read_text())["approach"]["widths"] == [16, 64]
    assert tpdyn("limit", f"{script}:train", *words[:4], "--compare", "16")[0] == 2


def test_widths_at_which_ranges_are_left_are_forecast(script: Path) -> None:
    words = ("simulate", f"{script}:standard", "--forecast", "--json", "runs.json", "--widths")
    status, out, _ = tpdyn(*words, "32,64,128")
    assert status == 0 and "leaves float8 e4m3 at n = " in out and "hidden, step 2: " in out
    assert json.loads(Path("runs.json").read_text())["forecast"]["seeds"] == 4


def tpdyn(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, words)
    return done.exit_code, done.stdout, done.stderr


def test_losses_and_sizes_stand_side_by_side(script: Path) -> None:
    status, told, _ = tpdyn("simulate", f"{script}:train", "--widths", "100,5000", "--json", "runs.json")
    assert status == 0
    assert "n = 100  n = 5,000" in told
    assert "loss, step 2" in told
    assert "size of " in told
    runs = json.loads(Path("runs.json").read_text())["runs"]
    assert [run["width"] for run in runs] == [100, 5000]
    assert runs[1]["losses"][2] < runs[1]["losses"][0]


def test_a_script_is_run_as_it_is_with_its_own_option(script: Path) -> None:
    status, told, error = tpdyn("simulate", str(script), "--width-arg=--d-model", "--widths", "2000")
    assert status == 0, error
    assert "n = 2,000" in told


def test_the_limit_has_errors_and_what_has_none_is_outside(script: Path) -> None:
    words = ("--points", "1024", "--scrambles", "2")
    status, told, _ = tpdyn("limit", f"{script}:train", *words, "--json", "limit.json")
    assert status == 0
    assert told.splitlines()[0].split() == ["limit", "error", "spread", "if", "random"]
    assert "2 scrambles of 1,024 points" in told
    found = json.loads(Path("limit.json").read_text())
    assert len(found["losses"]) == 3
    assert found["losses"][0]["error"] < 1e-9
    assert {"kernels", "distributions", "levels"} <= set(found)
    status, _, _ = tpdyn("limit", f"{script}:train", *words, "--dtype", "float32", "--json", "float32.json")
    rounded = json.loads(Path("float32.json").read_text())
    assert status == 0
    exact, near = found["losses"][2], rounded["losses"][2]
    assert 0 < abs(exact["value"] - near["value"]) < exact["error"] + near["error"]
    status, told, error = tpdyn("limit", f"{script}:train", *words, "--dtype", "half", "--json", "half.json")
    assert (status, told, Path("half.json").exists()) == (2, "", False)
    assert "--dtype half: expected float64 or float32" in error
    status, told, error = tpdyn("limit", f"{script}:standard", *words)
    assert (status, told) == (13, "")
    assert "there is no limit, the run is unstable" in error
    assert "script.py" in error


def test_runs_beside_the_limit_are_silent_and_end_in_time(capsys: pytest.CaptureFixture[str]) -> None:
    def says(width: int) -> None:
        print("said")
        time.sleep(5)

    with pytest.raises(BadInput, match=r"took longer than 0\.2 s"):
        measured(says, (8, 16), 1, 1, 0.2)
    assert capsys.readouterr().out == ""


def test_what_the_sampler_has_no_rule_for_is_outside_with_its_line(script: Path) -> None:
    status, _, error = tpdyn("simulate", f"{script}:adam", "--widths", "100")
    assert status == 13
    assert "outside the sampler: a product of entries of hidden.weight itself" in error
    assert "script.py:" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--widths", "0"), "expected positive whole numbers"),
        (("--widths", "100,100"), "100 is given twice; expected different widths"),
        (("--widths", "100", "--record-widths", "8,8,12"), "8 is given twice; expected different widths"),
        (("--widths", "100", "--device", "gpu"), "device is 'gpu', which cannot be used here"),
        (("--widths", "100", "--dtype", "half"), "--dtype half: expected float64 or float32"),
        (("--widths", "1000000000000"), "GiB and"),
    ],
)
def test_bad_input_is_said_clearly(script: Path, words: tuple[str, ...], message: str) -> None:
    status, told, error = tpdyn("simulate", f"{script}:train", *words, "--json", "runs.json")
    assert (status, told) == (2, "")
    assert message in error
    assert not Path("runs.json").exists()


def test_tables_and_numbers() -> None:
    assert table([("", "a"), ("name", "12.5")]) == "         a\nname  12.5"
    assert number(float("nan")) == "nan"
    assert number(0.5) == 0.5
    import torch

    assert listed(torch.tensor([[1.0, float("inf")]])) == [[1.0, "inf"]]
