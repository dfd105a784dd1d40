"""Mirrors tpdyn/measuring/by_program.py: the program's runs have the names of live ones, and the law."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tpdyn.measuring import by_program
from tpdyn.measuring.by_program import fits, observed
from tpdyn.measuring.measure import measure
from tpdyn.measuring.observe import FIELDS, OF_PARAMETERS, PARTS
from tpdyn.measuring.run import live_run
from tpdyn.program.evaluation.views import to_view
from tpdyn.program.program import Program
from tpdyn.readings import finite
from tpdyn.readings.sampled.simulate import simulate
from tpdyn.recorder.record import record


def train(width: int, *, twist: bool = False) -> None:
    model = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2))
    if twist and width >= 32:  # at widths that were not recorded, another network
        nn.init.normal_(model[2].weight, std=3.0 / width**0.25)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    x = torch.randn(5, 3)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


@pytest.fixture(scope="module")
def program() -> Program:
    return record(train, widths=(8, 12, 20))


def test_a_run_of_the_program_has_everything_that_a_live_run_has(program: Program) -> None:
    live = live_run(train, 16, 0, 3, "script")
    ((seed, run),) = observed(program, 16, [7], 3)
    assert seed == 7
    assert set(run.values) == {key for key in live.values if key[2] not in PARTS}
    assert run.shapes == live.shapes
    for (step, name, what), mine in run.values.items():
        its = live.values[step, name, what]
        assert what != "change" or (mine == 0) == (step == 0), name
        if what in FIELDS[:4]:
            assert mine == its == 0 or 1 / 4 < mine / its < 4, (step, name)
        if what in OF_PARAMETERS[:2]:
            assert mine == its == 0 or 1 / 2 < mine / its < 2, (step, name)


class Packed(nn.Module):
    """One projection into n wide entries and two fixed ones, whose gradients are many times as large."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.into, self.both, self.out = nn.Linear(3, width), nn.Linear(width, width + 2), nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide, fixed = self.both(torch.tanh(self.into(x))).split([self.out.in_features, 2], -1)
        return self.out(torch.tanh(wide)) * fixed  # type: ignore[no-any-return]


def packed(width: int) -> None:
    model = Packed(width)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x in torch.randn(3, 5, 3):
        optimizer.zero_grad()
        (model(x) - 1).square().mean().backward()
        optimizer.step()


def test_parts_of_a_packed_tensor_count_by_their_entries() -> None:
    """Their sizes together are those of the whole, as a live run shows them. Simulated runs say the same of outputs."""
    program = record(packed, widths=(8, 12, 20))
    ((_, run),) = observed(program, 32, [7], 3)
    live, values = live_run(packed, 32, 0, 3, "script"), finite.run(program, 32, seed=7)
    assert run.shapes == live.shapes and run.shapes["both.weight"] == (34, 32)
    whole = to_view(program.parameter("both.weight").gradients[0], values)  # type: ignore[arg-type]
    assert whole.shape == (34, 32) and whole[32:].abs().mean() > 4 * whole[:32].abs().mean()
    assert run.values[0, "both.weight", "gradient size"] == pytest.approx(float(whole.abs().mean()))
    made = to_view(program.mark("both", 1).view, values)
    assert all(run.values[1, "both", what] != run.values[0, "both", what] for what in ("size", "rms"))
    change = made - to_view(program.mark("both", 1).view, finite.run(program, 32, seed=7, base=True))
    assert [run.values[1, "both", what] for what in ("change", "change_rms")] == pytest.approx(
        [float(change.abs().mean()), float(change.square().mean().sqrt())]
    )
    simulated = simulate(program, 32, seed=3)
    assert simulated.sizes["both", 1] == pytest.approx(float(simulated.coordinates["both", 1].abs().mean()))


def test_batches_do_not_show_and_one_that_runs_out_of_memory_is_made_in_halves(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = dict(observed(program, 16, range(5), 2))
    sizes = []
    original = by_program._batch

    def scarce(program: Program, width: int, seeds: tuple[int, ...], *rest: object) -> object:
        sizes.append(len(seeds))
        if len(seeds) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(program, width, seeds, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(by_program, "_batch", scarce)
    found = dict(observed(program, 16, range(5), 2))
    assert sizes == [5, 2, 2, 1]
    for seed, run in found.items():
        assert run.values == pytest.approx(expected[seed].values, rel=1e-9)


def test_a_width_that_does_not_fit_is_simulated_and_marked(program: Program) -> None:
    assert fits(program, 64, memory=1e9)
    assert not fits(program, 64, memory=1e5)
    dense = dict(observed(program, 256, range(8), 2))
    room = by_program.entries(program, 256) * 8  # less than a dense run is allowed of it, more than a simulation takes
    thin = dict(observed(program, 256, range(8), 2, memory=room))
    assert all("width 256 was simulated" in run.notes[0] for run in thin.values())
    for key in (key for key in dense[0].values if key[2] in ("rms", "change_rms")):
        a, b = (np.array([run.values[key] for run in runs.values()]) for runs in (dense, thin))
        error = np.hypot(a.std(0), b.std(0)) / np.sqrt(8)
        assert (abs(a.mean(0) - b.mean(0)) <= 5 * error + 1e-12).all(), key


def test_most_runs_are_the_program_s_and_a_script_that_is_another_one_is_run_live(program: Program) -> None:
    found = measure(train, widths=(16, 24, 32), seeds=8, steps=2, by="program", program=program)
    assert len(found.seeds) == 19
    assert found.completed.all()
    assert any("16 runs at each width are of the recorded program, 3 are live" in note for note in found.notes)
    twisted = measure(
        lambda width: train(width, twist=True), widths=(16, 24, 32), seeds=4, steps=2, by="program", program=program
    )
    assert len(twisted.seeds) == 4
    assert any("the runs are live ones" in note for note in twisted.notes)
