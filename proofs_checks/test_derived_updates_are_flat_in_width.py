"""A derived parametrization, given to a real model, trains alike at every width: the runs confirm it, module by module.

For each pair of model and optimizer, the script is recorded as it stands, and its maximal update is derived.
`tpdyn.parametrize` gives it to the model and the optimizer. Then the script is run at growing widths. Predicted is feature
learning, a change of order 0 for every module and the output. The runs must say so, too (`Flatness`), and confirm the
verdict, but for two GPTs. If the rates of the hidden matrices are wrong by n^1/2, the same check must reject. It must
reject the unchanged script, too.

Models: an MLP with biases; the residual network of examples/resnet.py; the GPT of examples/gpt.py. The GPT has the
multipliers of its `--mup`: attention by 1/d and the readout's 1/n. They stand in the code, and nothing outside of it can
apply them. Its initial sizes and rates are those of a script without muP. Optimizers: SGD, Adam, torch's Muon for the
matrices of the body with AdamW for the rest, as torch ships them. Also SGD whose gradients are clipped by a norm that
grows. torch's Muon takes matrices only. So the residual network holds its kernels as matrices for it, a row for each output
channel.

With HYPOTHESIS_PROFILE=quick only the MLPs, with SGD and Adam. The numbers beside `SHARE`:

    HYPOTHESIS_PROFILE=thorough python -m pytest -s proofs_checks/test_derived_updates_are_flat_in_width.py -k rarely
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tpdyn
from tpdyn.claims.outcome import Outcome
from tpdyn.claims.report import Report, compare
from tpdyn.claims.statistics import MARGIN, OrderEstimate, judge
from tpdyn.measuring.measurement import Measurement
from tpdyn.parametrizing.parametrization import Parametrization
from tpdyn.testing.kept import kept

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import gpt
import resnet

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")
BASE, LIMIT, ZERO, HALF = 32, 0.1, Fraction(0), Fraction(1, 2)

SHARE = 0.75
"""The least share of values shown to be flat: their whole 99 % interval is within the margin of order 0.

All of them would be a stricter statement. It fails where a few values (queries and keys, the logits of a GPT with SGD)
still carry finite-width terms. Measured by drawing the seeds of a run, 60 times without replacement, from twice as many.
With the derived exponents each of the nine pairs is accepted in 100 % (the GPT with SGD in 95 %). With all hidden rates too
large by n^1/2 it is accepted in 0 %. With the first one alone too large it is 0 %, too, but for the ResNet with SGD (42 %).
Behind the last hidden matrix there is little left to move. With its rate alone too large, the MLP with Adam and with Muon
is accepted in 0 %. With SGD it is accepted in 57 %, the others in 95 % to 100 %. So the first and the last are asked alone,
too, all others held.
"""


@dataclass(frozen=True)
class Case:
    """A model and an optimizer, widths and number of seeds of the runs, the learning rate, and Muon's rate.

    confirmed: whether the runs decide the whole verdict. The logits of a GPT fall in the first steps. They go from their
    random start, of order n^-1/2, to what is learned. At widths that can be run here that leaves its output undecided under
    SGD and Muon.
    """

    model: str
    optimizer: str
    rate: float
    seeds: int
    widths: tuple[int, ...] = (32, 64, 128, 256)
    quick: bool = False
    orthogonal_rate: float = 0.02
    confirmed: bool = True

    def __str__(self) -> str:
        return f"{self.model}, {self.optimizer}"

    @property
    def recorded(self) -> tuple[int, ...]:
        """Widths that no other size of the script equals."""
        return (16, 24, 40) if self.model == "MLP" else (32, 48, 80)

    @property
    def body(self) -> tuple[str, ...]:
        """How the names of parameters between the first and the last layer begin."""
        return {"MLP": ("2.", "4."), "ResNet": ("layer",), "GPT": ("blocks",)}[self.model]


CASES = (
    Case("MLP", "SGD", 0.1, seeds=8, widths=(64, 128, 256, 512), quick=True),
    Case("MLP", "Adam", 0.01, seeds=8, quick=True),
    Case("MLP", "Muon", 0.01, seeds=8, orthogonal_rate=0.1),
    Case("ResNet", "SGD", 0.1, seeds=4),
    Case("ResNet", "Adam", 0.01, seeds=4),
    Case("ResNet", "Muon", 0.01, seeds=4),
    Case("GPT", "SGD", 0.1, seeds=12, confirmed=False),
    Case("GPT", "Adam", 0.01, seeds=8),
    Case("GPT", "Muon", 0.01, seeds=12, widths=(32, 48, 80, 128), confirmed=False),
)
# The readout's part of the norm, which grows, has to lead over the others: at small widths it does not.
CLIPPED = Case("MLP", "clipped SGD", 0.3, seeds=4, widths=(256, 512, 1024, 2048))


def each(cases: Sequence[Case]) -> list[object]:
    """The cases as parameters of a test; the quick profile leaves most of them out."""
    left_out = pytest.mark.skipif(PROFILE == "quick", reason="takes up to a minute")
    return [pytest.param(case, id=str(case), marks=[] if case.quick else left_out) for case in cases]


class MatrixConv(nn.Module):
    """A convolution whose kernels are the rows of a matrix, which is what torch's Muon takes."""

    def __init__(self, like: nn.Conv2d) -> None:
        super().__init__()
        self.weight = nn.Parameter(like.weight.detach().flatten(1))
        self.shape, self.stride, self.padding = like.weight.shape, like.stride, like.padding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The convolution."""
        return F.conv2d(x, self.weight.view(self.shape), None, self.stride, self.padding)


def built(case: Case, width: int) -> nn.Module:
    if case.model == "MLP":
        return nn.Sequential(
            nn.Linear(6, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(),
            nn.Linear(width, 3),
        )  # fmt: skip
    if case.model == "ResNet":
        model = resnet.ResNet([1, 1], width, num_classes=5)
        for module in list(model.modules()) if case.optimizer == "Muon" else ():
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Conv2d):
                    setattr(module, name, MatrixConv(child))
        return model
    model = gpt.GPT(11, 6, width, heads=4, layers=2, mup=True)
    for module in model.modules():  # initial sizes that do not know of the width, as without muP
        if isinstance(module, nn.Linear) and module is not model.head:
            nn.init.normal_(module.weight, std=0.2)
    return model


def hidden_matrices(case: Case, model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of the body, kernels included."""
    return {n: p for n, p in model.named_parameters() if p.ndim >= 2 and n.startswith(case.body)}


