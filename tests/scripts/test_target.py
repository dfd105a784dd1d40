"""Mirrors tpdyn/scripts/target.py: words that name a script can be sent anywhere, and run it there."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from tpdyn.scripts.script import BadTarget
from tpdyn.scripts.target import Target


def test_a_target_runs_its_function_or_its_script_after_a_way_through_pickle(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def train(width):\n    return 2 * width\n")
    target = Target(f"{file}:train")
    assert pickle.loads(pickle.dumps(target))(8) == 16
    assert target.name == "mine.py:train"
    other = Target(f"{file}:train", texts=((str(file), "def train(width):\n    return 3 * width\n"),))
    assert other(8) == 24
    assert other.identity != target.identity
    assert Target(str(file), ("--n",)).identity != Target(str(file), ("--m",)).identity
    with pytest.raises(BadTarget, match="has no function"):
        Target(f"{file}:nothing")(8)
