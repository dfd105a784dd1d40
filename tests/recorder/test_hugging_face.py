"""Are the public model definitions of transformers recorded, fitted at a held-out width and given orders, as they are?

All of `conformance/hugging_face.py` is checked in the slow tier; a family runs in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="transformers is not installed: pip install tpdyn[integrations]")

QUICK = (
    "GPT-2, AdamW",
    "BERT, padded, SGD",
    "ViT, AdamW",
    "Llama, grouped heads, SGD",
    "Mixtral, SGD",
    "Mixtral, experts looped over their tokens, SGD",
    "Mamba, SGD",
)


@pytest.mark.slow
def test_public_models_are_recorded_fitted_and_given_orders() -> None:
    command = [sys.executable, "-m", "conformance", "hugging_face", *QUICK]
    made = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=600, check=False)
    assert made.returncode == 0, made.stderr
    outcomes = {line["name"]: line for line in map(json.loads, made.stdout.splitlines())}
    assert sorted(outcomes) == sorted(QUICK)
    assert {name: line["why"] for name, line in outcomes.items() if not line["agrees"]} == {}
