"""Does a sweep's verdict say what its intervals show, and is its picture drawn?"""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tpdyn.pictures import save
from tpdyn.reporting.transfer import draw, show
from tpdyn.tuning.optimum import Transfer, locate
from tpdyn.tuning.sweep import Sweep


def swept(exponent: float, shift: float = 0.0) -> Transfer:
    widths, factors = (64, 256), tuple(2.0**k for k in range(-6, 7))
    best = shift + exponent * np.log(np.array(widths) / 64)[:, None, None] + 0.01 * np.arange(3)
    losses = (np.log(np.array(factors))[None, :, None] - best) ** 2
    losses[:, -1] = np.inf
    return locate(Sweep("train", widths, factors, (0, 1, 2), 10, losses))


def words(found: Transfer) -> str:
    out = io.StringIO()
    show([found], Console(file=out, width=100))
    return " ".join(out.getvalue().split())


def test_the_verdict_says_whether_it_moves_and_what_the_theory_allows() -> None:
    text = words(replace(swept(-1.0), stable=Fraction(-1)))
    assert text.startswith("train: the best learning rate MOVES with the width: exponent -1.00 [")
    assert "the largest stable rate goes like n^-1" in text
    text = words(replace(swept(0.0), stable=Fraction(0)))
    assert "the best learning rate stays" in text and "does not depend on the width" in text
    assert "unstable at any rate" in words(swept(0.0))
    scaled = swept(-1.0)
    text = words(replace(scaled, sweep=replace(scaled.sweep, hyperparameter="weight_decay")))
    assert "the best weight decay MOVES" in text and "theory" not in text
    text = words(swept(0.0, shift=-9.0))
    assert "undecided" in text and "factors further out" in text and "(end of the grid)" in text


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_picture_is_drawn(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"curves.{suffix}"
    save(draw([swept(-1.0), swept(0.0)]), path)
    assert path.stat().st_size > 2000
