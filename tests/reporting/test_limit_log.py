from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tpdyn.limits.comparison import Approach, Row
from tpdyn.limits.limit import Estimate, Limit
from tpdyn.measuring.measurement import Measurement
from tpdyn.program.builder import Builder
from tpdyn.reporting.document import identity
from tpdyn.reporting.limit_log import log_limit


def estimate(*values: float) -> Estimate:
    draws = torch.tensor([values, values], dtype=torch.float64).squeeze(-1)
    return Estimate(draws[0], torch.full_like(draws[0], 0.01), draws)


@pytest.fixture
def found() -> Limit:
    return Limit(
        outputs=(estimate(0.1, 0.2),),
        losses=(estimate(2.0), estimate(1.5), estimate(1.25)),
        kernels={("fc1", 0): estimate(1.0, 0.5)},
        gradients={},
        gradient_orders={},
        distributions={("fc1", 0): estimate(-1.0, 1.0)},
        values={},
        random=(),
        notes=("a note",),
        points=64,
        scrambles=2,
        seconds=0.5,
        levels=(0.1, 0.9),
    )


def test_a_limit_is_a_document_with_the_runs_beside_it(
    found: Limit, measured: Callable[..., Measurement], tmp_path: Path
) -> None:
    folder = log_limit(found, tmp_path / "limit", measured(), script="train.py")
    document = json.loads((folder / "verdict.json").read_text())
    assert (document["kind"], document["widths"]) == ("limit", [64, 128, 256, 512])
    assert document["losses"][1] == {"value": 1.5, "error": 0.01, "spread": 0.0, "random": False}
    assert document["measured_losses"][0][0] == [2.3, 2.3, 2.3]
    assert document["distributions"][0]["name"] == "fc1"
    events = EventAccumulator(str(folder / "limit")).Reload()
    assert events.Tensors("loss")[2].step == 2
    assert {path.name for path in folder.iterdir() if path.is_dir()} >= {"limit", "verdict", "width=512"}


def test_runs_of_the_program_stand_beside_the_limit(
    found: Limit, tmp_path: Path, published: Callable[[dict[str, Any]], list[str]]
) -> None:
    row = Row("kernel", "fc1", 0, (16, 32), (0.4, 0.2), (0.3, 0.2), (0.1, 0.1), (0.1, 0.1), 0.01, 2)
    draws = torch.arange(8.0, dtype=torch.float64).reshape(2, 2, 2)
    approach = Approach((row,), (16, 32), 2, found, {("kernel", "fc1", 0): (draws, draws + 1)})
    document = json.loads((log_limit(found, tmp_path / "limit", approach=approach) / "verdict.json").read_text())
    (told,) = document["approach"]["rows"]
    assert told["entries"] == [[0, 0], [0, 1], [1, 1]]
    assert told["mean"] == [[2.0, 3.0, 5.0], [3.0, 4.0, 6.0]]
    assert told["spread"][0] == pytest.approx([2.8284] * 3)
    assert document["program"] == ""
    assert published(document) == []


def test_a_program_is_named_by_its_content() -> None:
    b = Builder()
    b.mark("output", "f", b.data("f", (2,)))
    program = b.build(widths=(16, 24))
    assert identity(program) == identity(replace(program, notes=("another",), widths=(1,)))
    assert identity(program) != identity(replace(program, marks=()))
    assert identity(program) != identity(replace(program, arrays={"f": np.ones(2)}))


def test_a_limit_alone_is_logged_too(found: Limit, tmp_path: Path) -> None:
    document = json.loads((log_limit(found, tmp_path / "limit") / "verdict.json").read_text())
    assert (document["widths"], document["measured_losses"]) == ([], [])
