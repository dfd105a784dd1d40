"""Every script of the conformance suite comes as far as it should: to orders, or to its expected refusal.

The scripts are in tests/recorder/conformance/; `python docs/conformance.py` writes what is seen of them as a table. Scripts
that are known not to come that far are listed with their reason. One that does after all is named, so that the list
shrinks. All of them take several minutes: the quick profile takes every twenty-fourth.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "recorder"
EVERY = 24 if os.environ.get("HYPOTHESIS_PROFILE") == "quick" else 1

KNOWN: dict[str, dict[str, str]] = {
    "layers": {},
    "attention": {},
    "recurrent": {},
    "models": {},
    "losses": {},
    "optimizers": {},
    "loops": {},
    "hugging_face": {},
}


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the scripts of the suite are in a checkout only")
@pytest.mark.parametrize("family", KNOWN)
def test_scripts_come_as_far_as_they_should(family: str) -> None:
    if family == "hugging_face" and importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    command = [sys.executable, "-m", "conformance", family, f"--every={EVERY}"]
    made = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    lines = [json.loads(line) for line in made.stdout.splitlines()]
    assert lines
    failed = {line["name"]: line["why"] for line in lines if not line["agrees"]}
    known = tuple(KNOWN[family])
    assert {name: why for name, why in failed.items() if not name.startswith(known)} == {}
    came_after_all = [line["name"] for line in lines if line["agrees"] and line["name"].startswith(known)]
    assert came_after_all == []
    if EVERY == 1:
        assert [name for name in known if not any(each.startswith(name) for each in failed)] == []
