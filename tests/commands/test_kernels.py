"""Mirrors tpdyn/commands/kernels.py: are kernels of a network in a file found for inputs in a file, and the rest refused?"""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tpdyn.cli import app

SCRIPT = """
    import torch
    from torch import nn

    class Dense(nn.Module):
        def __init__(self, i, o):
            super().__init__()
            self.w = nn.Parameter(torch.randn(o, i))
        def forward(self, x):
            return x @ self.w.T * self.w.shape[1] ** -0.5

    def net(width):
        return nn.Sequential(Dense(3, width), nn.ReLU(), Dense(width, 1))

    def standard(width):
        return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 1))

    def nothing(width):
        return None
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(dedent(SCRIPT))
    np.save(tmp_path / "x.npy", np.random.RandomState(0).standard_normal((6, 3)).astype("float32"))
    torch.save(torch.ones(2, 3), tmp_path / "y.pt")
    return tmp_path


def ask(folder: Path, function: str, *more: str) -> tuple[int, str]:
    done = CliRunner().invoke(
        app, ["kernels", f"{folder / 'net.py'}:{function}", "--inputs", str(folder / "x.npy"), *more]
    )
    return done.exit_code, done.output


def test_both_kernels_are_shown_and_saved(folder: Path) -> None:
    status, output = ask(folder, "net", "--against", str(folder / "y.pt"), "--save", str(folder / "k.npz"))
    assert status == 0, output
    assert "NNGP: 6 x 2" in output
    assert "NTK: 6 x 2" in output
    x = np.load(folder / "x.npy")
    with np.load(folder / "k.npz") as file:
        saved = dict(file)
    norms, inner = np.linalg.norm(x, axis=1)[:, None] * 3**0.5, x.sum(1, keepdims=True)
    angle = np.arccos(inner / norms)
    expected = norms * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi * 3)
    np.testing.assert_allclose(saved["nngp"], np.repeat(expected, 2, 1), rtol=2e-6)
    np.testing.assert_allclose(saved["ntk"], saved["nngp"] + inner * (np.pi - angle) / (2 * np.pi * 3), rtol=5e-6)


@pytest.mark.parametrize(
    ("function", "more", "status", "message"),
    [
        ("standard", (), 13, "has no limit in this parametrization"),
        ("nothing", (), 2, "expected a torch.nn.Module"),
        ("net", ("--against", "missing.npy"), 2, "no such file"),
        ("net", ("--save", "no/such/folder/k.npz"), 2, "folder"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_written(
    folder: Path, function: str, more: tuple[str, ...], status: int, message: str
) -> None:
    found, output = ask(folder, function, *more)
    assert (found, message in output.replace("\n", " ")) == (status, True), output
    assert not list(folder.glob("*.npz*"))


def test_a_file_that_is_no_array_is_refused(folder: Path) -> None:
    (folder / "bad.npy").write_text("no array")
    status, output = ask(folder, "net", "--against", str(folder / "bad.npy"))
    assert status == 2
    assert "cannot be read" in output
