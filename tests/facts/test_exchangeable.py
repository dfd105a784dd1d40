"""Mirrors tpdyn/facts/exchangeable.py: entries that are alike in law are told from those that something tells apart."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import tpdyn
from tpdyn.exponents import Scaling
from tpdyn.facts.exchangeable import exchangeable, logits
from tpdyn.facts.facts import Facts
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Operand, Slice

N = Builder.n


def routed(told_apart: str) -> tuple[Facts, int]:
    """Logits of three experts, in a softmax. told_apart: what distinguishes the experts."""
    b = Builder()
    b.at(phase="forward")
    x, router, experts = b.data("x", (N,)), b.parameter("router", (3, N)), b.parameter("experts", (3, N, N))
    made = b.einsum("i,ki->k", x, router)
    if told_apart == "data":
        made = b.combine((1, made), (1, b.data("noise", (3,))))
    gates = b.apply("softmax", made, along=0)
    h = b.einsum("i,kij->kj", x, experts)
    if told_apart == "a slice":
        b.add(Slice(Operand(h, (2, 0)), 2, Scaling.of(0), 1, Scaling.of(1)), (N,))
    b.einsum("k,kj->j", gates, h)
    return Facts.of(b.build()), made


def test_logits_of_experts_that_are_drawn_alike_are_alike() -> None:
    facts, made = routed("nothing")
    assert facts.logits_alike == {made} == logits(facts.program, facts.spaces)
    (space,) = exchangeable(facts.program, facts.spaces)
    assert space == facts.spaces[made, 0]


@pytest.mark.parametrize("what", ["data", "a slice"])
def test_what_only_one_of_them_meets_tells_experts_apart(what: str) -> None:
    facts, _ = routed(what)
    assert not facts.logits_alike and not exchangeable(facts.program, facts.spaces)


class Mixture(nn.Module):
    """Experts under a softmax, and a head for classes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.router, self.last = nn.Linear(4, width), nn.Linear(width, 2), nn.Linear(width, 3)
        self.experts = nn.Parameter(torch.randn(2, width, width) / width**0.5)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        gates = torch.softmax(self.router(h), -1)
        return self.last(torch.einsum("bk,bi,kij->bj", gates, h, self.experts))  # type: ignore[no-any-return]


def by_class(out: Tensor) -> Tensor:
    return functional.cross_entropy(out, torch.tensor([0, 1, 2, 1]))


def by_number(out: Tensor) -> Tensor:
    return (out - 1).square().mean()


@pytest.mark.parametrize("loss", [by_class, by_number])
def test_the_change_of_a_router_is_an_upper_bound_and_that_of_outputs_is_not(loss: Callable[[Tensor], Tensor]) -> None:
    """Runs show about -1/2, where 0 was claimed. What the experts have in common moves no gate."""

    def train(width: int) -> None:
        model, x = Mixture(width), torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        while True:
            optimizer.zero_grad()
            loss(model(x)).backward()
            optimizer.step()

    rows = tpdyn.predict(tpdyn.record(train, widths=(16, 24, 40), steps=2), remedy=False).table
    bounds = {row.name: row.at_most for row in rows if row.step == 1 and row.kind in ("module", "output")}
    assert bounds == {"first": False, "router": True, "last": False, "output": False}


@pytest.mark.slow
def test_runs_show_that_a_router_of_such_experts_learns_less_than_the_bound() -> None:
    """In muP, after two steps. Medians over 30 seeds at widths 16 times apart: the slope has a deviation of 0.06."""

    def change(width: int, seed: int) -> float:
        torch.manual_seed(seed)
        model, x, growth = Mixture(width), torch.randn(4, 4, generator=torch.Generator().manual_seed(0)), width / 64
        readouts = [model.last.weight, model.router.weight]
        with torch.no_grad():
            for weight in readouts:
                weight /= growth**0.5
        optimizer = torch.optim.SGD(
            [
                {"params": model.first.parameters(), "lr": 0.1 * growth},
                {"params": [model.experts, model.last.bias, model.router.bias], "lr": 0.1},
                {"params": readouts, "lr": 0.1 / growth},
            ]
        )

        def logits_now() -> Tensor:
            with torch.no_grad():
                return model.router(torch.tanh(model.first(x)))  # type: ignore[no-any-return]

        before = logits_now()
        for _ in range(2):
            optimizer.zero_grad()
            by_number(model(x)).backward()
            optimizer.step()
        return float((logits_now() - before).square().mean().sqrt())

    small, large = (statistics.median(change(width, seed) for seed in range(30)) for width in (128, 2048))
    slope = math.log(large / small) / math.log(16)
    print(f"the router's change: {small:.4f} at width 128, {large:.4f} at 2048, slope {slope:.2f}")
    assert slope < -0.25
