"""Are scripts that know nothing of tpdyn recorded and judged as they are?"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import tpdyn
from tpdyn.regimes.prediction import Regime
from tpdyn.scripts.script import load

EXAMPLES = Path(__file__).parents[1] / "examples"


def verdict(folder: Path, *words: str) -> dict[str, Any]:
    """The JSON verdict of `tpdyn check` without runs."""
    file = folder / "verdict.json"
    command = [sys.executable, "-c", "from tpdyn.cli import main; main()", "check", *words, "--no-measure"]
    made = subprocess.run(
        [*command, "--json", str(file)], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert file.exists(), made.stderr
    return json.loads(file.read_text())  # type: ignore[no-any-return]


@pytest.mark.slow
def test_a_residual_network_with_batch_norm_grows_because_of_its_learning_rate() -> None:
    train = load(str(EXAMPLES / "resnet.py"), "--width", [])
    found = tpdyn.predict(tpdyn.record(train, widths=(16, 24, 40), steps=3, verify=False), remedy=False)
    assert found.regime is Regime.UNSTABLE
    orders = {(row.name, row.step): (row.size, row.change) for row in found.rows()}
    assert orders["conv1", 0][0] == Fraction(-1, 2)  # initialised by its fan out
    assert orders["bn1", 1] == (0, 0)
    assert orders["fc", 1] == (0, 1)
    assert "layer1.0.conv1.weight contributes" in found.reasons[0].text


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
def test_gpt2_of_transformers_grows_from_its_initialisation_on(tmp_path: Path) -> None:
    found = verdict(tmp_path, str(EXAMPLES / "hf_gpt2.py"), "--width-arg=--n-embd", "--widths", "32,48,80")
    assert found["regime"] == "unstable"
    orders = {row["name"]: (row["size_order"], row["change_order"]) for row in found["modules"]}
    assert orders["transformer.wte"] == ("0", "0")
    assert orders["transformer.h.0.attn.c_attn"] == ("1/2", "1")
