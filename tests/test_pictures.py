"""Mirrors tpdyn/pictures.py: pictures are written by their ending, the same picture as the same file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tpdyn.pictures import blank, png, save

pytest.importorskip("matplotlib")


def test_the_same_figure_is_the_same_svg_and_any_ending_is_written(tmp_path: Path) -> None:
    for name in ("one.svg", "other.svg", "one.pdf", "one.png"):
        figure = blank(2, 1)
        figure.subplots().plot([0, 1], [1, 0])
        save(figure, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()
    assert (tmp_path / "one.pdf").read_bytes().startswith(b"%PDF")
    assert png(blank(2, 1)).startswith(b"\x89PNG")


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'tpdyn\[pictures\]'"):
        blank(2, 1)
