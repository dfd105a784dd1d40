"""Mirrors tpdyn/reporting/coordinates.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tpdyn.claims.report import Report, compare
from tpdyn.measuring.measurement import Measurement
from tpdyn.pictures import png, save
from tpdyn.regimes.prediction import Prediction
from tpdyn.reporting.coordinates import draw

pytest.importorskip("matplotlib")


def test_the_picture_names_every_module_and_its_power(report: Report, tmp_path: Path) -> None:
    for form in ("svg", "png", "pdf"):
        save(draw(report), tmp_path / f"coordinates.{form}")
        assert (tmp_path / f"coordinates.{form}").stat().st_size > 1000
    assert png(draw(report)).startswith(b"\x89PNG")


def test_values_that_are_zero_or_not_finite_are_left_out(
    predicted: Callable[..., Prediction], measured: Callable[..., Measurement]
) -> None:
    runs = measured()
    runs.change[:, :, :, 0] = 0.0
    runs.change[-1] = np.nan
    assert png(draw(compare(predicted(fc1=None), runs))).startswith(b"\x89PNG")
