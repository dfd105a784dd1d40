"""What is derived for layers whose weights are made of others is what their runs show, and nothing nearby is.

Matrices are averaged, looked up, mixed by a router, normalised, complex, or clipped after each step. One has a readout behind it
that is frozen as torch draws it. `derive` once called other points of them maximal, or told of
contradictions that are none. Here its point is given to the model and the optimizer (`tpdyn.parametrize`), and the script
is run at growing widths. The runs must not contradict the verdict of that script, which is feature learning. The changes of the
layer in question and of the output must lie within `MARGIN` of their orders. With the layer's rates wrong by n^1/2 the same
check must reject. How often it errs is measured by the last test (`-s -k rarely`, thorough profile). Of 60 draws for each case
all are accepted if the exponents are right, and none if they are wrong.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import tpdyn
from tpdyn.claims.outcome import Outcome
from tpdyn.claims.report import Report, compare
from tpdyn.claims.statistics import MARGIN
from tpdyn.measuring.measurement import Measurement
from tpdyn.parametrizing.parametrization import Parametrization

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")
BASE, SEEDS, HALF = 64, 6, Fraction(1, 2)
LABELS = torch.tensor([0, 1, 1, 0, 1])


class Made(nn.Module):
    """A hidden layer whose matrix is made of two."""

    def __init__(self, width: int, how: str) -> None:
        super().__init__()
        self.first, self.last, self.how = nn.Linear(4, width), nn.Linear(width, 3), how
        dtype = torch.complex64 if how == "complex" else torch.float32
        self.hidden = nn.Parameter(torch.randn(2, width, width, dtype=dtype) / width**0.5)
        self.router, self.middle = nn.Linear(width, 2), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The outputs."""
        h = torch.tanh(self.first(x))
        return self.last(torch.tanh(self.middle(self.made(h))))  # type: ignore[no-any-return]

    def made(self, h: Tensor) -> Tensor:
        """What the layer makes of its input."""
        match self.how:
            case "averaged":
                return h @ self.hidden.mean(0)
            case "looked up":
                return torch.einsum("bi,bij->bj", h, self.hidden[LABELS])
            case "mixed":
                mixed = torch.einsum("bk,kij->bij", torch.softmax(self.router(h), -1), self.hidden)
                return torch.einsum("bi,bij->bj", h, mixed)
            case "complex":
                made = torch.complex(h, torch.zeros_like(h)) @ self.hidden[0]
                return made.real + made.imag
        raise AssertionError(self.how)


def sequential(how: str) -> Callable[[int], nn.Module]:
    def build(width: int) -> nn.Module:
        hidden, last = nn.Linear(width, width), nn.Linear(width, 3)
        if how == "frozen readout":
            last.requires_grad_(False)
        hidden = weight_norm(hidden) if how == "weight norm" else hidden
        return nn.Sequential(nn.Linear(4, width), nn.Tanh(), hidden, nn.Tanh(), last)

    return build


@dataclass(frozen=True)
class Case:
    """A model, an optimizer, the parameters whose rates are made wrong, and the widths of the runs."""

    how: str
    optimizer: str
    wrong: tuple[str, ...]
    quick: bool = False
    widths: tuple[int, ...] = (64, 128, 256, 512)

    def __str__(self) -> str:
        return f"{self.how}, {self.optimizer}"

    def build(self, width: int) -> nn.Module:
        """The model."""
        return Made(width, self.how) if self.wrong[0].startswith("hidden") else sequential(self.how)(width)


CASES = (
    Case("averaged", "Adam", ("hidden",), quick=True),
    Case("looked up", "Adam", ("hidden",)),
    Case("looked up", "SGD", ("hidden",), quick=True),
    Case("mixed", "Adam", ("hidden",)),
    Case("mixed", "SGD", ("hidden",), widths=(256, 512, 1024)),
    Case("complex", "Adam", ("hidden.real", "hidden.imag"), quick=True),
    Case("weight norm", "Adam", ("2.parametrizations.weight.original1",), quick=True),
    Case("weight norm", "SGD", ("2.parametrizations.weight.original1",)),
    Case("clipped", "SGD", ("2.weight",)),
    Case("frozen readout", "Adam", ("2.weight",)),
)
EACH = [
    pytest.param(
        case,
        id=str(case),
        marks=[] if case.quick else pytest.mark.skipif(PROFILE == "quick", reason="takes ten seconds"),
    )
    for case in CASES
]