def optimizers(case: Case, model: nn.Module) -> list[torch.optim.Optimizer]:
    if case.optimizer.endswith("SGD"):
        return [torch.optim.SGD(model.parameters(), lr=case.rate)]
    if case.optimizer == "Adam":
        return [torch.optim.Adam(model.parameters(), lr=case.rate)]
    matrices = hidden_matrices(case, model)
    others = [parameter for name, parameter in model.named_parameters() if name not in matrices]
    return [torch.optim.Muon(list(matrices.values()), lr=case.orthogonal_rate), torch.optim.AdamW(others, lr=case.rate)]


def batch(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets, the same in every run."""
    draws = torch.Generator().manual_seed(0)
    if name == "MLP":
        return torch.randn(5, 6, generator=draws), torch.randint(3, (5,), generator=draws)
    if name == "ResNet":
        return torch.randn(4, 1, 8, 8, generator=draws), torch.randint(5, (4,), generator=draws)
    rows = torch.randint(11, (3, 7), generator=draws)
    return rows[:, :-1], rows[:, 1:].flatten()


def script(case: Case, derived: Parametrization | None = None, only: str = "") -> Callable[[int], None]:
    """The script of a case; only: the one parameter that is trained."""

    def train(width: int) -> None:
        model = built(case, width)
        several = optimizers(case, model)
        if derived is not None:
            for optimizer in several:
                tpdyn.parametrize(model, optimizer, derived, base_width=BASE)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(only in ("", name))
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


WRONG = (slice(None), slice(1), slice(-1, None))
"""Which of the hidden matrices have wrong rates: all, the first, the last."""


def sabotaged(case: Case, which: slice = WRONG[0]) -> Parametrization:
    """The derived parametrization, but for the rates of hidden matrices (all, unless given): they are too large by n^1/2."""
    right, names = derived(case), list(hidden_matrices(case, built(case, case.recorded[0])))[which]
    wrong = {name: (a, b, c - HALF) if name in names else (a, b, c) for name, (a, b, c) in right.exponents.items()}
    return replace(right, exponents=wrong)


@cache
def predicted(case: Case) -> tpdyn.Prediction:
    """Of the script with its derived parametrization."""
    return tpdyn.predict(tpdyn.record(script(case, derived(case)), widths=case.recorded, steps=3))


def measured(case: Case, parametrization: Parametrization | None, seeds: int, only: str = "") -> Measurement:
    means = kept(__file__, case, parametrization and sorted(parametrization.exponents.items()), only)
    return tpdyn.measure(script(case, parametrization, only), widths=case.widths, seeds=seeds, steps=3, means=means)


@dataclass(frozen=True)
class Flatness:
    """Are the changes of all values, the output among them, flat in width? Said of the runs alone, by equivalence.

    flat: the share of the values that are shown to be (the whole interval lies within `MARGIN` of 0). moving: those that are
    shown not to be, or whose estimate is outside.
    """

    flat: float
    moving: tuple[str, ...]

    @property
    def accepted(self) -> bool:
        """Whether the runs are taken to train alike at every width."""
        return self.flat >= SHARE and not self.moving


def flatness(report: Report) -> Flatness:
    orders = {row.name: row.measured_change_order for row in report.rows() if row.change_order == 0}
    assert "output" in orders and len(orders) >= 8
    flat = sum(judge(ZERO, found) == "agrees" for found in orders.values()) / len(orders)
    moving = [name for name, found in orders.items() if found is None or abs(found.estimate) >= MARGIN]
    return Flatness(flat, tuple(moving))


@pytest.mark.parametrize("case", each([*CASES, CLIPPED]))
@pytest.mark.filterwarnings("ignore:several optimizers")
def test_changes_of_every_hidden_representation_and_of_the_output_are_flat_in_width(case: Case) -> None:
    parametrization = derived(case)
    assert parametrization.maximal and not parametrization.multipliers
    assert parametrization.edits()  # there is something to change, or else this would be a test of the script
    prediction = predicted(case)
    assert prediction.regime is tpdyn.Regime.FEATURE_LEARNING
    report = compare(prediction, measured(case, parametrization, case.seeds))
    # The GPT's readout is multiplied by 1/n behind its module: with it, it is the output.
    assert [row.name for row in report.rows() if row.change_order != 0] == (["head"] if case.model == "GPT" else [])
    expected = (Outcome.CONFIRMED,) if case.confirmed else (Outcome.CONFIRMED, Outcome.UNDECIDED)
    assert report.outcome in expected and flatness(report).accepted, f"{flatness(report)}\n{report.to_text()}"


@pytest.mark.parametrize("case", each(CASES))
@pytest.mark.filterwarnings("ignore:several optimizers")
def test_rates_that_are_wrong_by_the_root_of_the_width_are_rejected(case: Case) -> None:
    report = compare(predicted(case), measured(case, sabotaged(case), case.seeds))
    assert not flatness(report).accepted, report.to_text()


ENDS = (slice(1), slice(-1, None))


@pytest.mark.parametrize("which", ENDS, ids=["first", "last"])
@pytest.mark.parametrize("case", each(CASES))
@pytest.mark.filterwarnings("ignore:several optimizers")
def test_the_update_of_a_hidden_matrix_alone_changes_its_layer_alike_at_every_width(case: Case, which: slice) -> None:
    """All other parameters stay as they are, so that nothing outweighs this one: its own rate has to be right. The runs say
    that its layer's change is of order 0 and not of order 1/2. If its rate is wrong by n^1/2, they do not.
    """
    (name,) = list(hidden_matrices(case, built(case, case.recorded[0])))[which]
    prediction = tpdyn.predict(tpdyn.record(script(case, derived(case), name), widths=case.recorded, steps=3))
    found = []
    for parametrization in (derived(case), sabotaged(case, which)):
        report = compare(prediction, measured(case, parametrization, case.seeds, name))
        (row,) = (row for row in report.rows() if row.name == name.rpartition(".")[0])
        assert row.change_order == 0
        found.append(row.measured_change_order)
    right, wrong = found
    assert flat_alone(right), right
    assert not flat_alone(wrong), wrong


def flat_alone(found: OrderEstimate | None) -> bool:
    """Whether order 0 is not rejected, and order 1/2 is."""
    return found is not None and judge(ZERO, found) != "disagrees" and judge(HALF, found) == "disagrees"


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.filterwarnings("ignore:several optimizers")
@pytest.mark.skipif(PROFILE != "thorough", reason="takes a quarter of an hour in all")
def test_the_check_rarely_rejects_what_is_right_and_rarely_accepts_what_is_wrong(case: Case) -> None:
    pool, draws, rng = 2 * case.seeds, 60, np.random.default_rng(0)
    rates = []
    for parametrization in (derived(case), *(sabotaged(case, which) for which in WRONG)):
        runs = measured(case, parametrization, pool)
        picks = [rng.choice(pool, case.seeds, replace=False) for _ in range(draws)]
        found = [flatness(compare(predicted(case), with_seeds(runs, pick))) for pick in picks]
        rates.append(sum(each.accepted for each in found) / draws)
    right, wrong, first, last = rates
    print(
        f"\n{case}: accepted if right {right:.0%}, if all hidden rates are wrong {wrong:.0%}, if the first is {first:.0%}, if the "
        f"last is {last:.0%}"
    )
    assert right >= 0.95 and wrong <= 0.05


def with_seeds(runs: Measurement, pick: np.ndarray) -> Measurement:
    """The same runs, some seeds of them."""
    arrays = {each.name: getattr(runs, each.name) for each in fields(runs)}
    some = {name: value[:, pick] for name, value in arrays.items() if isinstance(value, np.ndarray)}
    return replace(runs, seeds=tuple(int(seed) for seed in pick), **some)


@pytest.mark.parametrize("case", each([case for case in CASES if case.model == "MLP"]))
@pytest.mark.filterwarnings("ignore:several optimizers")
def test_without_it_changes_grow_or_vanish_and_the_runs_show_it(case: Case) -> None:
    """The same scripts as they stand: what is flat above is not flat here."""
    report = compare(predicted(case), measured(case, None, case.seeds))
    assert not flatness(report).accepted, report.to_text()
