"""Mirrors tpdyn/recorder/canonical/tidy.py: a multiplier is one of the product, wherever the script writes it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import tpdyn
from tpdyn.facts.facts import Facts
from tpdyn.program.instructions import Contract
from tpdyn.program.program import Program


class Attention(nn.Module):
    """Logits divided by the width: `at` says where."""

    def __init__(self, width: int, at: str) -> None:
        super().__init__()
        self.at = at
        self.up, self.out = nn.Linear(5, width), nn.Linear(width, 2, bias=False)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.normal_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.up(x))
        n = x.shape[-1]
        q, k = self.query(x), self.key(x)
        if self.at == "result":
            return self.out(torch.softmax((q @ k.T) / n, dim=-1) @ x) / n
        if self.at == "one factor":
            return self.out((torch.softmax((q / n) @ k.T, dim=-1) @ x) / n)
        return self.out((torch.softmax((q / n**0.5) @ (k.T / n**0.5), dim=-1) @ x) / n)


def train(at: str) -> Callable[[int], None]:
    def run(width: int) -> None:
        model = Attention(width, at)
        matrices = [model.query.weight, model.key.weight]
        others = [p for p in model.parameters() if all(p is not matrix for matrix in matrices)]
        groups = [{"params": matrices, "lr": 0.1 / width}, {"params": others, "lr": 0.1}]
        optimizer = torch.optim.Adam(groups)
        x = torch.randn(6, 5)
        for _ in range(3):
            optimizer.zero_grad()
            (model(x) - 1).square().mean().backward()
            optimizer.step()

    return run


@pytest.fixture(scope="module")
def programs() -> dict[str, Program]:
    return {at: tpdyn.record(train(at), widths=(16, 24, 40)) for at in ("result", "one factor", "both factors")}


@pytest.mark.parametrize("at", ["one factor", "both factors"])
def test_where_a_multiplier_is_written_does_not_matter(programs: dict[str, Program], at: str) -> None:
    """A scaled vector is no representation that vanishes: before, attention with scaled queries had no maximal update."""
    derived = tpdyn.derive(programs[at])
    assert derived.maximal and derived.edits() == ()
    assert derived.exponents == tpdyn.derive(programs["result"]).exponents
    assert derived.own["out.weight"].a == 1


def test_multiples_that_only_products_read_are_gone(programs: dict[str, Program]) -> None:
    for program in programs.values():
        forward = [s for s in program.statements if s.origin.phase == "forward" and s.origin.step == 0]
        products = [s.instruction for s in forward if isinstance(s.instruction, Contract) and not s.wide_axes]
        assert sum(p.scale.order == -1 for p in products if isinstance(p, Contract)) <= 2
    scaled = [
        s.instruction.scale.order
        for s in programs["both factors"].statements
        if isinstance(s.instruction, Contract)
        and s.origin.phase == "forward"
        and not s.wide_axes
        and s.origin.step == 0
    ]
    assert scaled.count(-1) == 2  # the logits and the output


def test_what_is_read_from_a_matrix_of_activations_keeps_the_multiplier_behind_it() -> None:
    """`q @ (k.T @ v) / d` is of order 0 before the next layer: the division is not a multiplier of that layer."""

    def train(width: int) -> None:
        layers = nn.ModuleList([nn.Linear(5, width), *(nn.Linear(width, width) for _ in range(3)), nn.Linear(width, 2)])
        optimizer = torch.optim.SGD(layers.parameters(), lr=0.1)
        data = torch.randn(6, 5)
        for _ in range(3):
            x = torch.tanh(layers[0](data))
            q, k, v = (layers[i](x) for i in (1, 2, 3))
            optimizer.zero_grad()
            layers[4](q @ (k.T @ v) / width).square().mean().backward()
            optimizer.step()

    facts = Facts.of(tpdyn.record(train, widths=(16, 24, 40), steps=2, verify=False))
    (bare,) = (p for p, power in facts.folded.items() if facts.program.statements[p].origin.step == 0 and power == -1)
    assert facts.program.statements[bare].origin.source.text.startswith("layers[4](q @ (k.T @ v)")
