"""Runs of proofs are kept where a verification says, each under its own arguments; elsewhere nothing is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tpdyn.store.means import HERE
from tpdyn.testing.kept import VARIABLE, kept


def test_runs_are_kept_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert kept(__file__, 1) is HERE
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    one, other = kept(__file__, "mup", 1), kept(__file__, "mup", 2)
    assert one.keeps and one.key("measure", 64, 0) == kept(__file__, "mup", 1).key("measure", 64, 0)
    assert one.key("measure", 64, 0) != other.key("measure", 64, 0)
