"""Do the orders hold where they are meant, at widths of tens of thousands? On a GPU to 16,384, elsewhere to 1,024.

Statement. SGD trains a perceptron with two hidden layers under NTP, muP and the standard parametrization at a constant
rate. The regimes are kernel, feature learning, unstable (Tensor Programs IV, arXiv 2011.14522). The runs must not
contradict it. At the largest widths the change of the last hidden layer must have the predicted order.

Statistical: the interval of the change at 99 %, `tpdyn.claims.statistics`; its false alarms and power are those of
`test_false_alarm_and_power.py`. Seeds are fixed. It can fail: each order is rejected for the script of the others.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import pytest
import torch

import tpdyn
from tpdyn.claims import theorems
from tpdyn.claims.outcome import Outcome
from tpdyn.claims.report import Report, compare
from tpdyn.claims.statistics import judge
from tpdyn.testing.kept import kept
from tpdyn.testing.perceptrons import mlp_script

GPU = torch.cuda.is_available()
WIDTHS = (2048, 4096, 8192, 16384) if GPU else (128, 256, 512, 1024)
LAYERS, SEEDS, ZERO, HALF = 2, 6, Fraction(0), Fraction(1, 2)
POINTS = {
    "NTP": (theorems.neural_tangent(LAYERS), -HALF, tpdyn.Regime.KERNEL),
    "muP": (theorems.maximal_update(LAYERS), ZERO, tpdyn.Regime.FEATURE_LEARNING),
    "SP": (theorems.standard(LAYERS), HALF, tpdyn.Regime.UNSTABLE),
}


@cache
def report(name: str) -> Report:
    train = mlp_script(LAYERS, "tanh", point=POINTS[name][0], rate=0.3)
    program = tpdyn.record(train, widths=(16, 24, 40), steps=3)
    device = "cuda" if GPU else "script"
    runs = tpdyn.measure(train, widths=WIDTHS, seeds=SEEDS, steps=3, device=device, means=kept(__file__, name, WIDTHS))
    return compare(tpdyn.predict(program), runs)


@pytest.mark.parametrize("name", POINTS)
def test_the_regime_is_not_contradicted(name: str) -> None:
    _, _, regime = POINTS[name]
    assert report(name).prediction.regime is regime
    assert report(name).outcome is not Outcome.CONTRADICTED, report(name).to_text()


def test_the_last_hidden_layer_changes_as_predicted_and_each_order_rejects_the_other() -> None:
    """Under SP tanh saturates, so that only NTP and muP have an order to compare."""
    for name in ("NTP", "muP"):
        (row,) = (row for row in report(name).rows() if row.name == f"W{LAYERS}")
        found = row.measured_change_order
        print(f"{name}, widths {WIDTHS}: {found}")
        assert row.change_order == POINTS[name][1]
        assert found is not None and judge(row.change_order, found) != "disagrees", report(name).to_text()
        assert judge(-HALF if name == "muP" else ZERO, found) == "disagrees"
