"""How much of a change do the parts of lower order make? Measured by the program, where the calculus knows only their orders."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from relu_network import of_network
from torch import nn

import tpdyn
from tpdyn.claims.parts import SMALL, known_part, share
from tpdyn.claims.statistics import GROWING_CROSSOVER, Part, estimate_order, expected
from tpdyn.measuring.measurement import Measurement
from tpdyn.regimes.prediction import Prediction, Row


def predicted(bias_rate: float) -> Prediction:
    """A readout whose weights move it at order 1, its bias at order 0. Their constants are those of the rates."""
    return of_network(
        lambda net: torch.optim.SGD(
            [{"params": [net[2].weight], "lr": 0.1}, {"params": [net[2].bias], "lr": bias_rate}]
        )
    )


def row_of(prediction: Prediction, name: str = "2", step: int = 1) -> Row:
    return next(row for row in prediction.rows() if row.name == name and row.step == step)


def test_the_share_of_parts_of_lower_order_is_measured_and_falls_with_the_width() -> None:
    small = predicted(bias_rate=0.01)
    shares = [share(small, row_of(small), width) for width in (16, 64, 256)]
    assert all(each is not None for each in shares)
    first, middle, last = (float(each or 0) for each in shares)
    assert SMALL > first > 2 * middle > 4 * last > 0, shares
    large = predicted(bias_rate=100.0)
    assert (share(large, row_of(large), 64) or 0) > 0.9


def test_a_part_is_known_where_its_share_is_small_and_crosses_as_its_order_says() -> None:
    small, large = predicted(bias_rate=0.01), predicted(bias_rate=100.0)
    part, measured = known_part(small, row_of(small), 64), share(small, row_of(small), 64)
    assert part is not None and measured is not None and part.power == 1
    assert (part.width / 64) ** part.power == pytest.approx(measured)
    assert known_part(large, row_of(large), 64) is None


def test_tokens_that_differ_from_run_to_run_are_drawn_from_their_vocabulary() -> None:
    def train(n: int) -> None:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Embedding(9, n), nn.Tanh(), nn.Linear(n, 3))
        tokens, labels = (
            torch.randint(9, (6,)),
            torch.randint(3, (6,)),
        )  # others at each width: the weights were drawn before
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(3):
            loss = nn.functional.cross_entropy(net(tokens), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    prediction = tpdyn.predict(tpdyn.record(train, widths=(16, 24), verify=False), remedy=False)
    assert not prediction.program.arrays
    part = share(prediction, row_of(prediction), 64)
    assert part is not None
    assert 0 < part < 1


def test_what_leads_alone_has_no_other_part_and_what_only_leads_together_is_not_known() -> None:
    prediction = predicted(bias_rate=0.0)
    assert share(prediction, row_of(prediction), 64) == 0
    first = row_of(prediction, name="0", step=2)  # moved by its own weights alone
    assert share(prediction, first, 64) in (0.0, None) or known_part(prediction, first, 64) is not None


def test_what_is_below_its_order_is_contradicted_if_no_part_hides_it_and_undecided_if_one_may() -> None:
    """Runs whose readout changes by a factor n^(1/2) less than predicted: the theory would be too large by 1/2."""
    for bias_rate, outcome in ((0.01, "disagrees"), (100.0, "inconclusive")):
        prediction = predicted(bias_rate)
        widths, rng = (64, 128, 256, 512), np.random.default_rng(0)
        runs = flat(prediction, widths, rng)
        report = tpdyn.compare(prediction, runs)
        row = next(row for row in report.rows() if row.name == "2")
        assert row.change_verdict == outcome, (bias_rate, row.note)


def flat(prediction: Prediction, widths: tuple[int, ...], rng: np.random.Generator) -> Measurement:
    """Runs in which every value has its order, except the readout's change: it has order 1/2 instead of 1."""
    names = tuple(dict.fromkeys(row.name for row in prediction.rows() if row.kind in ("module", "output")))
    n = np.array(widths, dtype=np.float64)[:, None]
    shape = (len(widths), 8, 3, len(names))
    size, change = np.ones(shape), np.zeros(shape)
    for row in prediction.rows():
        if row.kind in ("module", "output"):
            k, order = names.index(row.name), row.change
            noise = np.exp(0.03 * rng.standard_normal((len(widths), 8)))
            size[:, :, row.step, k] = n ** float(row.size or 0) * noise
            measured = order - Fraction(1, 2) if row.name != "0" and order is not None else order
            change[:, :, row.step, k] = 0.0 if measured is None else n ** float(measured) * noise
    nothing = np.full((*shape[:3], 0), np.nan)
    return Measurement(
        widths, tuple(range(8)), 3, names, (), size, size, change, change, np.zeros(shape), np.full(shape, 1e-7),
        np.full((*shape, 4), np.nan), nothing, nothing, nothing, np.zeros(shape[:3]), np.zeros(shape[:3], dtype=bool),
        np.ones(shape[:2], dtype=bool),
    )  # fmt: skip


def test_a_known_part_shortens_the_interval_of_what_grows() -> None:
    widths, rng = (64, 128, 256, 512), np.random.default_rng(0)
    sizes = np.array(widths)[:, None] ** 0.5 * (1 + 0.05 * rng.standard_normal((4, 8)))
    assumed = estimate_order(widths, sizes, crossover=GROWING_CROSSOVER)
    known = estimate_order(widths, sizes, part=Part(4.0, 1.0))
    assert assumed is not None and known is not None
    assert known.high - known.low < 0.7 * (assumed.high - assumed.low)
    half, _ = expected(widths, 8, spread=known.spread, part=known.part)
    assert half == pytest.approx((known.high - known.low) / 2, rel=0.2)
