"""A derived parametrization, given to a real model, trains alike at every width: the runs confirm it, module by module.

For each pair of model and optimizer: the script is recorded as it stands, its maximal update is derived, `tpdyn.parametrize`
gives it to the model and the optimizer, and the script is run at growing widths. Predicted is feature learning; the runs must
say so. Every change of a hidden representation that is decided is flat (within the margin of order 0), none disagrees. The
same script without the parametrization must not pass (`test_without_it_...`).

Models: an MLP with biases; the residual network of examples/resnet.py; the GPT of examples/gpt.py, with the multipliers of its
`--mup` (attention by 1/d and the readout's 1/n stand in the code: nothing outside of it can apply them; its initial sizes and
rates are those of a script without muP). Optimizers: SGD, SGD whose gradients are clipped by a norm that grows, Adam, torch's
Muon for the matrices of the body (Adam for the rest).
torch's Muon takes matrices only, so the residual network, all convolutions, is not trained with it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tpdyn
from tpdyn.claims.report import Report, compare
from tpdyn.claims.statistics import MARGIN
from tpdyn.parametrizing.parametrization import Parametrization

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import gpt
import resnet

QUICK = os.environ.get("HYPOTHESIS_PROFILE") == "quick"
BASE, LIMIT = 32, 0.1


@dataclass(frozen=True)
class Case:
    """A model and an optimizer, the widths of the recording and of the runs, and the learning rate."""

    model: str
    optimizer: str
    rate: float
    widths: tuple[int, ...] = (32, 64, 128, 256)
    seeds: int = 4
    slow: bool = True

    def __str__(self) -> str:
        return f"{self.model}, {self.optimizer}"

    @property
    def recorded(self) -> tuple[int, ...]:
        """Widths that no other size of the script equals."""
        return (16, 24, 40) if self.model == "MLP" else (32, 48, 80)


CASES = (
    Case("MLP", "SGD", 0.1, slow=False),
    Case("MLP", "Adam", 0.01, slow=False),
    # The readout's part of the norm, which grows, has to lead over the others: at small widths it does not.
    Case("MLP", "clipped SGD", 0.3, widths=(256, 512, 1024, 2048)),
    Case("MLP", "Muon", 0.01),
    Case("ResNet", "SGD", 0.1),
    Case("ResNet", "Adam", 0.01),
    Case("GPT", "SGD", 0.1, seeds=8),
    Case("GPT", "Adam", 0.01, seeds=8),
    Case("GPT", "Muon", 0.01, widths=(32, 48, 80, 128)),
)
(GPT_WITH_ADAM,) = [case for case in CASES if (case.model, case.optimizer) == ("GPT", "Adam")]
PARAMETERS = [
    pytest.param(case, id=str(case), marks=pytest.mark.skipif(QUICK and case.slow, reason="takes half a minute"))
    for case in CASES
]


def built(name: str, width: int) -> nn.Module:
    if name == "MLP":
        return nn.Sequential(
            nn.Linear(6, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(),
            nn.Linear(width, 3),
        )  # fmt: skip
    if name == "ResNet":
        return resnet.ResNet([1, 1], width, num_classes=5)
    model = gpt.GPT(11, 6, width, heads=4, layers=2, mup=True)
    for module in model.modules():  # initial sizes that do not know of the width, as without muP
        if isinstance(module, nn.Linear) and module is not model.head:
            nn.init.normal_(module.weight, std=0.2)
    return model


def optimizers(case: Case, model: nn.Module) -> list[torch.optim.Optimizer]:
    if case.optimizer.endswith("SGD"):
        return [torch.optim.SGD(model.parameters(), lr=case.rate)]
    if case.optimizer == "Adam":
        return [torch.optim.Adam(model.parameters(), lr=case.rate)]
    body = ("blocks",) if case.model == "GPT" else ("2.", "4.")
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and name.startswith(body)]
    taken = set(matrices)
    others = [p for p in model.parameters() if p not in taken]
    return [torch.optim.Muon(matrices, lr=0.02, weight_decay=0.0), torch.optim.Adam(others, lr=case.rate)]


def batch(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets, the same in every run."""
    draws = torch.Generator().manual_seed(0)
    if name == "MLP":
        return torch.randn(5, 6, generator=draws), torch.randint(3, (5,), generator=draws)
    if name == "ResNet":
        return torch.randn(4, 1, 8, 8, generator=draws), torch.randint(5, (4,), generator=draws)
    rows = torch.randint(11, (3, 7), generator=draws)
    return rows[:, :-1], rows[:, 1:].flatten()


def script(case: Case, derived: Parametrization | None = None) -> Callable[[int], None]:
    def train(width: int) -> None:
        model = built(case.model, width)
        several = optimizers(case, model)
        if derived is not None:
            for optimizer in several:
                tpdyn.parametrize(model, optimizer, derived, base_width=BASE)
        x, y = batch(case.model)
        for _ in range(3):
            for optimizer in several:
                optimizer.zero_grad()
            F.cross_entropy(model(x).flatten(0, -2), y).backward()
            if case.optimizer == "clipped SGD":
                nn.utils.clip_grad_norm_(model.parameters(), LIMIT)
            for optimizer in several:
                optimizer.step()

    return train


@cache
def derived(case: Case) -> Parametrization:
    return tpdyn.derive(tpdyn.record(script(case), widths=case.recorded, steps=3))


def checked(case: Case, parametrization: Parametrization | None) -> Report:
    """What `tpdyn check` does: record, predict, measure, compare."""
    train = script(case, parametrization)
    prediction = tpdyn.predict(tpdyn.record(train, widths=case.recorded, steps=3))
    return compare(prediction, tpdyn.measure(train, widths=case.widths, seeds=case.seeds, steps=3))


@pytest.mark.parametrize("case", PARAMETERS)
@pytest.mark.filterwarnings("ignore:several optimizers")
def test_changes_of_every_hidden_representation_are_flat_in_width(case: Case) -> None:
    parametrization = derived(case)
    assert parametrization.maximal and not parametrization.multipliers
    assert parametrization.edits()  # there is something to change, or else this would be a test of the script
    report = checked(case, parametrization)
    assert report.prediction.regime is tpdyn.Regime.FEATURE_LEARNING
    assert report.agrees, report.to_text()
    hidden = [row for row in report.rows() if row.change_order == 0 and row.measured_change_order is not None]
    assert len(hidden) >= 6
    for row in hidden:
        assert row.verdict in ("agrees", "inconclusive"), report.to_text()
        assert row.measured_change_order is not None
        assert abs(row.measured_change_order.estimate) < MARGIN, report.to_text()
    decided = [row for row in hidden if row.verdict == "agrees"]
    assert 2 * len(decided) > len(hidden), report.to_text()


@pytest.mark.parametrize(
    "case",
    [CASES[0], CASES[1], pytest.param(GPT_WITH_ADAM, marks=pytest.mark.skipif(QUICK, reason="half a minute"))],
    ids=str,
)
def test_without_it_changes_grow_or_vanish_and_the_runs_show_it(case: Case) -> None:
    """The same scripts as they stand: the estimates that are flat above are not flat here."""
    report = checked(case, None)
    assert report.prediction.regime is not tpdyn.Regime.FEATURE_LEARNING
    moved = [row.measured_change_order for row in report.rows() if row.measured_change_order is not None]
    assert any(abs(found.estimate) > MARGIN for found in moved), report.to_text()
