"""Mirrors tpdyn/facts/exchangeable.py: entries that are alike in law are told from those that something tells apart."""

from __future__ import annotations

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
    """Runs show -1 at widths 1024 to 2048, where 0 was claimed. What the experts have in common moves no gate."""

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
