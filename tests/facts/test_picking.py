"""Is the index of the largest entry along a wide dim known for one of n indices?"""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import nn

import tpdyn
from tpdyn.facts.facts import Facts
from tpdyn.program.instructions import Contract
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import read
from tpdyn.regimes.prediction import Regime

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


def directions(n: int, steps: int = 2) -> torch.Tensor:
    """muP by hand: steps along `g / g.abs().max()`, smaller by n behind wide dims. Returns the last hidden direction."""
    weights = [
        nn.Parameter(torch.randn(4, n)),
        nn.Parameter(torch.randn(n, n) / n**0.5),
        nn.Parameter(torch.randn(n) / n),
    ]
    for _ in range(steps):
        loss = (torch.tanh(torch.tanh(X @ weights[0]) @ weights[1]) @ weights[2] - 1).square().mean()
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for weight, gradient, rate in zip(weights, gradients, (0.01, 0.1 / n, 0.1 / n), strict=True):
                weight.sub_(rate * gradient / gradient.abs().max())
    return gradients[1] / gradients[1].abs().max()


def test_one_entry_of_a_wide_dim_is_the_largest_and_one_of_a_fixed_dim_is_no_pick() -> None:
    def train(n: int, dim: int) -> None:
        net = nn.Sequential(nn.Linear(4, n), nn.Tanh(), nn.Linear(n, 3))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(2):
            h = net[:2](X)
            loss = (net[2](h) if dim == 0 else h).amax(-1).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def program(dim: int) -> Program:
        return tpdyn.record(lambda n: train(n, dim), widths=(16, 24), verify=False)

    assert set(Facts.of(program(1)).picks.values()) == {Fraction(1)}
    assert not Facts.of(program(0)).picks


def test_directions_over_their_largest_entry_are_of_order_0_as_measured() -> None:
    """The largest entry was bounded by a sum. So updates were n (or n^2) times too small, and the network called frozen."""
    program = tpdyn.record(directions, widths=(16, 24), verify=False)
    assert tpdyn.predict(program, remedy=False).regime is Regime.FEATURE_LEARNING
    torch.manual_seed(0)
    small, large = (float(directions(n, 1).abs().mean()) for n in (64, 1024))
    assert 0.25 < large / small < 1  # powers of log(n): the extremes of products of Gaussians


def quantised(n: int, steps: int = 2) -> None:
    """Hidden values in eight bits between plus and minus their largest, straight through."""
    net = nn.ModuleList([nn.Linear(4, n), nn.Linear(n, n), nn.Linear(n, 3)])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1 / n)
    for _ in range(steps):
        h = torch.tanh(net[0](X))
        unit = h.detach().abs().amax(-1, keepdim=True) / 127
        h = h + ((h / unit).round() * unit - h).detach()
        optimizer.zero_grad()
        net[2](torch.tanh(net[1](h))).square().mean().backward()
        optimizer.step()


def test_ranks_represent_nothing_and_the_largest_entry_changes_as_entries_do() -> None:
    """Counts of larger entries were taken for a representation of order +1, and comparisons for a growing batch."""
    program = tpdyn.record(quantised, widths=(16, 24, 40), steps=2)
    prediction = tpdyn.predict(program, remedy=False)
    assert prediction.regime is Regime.KERNEL and not prediction.outside
    facts, orders = Facts.of(program), read(program)
    assert facts.rankings and not facts.rankings.intersection(facts.representations)
    largest = [position for position in facts.extremes if program.statements[position].origin.step == 1]
    assert largest
    moved = []
    for position in largest:
        ranked = program.statements[position].instruction
        assert isinstance(ranked, Contract)
        value = orders.values[ranked.operands[facts.extremes[position]].var]
        assert orders.values[position].size == value.size
        assert orders.values[position].moved == value.moved
        moved.append(value.moved)
    assert moved == [Fraction(-3, 2)] * len(moved)


def test_the_gradient_of_a_maximum_goes_to_one_entry_of_n() -> None:
    """It was divided by the number of all entries: n times too small."""

    def gradients(n: int, steps: int = 2) -> torch.Tensor:
        net = nn.Sequential(nn.Linear(4, n), nn.Tanh(), nn.Linear(n, n, bias=False))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1 / n)
        for _ in range(steps):
            loss = net(X).amax(-1).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        gradient = net[0].weight.grad
        assert gradient is not None
        return gradient

    program = tpdyn.record(gradients, widths=(16, 24), verify=False)
    prediction = tpdyn.predict(program, remedy=False)
    (row,) = (row for row in prediction.rows() if row.kind == "gradient" and row.name == "0.weight" and row.step == 0)
    torch.manual_seed(0)
    small, large = (sum(float(gradients(n, 1).abs().mean()) for _ in range(8)) for n in (64, 1024))
    assert row.size is not None
    assert row.size == Fraction(-1, 2)
    assert 0.5 < large / small / 16 ** float(row.size) < 2
