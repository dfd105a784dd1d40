"""Mirrors tpdyn/regimes/unnamed.py: what decides and is not a module's output gets a name, and nothing else does."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

import tpdyn
from tpdyn.regimes.judgement import judge
from tpdyn.regimes.prediction import Prediction, Regime, Row
from tpdyn.regimes.unnamed import counterparts, unnamed

HALF = Fraction(1, 2)


class Attention(nn.Module):
    """One layer of causal attention; logits are divided by d^power."""

    def __init__(self, width: int, power: float) -> None:
        super().__init__()
        self.embed, self.out = nn.Linear(2, width), nn.Linear(width, 3)
        self.q, self.k = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.scale = width**-power

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).tanh()
        logits = self.q(x) @ self.k(x).transpose(1, 2) * self.scale
        masked = logits.masked_fill(torch.ones(3, 3).triu(1).bool(), float("-inf"))
        return self.out(masked.softmax(-1) @ x)[:, 0]


def fit(net: nn.Module, rate: float) -> None:
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    x, y = torch.linspace(-1, 1, 12).view(2, 3, 2), torch.tensor([0, 2])
    for _ in range(3):
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def predicted(net: type[nn.Module], *settings: float, power: float = 1.0) -> Prediction:
    return tpdyn.predict(tpdyn.record(lambda width: fit(net(width, *settings), 0.1 / width**power)), remedy=False)


def values(prediction: Prediction) -> list[Row]:
    return [row for row in prediction.rows() if row.kind == "value"]


@pytest.fixture(scope="module")
def attention() -> Prediction:
    return predicted(Attention, 0.5)


def test_logits_that_grow_have_rows_before_their_mask(attention: Prediction) -> None:
    assert attention.regime is Regime.UNSTABLE
    rows, program = values(attention), attention.program
    assert [row.step for row in rows] == [0, 1, 2]
    assert {row.name for row in rows} == {f"test_unnamed.py:{rows[0].source.line}"}
    assert "self.k(x).transpose" in rows[0].source.text  # the product, and no value with entries of -inf
    assert rows[0].change is None and rows[1].change == HALF and not rows[1].mixed
    assert all(program.statements[row.position].wide_axes == () for row in rows)
    assert attention.order(rows[0].name, step=1) == HALF


def test_a_value_has_one_counterpart_in_each_step(attention: Prediction) -> None:
    program = attention.program
    found = [row.position for row in values(attention)]
    assert all(counterparts(program, position) == tuple(found) for position in found)
    assert [program.statements[position].origin.step for position in found] == [0, 1, 2]


class Functional(nn.Module):
    """One hidden layer without a module of its own: the only representation is not a module's output."""

    def __init__(self, width: int, factor: float) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(width, 6))
        self.last = nn.Parameter(torch.randn(3, width))
        self.factor = factor / width

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x.flatten(1) @ self.first.T) @ self.last.T * self.factor


def test_a_representation_that_learns_has_rows_if_no_module_shows_it() -> None:
    learning = predicted(Functional, 1.0, power=0.0)
    assert learning.regime is Regime.FEATURE_LEARNING
    rows = values(learning)
    assert rows[-1].step == 2 and rows[-1].change == 0 and rows[-1].learns


class Plain(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.all = nn.Sequential(
            nn.Linear(6, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.all(x.flatten(1))
        return output


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_nothing_gets_a_name_where_a_module_shows_it(power: float) -> None:
    """A product before its bias grows first: its module's output has the same order."""
    plain = predicted(Plain, power=power)
    assert values(plain) == []


def test_a_regime_of_outputs_needs_no_other_value(attention: Prediction) -> None:
    from dataclasses import replace

    from tpdyn.readings.orders.reading import read

    orders = read(attention.program)
    judged = judge(orders)
    assert unnamed(orders, judged) is not None
    assert unnamed(orders, replace(judged, regime=Regime.TRIVIAL)) is None


class Packed(nn.Module):
    """One projection into n entries and two more, of which the two get gradients of order 0."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed, self.both, self.out = nn.Linear(2, width), nn.Linear(width, width + 2), nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        wide, fixed = self.both(self.embed(x).tanh()).split([self.out.in_features, 2], -1)
        return self.out(wide.tanh()) * fixed.sigmoid()  # type: ignore[no-any-return]


def test_a_fixed_part_that_grows_is_named_beside_the_row_of_the_whole() -> None:
    """At a rate of n^-1/2 the wide rows learn, and the two others grow. The mean over all entries does not."""

    def train(width: int) -> None:
        net = Packed(width)
        optimizer = torch.optim.SGD(net.both.parameters(), lr=width**-0.5)
        for x in torch.randn(2, 4, 2):
            optimizer.zero_grad()
            (net(x) - 1).square().mean().backward()
            optimizer.step()

    prediction = tpdyn.predict(tpdyn.record(train, (8, 12, 20), steps=2, verify=False), remedy=False)
    assert prediction.regime is Regime.UNSTABLE
    changes = {(row.kind, row.name.partition(":")[0]): row.change for row in prediction.rows() if row.step == 1}
    assert changes["module", "both"] == 0 and changes["parameter", "both.weight"] == -HALF * 2
    assert changes["value", "both"] == HALF
