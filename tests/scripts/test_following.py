"""Mirrors tpdyn/scripts/following.py: a size that follows from those that are set is named with its formula."""

from __future__ import annotations

from pathlib import Path

import pytest

from tpdyn.recorder.errors import Told
from tpdyn.scripts.script import load

SCRIPT = """
import torch
from torch import nn

model = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.{layer}, nn.Flatten(), nn.Linear(1152, 10))
model(torch.randn(2, 1, 8, 8))
"""


@pytest.mark.parametrize(
    ("layer", "hint"),
    [
        ("Identity()", r"1152 \(train.py:5\) grows with the width, too: add --set 1152=36\*n"),
        ("BatchNorm2d(8 * 4)", "^running_mean should contain"),
        ("BatchNorm2d(32)", "--set 1152"),
        ("Conv2d(16, 32, 1)", "to have 16 channels"),
    ],
)
def test_a_number_that_follows_is_named_with_its_formula(tmp_path: Path, layer: str, hint: str) -> None:
    file = tmp_path / "train.py"
    file.write_text(SCRIPT.replace("{layer}", layer))
    with pytest.raises((Told, RuntimeError), match=hint):
        load(str(file), settings=["32=n"])(24)
    if layer == "Identity()":
        load(str(file), settings=["32=n", "1152=36*n"])(24)
