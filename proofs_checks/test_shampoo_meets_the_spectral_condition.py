"""Updates of Shampoo have spectral norm 1 at every width. So its rates are those of the spectral condition, and runs show
it.

A Spectral Condition for Feature Learning (Yang, Simon and Bernstein, 2310.17813): updates should have spectral norm
Theta(sqrt(fan_out / fan_in)). Let L and R be the sums of `G G^T` and `G^T G`. In the first step `L^-1/4 G R^-1/4` is an
orthogonal factor of G, and it has such a size in all. So its rates are n^1/2, 1 and n^-1/2 for input, hidden and output
weights.
"""

from __future__ import annotations

from fractions import Fraction
from types import FunctionType

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import tpdyn
from tpdyn.testing.kept import kept

HALF, ZERO = Fraction(1, 2), Fraction(0)
TINY = 1e-12


def root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values.clamp_min(TINY) ** -0.25) @ vectors.T


def descend(width: int, rates: tuple[float, float, float], readout: float = 1.0) -> None:
    model = nn.Sequential(
        nn.Linear(8, width, bias=False), nn.Tanh(), nn.Linear(width, width, bias=False), nn.Tanh(),
        nn.Linear(width, 3, bias=False),
    )  # fmt: skip
    with torch.no_grad():
        model[4].weight.mul_(readout)
    draws = torch.Generator().manual_seed(1)
    x, y = torch.randn(16, 8, generator=draws), torch.randint(0, 3, (16,), generator=draws)
    weights = [model[0].weight, model[2].weight, model[4].weight]
    groups = [{"params": [weight], "lr": rate} for weight, rate in zip(weights, rates, strict=True)]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    squares = [(TINY * torch.eye(len(w)), TINY * torch.eye(w.shape[1])) for w in weights]
    for _ in range(4):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        with torch.no_grad():
            for weight, (left, right) in zip(weights, squares, strict=True):
                g = weight.grad
                assert g is not None
                left += g @ g.T
                right += g.T @ g
                weight.grad = root(left) @ g @ root(right)
        optimizer.step()


def standard(width: int) -> None:
    descend(width, (0.05, 0.05, 0.05))


def maximal(width: int) -> None:
    descend(width, (0.05 * width**0.5, 0.2, 0.2 * width**-0.5), 4 * width**-0.5)


def test_the_derived_rates_are_those_of_the_spectral_condition() -> None:
    found = tpdyn.derive(tpdyn.record(standard, widths=(16, 24, 40), steps=3))
    assert found.maximal
    assert [found.shifts()[f"{k}.weight"].rate for k in (0, 2, 4)] == [HALF, ZERO, -HALF]


@pytest.mark.parametrize(
    ("train", "changes"), [(standard, (-HALF, ZERO, HALF)), (maximal, (ZERO, ZERO, ZERO))], ids=["standard", "maximal"]
)
def test_runs_have_the_predicted_orders(train: FunctionType, changes: tuple[Fraction, ...]) -> None:
    prediction = tpdyn.predict(tpdyn.record(train, widths=(16, 24, 40), steps=3))
    assert tuple(prediction.order(str(k), step=1) for k in (0, 2, 4)) == changes
    means = kept(__file__, train.__name__)
    measured = tpdyn.measure(train, widths=(64, 128, 256), seeds=16, steps=3, means=means)
    report = tpdyn.compare(prediction, measured)
    assert report.agrees, report.to_text()
    assert {row.verdict for row in report.rows() if row.name in ("0", "2", "4")} == {"agrees"}, report.to_text()
    if train is maximal:  # the eigenvalues shrink as n^-1: the tiny number wins in the end
        assert min(prediction.epsilon.values()) > 1e6
