"""A script with each way out, a small one to derive from, and the command line in an empty folder."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from command_line import Run
from typer.testing import CliRunner, Result

from tpdyn.cli import app

SCRIPT = """
    import argparse, os, signal, time, torch
    from torch import nn

    def train(width, lr=None, init=None, steps=20):
        model = nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))
        first, hidden, out = model[0], model[2], model[4]
        nn.init.normal_(out.weight, std=1 / width)
        rates = lr(width) if lr else (width, 1.0, 1 / width)
        optimizer = torch.optim.SGD([
            {"params": [*first.parameters(), hidden.bias], "lr": 0.2 * rates[0]},
            {"params": [hidden.weight, out.bias], "lr": 0.2 * rates[1]},
            {"params": [out.weight], "lr": 0.2 * rates[2]},
        ])
        draws = torch.Generator().manual_seed(1)
        x, y = torch.randn(7, 5, generator=draws), torch.randn(7, 1, generator=draws)
        for step in range(steps):
            loss = (model(x) - y).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            print("loss at step", step, "width", width)

    def unstable(width):
        train(width, lambda n: (n, n, n))

    def trivial(width):
        train(width, lambda n: (1 / n, 1 / n, 1 / n**2))

    def changes_its_mind(width):
        train(width, (lambda n: (n, 1, 1 / n)) if width < 60 else (lambda n: (1, 1 / n, 1 / n**2)))

    def raises(width):
        raise KeyError("no such thing in the file")

    def never_steps(width):
        nn.Linear(5, width)(torch.ones(2, 5))

    def ignores_the_width(width):
        train(20)

    def sorts(width):
        weight = nn.Parameter(torch.randn(width, 5))
        optimizer = torch.optim.SGD([weight], lr=0.1)
        for _ in range(5):
            loss = torch.linalg.svdvals(torch.ones(7, 5) @ weight.T).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def interrupted(width):
        raise KeyboardInterrupt

    def leaves(width):
        raise SystemExit("the file with the data is missing")

    def leaves_for_good(width):
        os._exit(0)

    def retries_forever(width):
        while True:
            try:
                train(width)
            except:
                time.sleep(0.01)

    def saves_when_interrupted(width):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            print("saved")

    def writes(width):
        with open("checkpoint.txt", "a") as file:
            file.write("x")
        train(width)

    def goes_elsewhere(width):
        os.chdir(os.environ["ELSEWHERE"])
        train(width)

    if __name__ == "__main__":
        parser = argparse.ArgumentParser()
        parser.add_argument("--d-model", type=int, default=8)
        parser.add_argument("--steps", type=int, default=1)
        arguments = parser.parse_args()
        train(arguments.d_model, steps=arguments.steps)
"""

PERCEPTRON = """
    import torch

    print("when it is imported")

    def train(width):
        first, out = torch.nn.Linear(5, width, bias=False), torch.nn.Linear(width, 1, bias=False)
        optimizer = torch.optim.SGD([*first.parameters(), *out.parameters()], lr=0.1)
        x, y = torch.randn(7, 5), torch.randn(7, 1)
        for _ in range(3):
            loss = (out(torch.tanh(first(x))) - y).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(dedent(SCRIPT))
    return path


@pytest.fixture
def perceptron(tmp_path: Path) -> str:
    path = tmp_path / "perceptron.py"
    path.write_text(dedent(PERCEPTRON))
    return f"{path}:train"


@pytest.fixture
def tpdyn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line in an empty folder; returns what came out."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    # Numbers in messages of a wide terminal must not be broken by its width.
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, list(words))

    return run
