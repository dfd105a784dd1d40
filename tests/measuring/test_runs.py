"""Mirrors tpdyn/measuring/runs.py: finished runs are not made again, whatever interrupted the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tpdyn.measuring import by_program
from tpdyn.measuring.measure import MeasuringError, measure
from tpdyn.measuring.runs import _at_once, observed_runs, program_runs
from tpdyn.recorder.record import record
from tpdyn.store.means import Means
from tpdyn.store.store import Store
from tpdyn.store.table import runs

CALLS: list[int] = []


def train(width: int) -> None:
    CALLS.append(width)
    model = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Tanh(), torch.nn.Linear(width, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(4, 3)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


@pytest.fixture
def means(tmp_path: Path) -> Means:
    CALLS.clear()
    return Means(store=Store.under(tmp_path), identity={"script": "one"}, name="one.py")


def test_an_interrupted_measurement_goes_on_where_it_stopped_and_gives_the_same_numbers(means: Means) -> None:
    expected = measure(train, widths=(8, 16), seeds=3, steps=2)
    CALLS.clear()

    def interrupted(width: int) -> None:
        if len(CALLS) == 4:
            raise KeyboardInterrupt
        train(width)

    with pytest.raises(KeyboardInterrupt):
        measure(interrupted, widths=(8, 16), seeds=3, steps=2, means=means)
    assert len(CALLS) == 4
    found = measure(train, widths=(8, 16), seeds=3, steps=2, means=means)
    assert len(CALLS) == 6
    assert np.array_equal(found.change, expected.change)
    assert np.array_equal(found.split, expected.split, equal_nan=True)
    assert found.names == expected.names
    made_of = [
        (run.facts["width"], run.facts["seed"]) for *_, key in found.runs if (run := means.found(key)) is not None
    ]
    assert made_of == [(width, seed) for width, seed, _ in found.runs] and len(made_of) == 6
    assert expected.runs == ()  # of which none was kept
    measure(train, widths=(8, 16), seeds=3, steps=2, means=means)
    assert len(CALLS) == 6


def test_another_script_other_steps_and_fresh_make_runs_anew(means: Means) -> None:
    measure(train, widths=(8, 16), seeds=1, steps=2, means=means)
    for other, steps in (
        (replace(means, identity={"script": "changed"}), 2),
        (means, 3),
        (replace(means, store=Store(means.store.folder, fresh=True)), 2),  # type: ignore[union-attr]
    ):
        CALLS.clear()
        measure(train, widths=(8, 16), seeds=1, steps=steps, means=other)
        assert len(CALLS) == 2


def test_a_script_that_fails_leaves_its_finished_runs_in_the_store(means: Means) -> None:
    def broken(width: int) -> None:
        if width == 16:
            raise RuntimeError("my own mistake")
        train(width)

    with pytest.raises(MeasuringError, match="width 16, seed 0"):
        measure(broken, widths=(8, 16), seeds=2, steps=2, means=means)
    assert means.store is not None
    assert len(means.store.files()) == 2


def test_runs_of_the_program_and_simulations_are_kept_and_marked_and_not_made_again(
    means: Means, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = record(train, widths=(8, 12, 20), steps=2)
    small = by_program.entries(program, 64) * 8  # bytes: too few for a dense run at 64
    first = dict(program_runs(program, 16, range(3), 2, means))
    first |= {10 + seed: run for seed, run in program_runs(program, 64, range(2), 2, means, memory=small)}
    table = runs(means.store.folder)  # type: ignore[union-attr]
    assert set(table["by"].to_pylist()) == {"program", "simulation"}
    again = {}
    with monkeypatch.context() as patch:
        patch.setattr(by_program, "_batch", None)  # it would be called to make a run
        patch.setattr(by_program, "_simulated", None)
        again |= dict(program_runs(program, 16, range(3), 2, means))
        again |= {10 + seed: run for seed, run in program_runs(program, 64, range(2), 2, means, memory=small)}
    assert all(again[seed].same_as(first[seed]) and again[seed].notes == first[seed].notes for seed in first)
    assert "was simulated" in again[10].notes[0]
    (dense,) = program_runs(program, 64, [0], 2, means)  # there is memory now: no simulation is looked up
    assert not dense[1].simulated


def test_a_measurement_by_the_program_goes_on_where_it_stopped(means: Means, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measure(train, widths=(8, 16, 32), seeds=4, steps=2, by="program", means=means)
    assert set(runs(means.store.folder)["by"].to_pylist()) == {"script", "program"}  # type: ignore[union-attr]
    CALLS.clear()
    monkeypatch.setattr(by_program, "_batch", None)
    again = measure(
        train, widths=(8, 16, 32), seeds=4, steps=2, by="program", means=means, program=record(train, steps=2)
    )
    assert len(CALLS) == 4  # the recording alone
    assert np.array_equal(again.change, whole.change)


def test_a_live_run_that_runs_out_of_memory_is_made_again(means: Means) -> None:
    full = [True]

    def scarce(width: int) -> None:
        if width == 16 and full and full.pop():
            raise torch.OutOfMemoryError("CUDA out of memory")
        train(width)

    found = dict(observed_runs(scarce, [(8, 0), (16, 0), (16, 1)], 2, "script", means))
    assert set(found) == {(8, 0), (16, 0), (16, 1)}
    assert len(means.store.files()) == 3  # type: ignore[union-attr]


def test_a_run_that_does_not_fit_alone_is_said_and_the_others_are_kept(means: Means) -> None:
    def scarce(width: int) -> None:
        if width == 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        train(width)

    with pytest.raises(MeasuringError, match="width 16, seed 0: OutOfMemoryError: CUDA out of memory"):
        list(observed_runs(scarce, [(8, 0), (16, 0)], 2, "script", means))
    assert len(means.store.files()) == 1  # type: ignore[union-attr]


def test_no_more_runs_are_made_at_once_than_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    program = record(train, widths=(8, 12, 20), steps=2)
    need = by_program.entries(program, 64) * 4
    monkeypatch.setattr("tpdyn.measuring.runs.free_memory", lambda device: 2.5 * need / by_program.SHARE)
    assert _at_once(8, program, 64, "script") == 2
    assert _at_once(8, program, 8, "script") == 8
    assert _at_once(8, program, 1024, "script") == 1
    assert _at_once(8, None, 1024, "script") == 8
