from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tpdyn.measuring.measurement import Measurement
from tpdyn.regimes.prediction import Prediction
from tpdyn.reporting.live import EVERY, Live


def documents(folder: Path) -> int:
    return sum(file.read_bytes().count(b"tpdyn/document") for file in folder.rglob("events.out.tfevents.*"))


def test_a_check_is_seen_while_it_runs_and_leaves_nothing_behind(
    predicted: Callable[..., Prediction], measured: Callable[..., Measurement], tmp_path: Path
) -> None:
    now = [0.0]
    running = tmp_path / "mlp (running)"
    with Live(tmp_path / "mlp", "train.py", clock=lambda: now[0]) as live:
        assert not running.exists()
        live.predicted(predicted(), 24)
        assert documents(running) == 1
        live.measured(measured, 1, 24)  # too soon
        assert documents(running) == 1
        now[0] += EVERY
        live.measured(measured, 9, 24)
        assert documents(running) == 2
    assert list(tmp_path.iterdir()) == []


def test_runs_that_are_too_few_to_compare_are_waited_for(
    predicted: Callable[..., Prediction], measured: Callable[..., Measurement], tmp_path: Path
) -> None:
    first = measured()
    first.completed[1:] = False
    for values in (first.size, first.change, first.rms, first.change_rms):
        values[1:] = np.nan
    with Live(tmp_path / "mlp", clock=iter(range(0, 1000, 10)).__next__) as live:
        live.predicted(predicted(), 24)
        live.measured(lambda: first, 6, 24)  # one width
        live.measured(lambda: None, 6, 24)
        assert documents(tmp_path / "mlp (running)") == 2


def test_a_folder_of_somebody_else_or_one_that_cannot_be_written_is_not_watched(
    predicted: Callable[..., Prediction], tmp_path: Path
) -> None:
    (tmp_path / "mlp (running)").mkdir()
    (tmp_path / "mlp (running)" / "notes.txt").write_text("mine")
    for script in ("train.py", ""):
        with Live(tmp_path / "mlp", script) as live:
            live.predicted(predicted(), 24)
    assert (tmp_path / "mlp (running)" / "notes.txt").read_text() == "mine"
    (tmp_path / "file").write_text("")
    with Live(tmp_path / "file" / "mlp") as live:
        live.predicted(predicted(), 24)
