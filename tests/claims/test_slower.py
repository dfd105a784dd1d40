"""Are parts of lower orders found, behind which a predicted order may hide at small widths?"""

from __future__ import annotations

from fractions import Fraction

import torch
from relu_network import X, of_network
from torch import nn

import tpdyn
from tpdyn.claims.outcome import Outcome
from tpdyn.claims.slower import slower_change, slower_size
from tpdyn.measuring.measure import measure
from tpdyn.regimes.prediction import Prediction, Row

HALF = Fraction(1, 2)


def encoder(n: int) -> None:
    """The first half of a public autoencoder, on small inputs: the growing part of its change starts at 1e-3."""
    net = nn.Sequential(nn.Linear(4, n, bias=False), nn.ReLU(), nn.Linear(n, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(3):
        loss = (net(0.002 * X) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def predicted(bias: bool = True) -> Prediction:
    return of_network(lambda net: torch.optim.Adam(net[2:].parameters(), lr=1e-3), bias=bias)


def row_of(prediction: Prediction, step: int) -> Row:
    return next(row for row in prediction.rows() if row.name == "2" and row.step == step)


def test_a_bias_is_the_slower_part_of_a_layer_whose_weights_move_it_faster() -> None:
    prediction = predicted()
    assert row_of(prediction, 1).change == 1
    assert slower_change(prediction, row_of(prediction, 1)) == 0
    assert row_of(prediction, 0).size == 0
    assert slower_size(prediction, row_of(prediction, 0)) == -HALF


def test_a_layer_of_one_part_hides_behind_nothing() -> None:
    prediction = predicted(bias=False)
    assert slower_change(prediction, row_of(prediction, 1)) is None
    assert slower_size(prediction, row_of(prediction, 0)) is None


def test_growth_behind_a_larger_constant_is_undecided_not_contradicted() -> None:
    """The change of a readout on small features is flat up to width 128, but predicted to grow with n."""
    prediction = tpdyn.predict(tpdyn.record(encoder, widths=(16, 24), verify=False), remedy=False)
    report = tpdyn.compare(prediction, measure(encoder, (32, 64, 128), seeds=4, steps=3))
    assert report.outcome is Outcome.UNDECIDED, report.to_text()
    row = next(row for row in report.rows() if row.name == "2")
    assert row.measured_change_order is not None
    assert row.measured_change_order.high < 0.75
    assert "the part of order" in row.note or "larger widths" in row.note