def script(case: Case, derived: Parametrization | None = None) -> Callable[[int], None]:
    rate = {"SGD": 0.1, "Adam": 0.01}[case.optimizer]

    def train(width: int) -> None:
        model, x = case.build(width), torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = getattr(torch.optim, case.optimizer)(trained, lr=rate)
        if derived is not None:
            tpdyn.parametrize(model, optimizer, derived, base_width=BASE)
        for _ in range(3):
            optimizer.zero_grad()
            (model(x) - 1).square().mean().backward()
            optimizer.step()
            if case.how == "clipped":
                with torch.no_grad():
                    for parameter in trained:
                        parameter.clamp_(-2, 2)

    return train


@cache
def derived(case: Case) -> Parametrization:
    return tpdyn.derive(tpdyn.record(script(case), widths=(16, 24, 40), steps=3))


@cache
def predicted(case: Case) -> tpdyn.Prediction:
    return tpdyn.predict(tpdyn.record(script(case, derived(case)), widths=(16, 24, 40), steps=3))


def measured(case: Case, parametrization: Parametrization, seeds: int = SEEDS) -> Measurement:
    return tpdyn.measure(script(case, parametrization), widths=case.widths, seeds=seeds, steps=3)


def wrong(case: Case) -> Parametrization:
    """The derived one, but for the rates of the layer: they are too large by n^1/2."""
    right = derived(case)
    return replace(
        right,
        exponents={n: (a, b, c - HALF) if n in case.wrong else (a, b, c) for n, (a, b, c) in right.exponents.items()},
    )


def accepted(report: Report) -> bool:
    rows = {row.name: row for row in report.rows() if row.name in ("middle", "2", "output")}
    assert len(rows) == 2
    changes = [(row.change_order, row.measured_change_order) for row in rows.values()]
    near = [abs(found.estimate - float(order)) <= MARGIN for order, found in changes if order is not None and found]
    return report.outcome is not Outcome.CONTRADICTED and len(near) == 2 and all(near)


@pytest.mark.parametrize("case", EACH)
def test_runs_at_what_is_derived_show_what_is_predicted_there(case: Case) -> None:
    assert derived(case).maximal or case.how == "frozen readout"
    assert predicted(case).regime is tpdyn.Regime.FEATURE_LEARNING
    report = compare(predicted(case), measured(case, derived(case)))
    assert accepted(report), report.to_text()


@pytest.mark.parametrize("case", EACH)
def test_runs_with_the_rates_of_the_layer_wrong_by_the_root_of_the_width_are_rejected(case: Case) -> None:
    report = compare(predicted(case), measured(case, wrong(case)))
    assert not accepted(report), report.to_text()


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.skipif(PROFILE != "thorough", reason="takes two minutes in all")
def test_the_check_rarely_rejects_what_is_right_and_rarely_accepts_what_is_wrong(case: Case) -> None:
    """Seeds are drawn 60 times, without replacement, from twice as many."""
    draws, rng, rates = 60, np.random.default_rng(0), []
    for parametrization in (derived(case), wrong(case)):
        runs = measured(case, parametrization, 2 * SEEDS)
        picks = [rng.choice(2 * SEEDS, SEEDS, replace=False) for _ in range(draws)]
        rates.append(sum(accepted(compare(predicted(case), with_seeds(runs, pick))) for pick in picks) / draws)
    right, off = rates
    print(f"\n{case}: accepted if right {right:.0%}, if wrong {off:.0%}")
    assert right >= 0.95 and off <= 0.05


def with_seeds(runs: Measurement, pick: np.ndarray) -> Measurement:
    """The same runs, some seeds of them."""
    arrays = {each.name: getattr(runs, each.name) for each in fields(runs)}
    some = {name: value[:, pick] for name, value in arrays.items() if isinstance(value, np.ndarray)}
    return replace(runs, seeds=tuple(int(seed) for seed in pick), **some)
