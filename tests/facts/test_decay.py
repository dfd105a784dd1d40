"""Mirrors tpdyn/facts/decay.py: decay is found in every form, and nothing else is taken for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import tpdyn
from tpdyn.facts.facts import Facts
from tpdyn.program.instructions import Combine
from tpdyn.program.program import Program

Make = Callable[[nn.Module], torch.optim.Optimizer]


def recorded(make: Make, after: Callable[[nn.Module, torch.optim.Optimizer], None] | None = None) -> Program:
    def train(width: int) -> None:
        model = nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 2))
        optimizer = make(model)
        x, y = torch.randn(4, 5), torch.randn(4, 2)
        for _ in range(2):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
            if after is not None:
                with torch.no_grad():
                    after(model, optimizer)

    return tpdyn.record(train, widths=(16, 24, 40), steps=2)


WITH_AND_WITHOUT: dict[str, tuple[Make, Make, bool]] = {
    "SGD": (
        lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1),
        lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9),
        True,
    ),
    "Adam": (
        lambda m: torch.optim.Adam(m.parameters(), lr=0.1, weight_decay=0.1),
        lambda m: torch.optim.Adam(m.parameters(), lr=0.1),
        True,
    ),
    "AdamW": (
        lambda m: torch.optim.AdamW(m.parameters(), lr=0.1, weight_decay=0.1),
        lambda m: torch.optim.AdamW(m.parameters(), lr=0.1, weight_decay=0.0),
        False,
    ),
}


@pytest.mark.parametrize("name", WITH_AND_WITHOUT)
def test_without_decay_a_program_has_the_orders_of_a_script_that_has_none(name: str) -> None:
    decaying, plain, coupled = WITH_AND_WITHOUT[name]
    program = recorded(decaying)
    facts, found = Facts.of(program).without_decay
    stripped = facts.program
    assert stripped != program
    assert found == (frozenset(p.name for p in program.parameters) if coupled else frozenset())
    rows = {(r.kind, r.name, r.step): (r.size, r.change) for r in tpdyn.predict(recorded(plain)).rows()}
    assert {(r.kind, r.name, r.step): (r.size, r.change) for r in tpdyn.predict(stripped).rows()} == rows
    versions = {var for p in stripped.parameters for view in p.versions for var in view.pieces}
    left = {
        scale.at(16)
        for statement in stripped.statements
        if statement.origin.phase == "optimizer" and isinstance(statement.instruction, Combine)
        for scale, operand in statement.instruction.terms
        if operand.var in versions
    }
    assert left == {1.0}


@pytest.mark.parametrize("name", WITH_AND_WITHOUT)
def test_a_script_without_decay_stays_as_it_is(name: str) -> None:
    program = recorded(WITH_AND_WITHOUT[name][1])
    facts = Facts.of(program)
    assert facts.without_decay == (facts, frozenset())


def test_a_mean_of_weights_is_no_decay() -> None:
    """Lookahead: the new weights are half the old and half a slower copy, kept with the model of this run."""

    def after(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        state: dict[nn.Parameter, dict[str, torch.Tensor]] = optimizer.state
        for p in model.parameters():
            if "slow" in state[p]:
                p.mul_(0.5).add_(state[p]["slow"], alpha=0.5)
            state[p]["slow"] = p.detach().clone()

    program = recorded(lambda m: torch.optim.SGD(m.parameters(), lr=0.1), after)
    facts = Facts.of(program)
    assert facts.without_decay == (facts, frozenset())
