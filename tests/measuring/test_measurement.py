"""Mirrors tpdyn/measuring/measurement.py: what is saved is what is loaded, at once or not at all."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tpdyn.measuring.measure import Measurement, measure


@pytest.fixture(scope="module")
def measurement() -> Measurement:
    def train(width: int) -> None:
        model = nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2))
        optimizer = torch.optim.Adam(model.parameters())
        for _ in range(9):
            optimizer.zero_grad()
            model(torch.ones(2, 3)).square().mean().backward()
            optimizer.step()

    return measure(train, widths=(4, 8), seeds=2, steps=2)


def test_what_is_saved_is_what_is_loaded(measurement: Measurement, tmp_path: Path) -> None:
    path = measurement.save(tmp_path / "deep" / "result")
    assert path.name == "result.npz"
    for again in (Measurement.load(path), Measurement.load(tmp_path / "deep" / "result")):
        for each in fields(Measurement):
            ours, theirs = getattr(measurement, each.name), getattr(again, each.name)
            if isinstance(ours, np.ndarray):
                assert ours.dtype == theirs.dtype
                np.testing.assert_array_equal(ours, theirs)
            else:
                assert ours == theirs
                assert type(ours) is type(theirs)


def test_an_interrupted_save_leaves_the_old_file_and_nothing_else(
    measurement: Measurement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = measurement.save(tmp_path / "result")
    before = path.read_bytes()

    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        measurement.save(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["result.npz"]


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.npz").write_text("no archive")
    with pytest.raises(ValueError, match="not a measurement that tpdyn saved"):
        Measurement.load(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError):
        Measurement.load(tmp_path / "missing.npz")


def test_an_unknown_name_lists_the_known_ones(measurement: Measurement) -> None:
    with pytest.raises(KeyError, match="there are: 0, 1, output"):
        measurement.index("fc9")
