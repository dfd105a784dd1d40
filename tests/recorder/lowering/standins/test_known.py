"""Mirrors tpdyn/recorder/lowering/standins/known.py: which operations keep the law of a draw."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

import tpdyn
from tpdyn.facts.facts import Facts
from tpdyn.program.instructions import Law, Leaf


def law_of(initial: Callable[[int], torch.Tensor]) -> Law:
    """The law of a parameter that a script initialises."""

    def train(width: int) -> None:
        w = nn.Parameter(initial(width))
        optimizer = torch.optim.SGD([w], lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            (w.sum() / width).backward()
            optimizer.step()

    program = tpdyn.record(train, widths=(16, 24), steps=1, verify=False)
    leaf = program.statements[program.parameters[0].versions[0].var].instruction
    assert isinstance(leaf, Leaf)
    return leaf.law


def test_a_function_of_a_draw_has_the_mean_and_std_of_its_law_and_not_of_the_sample() -> None:
    """E[gelu(z)] = 1 / (2 sqrt(pi)), which 24 draws would miss by a tenth."""
    law = law_of(lambda width: nn.functional.gelu(torch.randn(width)))
    assert law.kind == "iid"
    assert float(law.location.constant) == pytest.approx(1 / (2 * math.sqrt(math.pi)), abs=1e-7)


def test_an_affine_function_of_a_draw_keeps_its_kind() -> None:
    law = law_of(lambda width: 1 - 2 * torch.rand(width))
    assert law.kind == "uniform"
    assert float(law.location.constant) == pytest.approx(0, abs=1e-12)
    assert float(law.scale.constant) == pytest.approx(1)


def test_an_operation_across_entries_keeps_no_law_of_independent_entries() -> None:
    law = law_of(lambda width: torch.softmax(torch.randn(width), 0))
    assert law.kind == "iid"
    assert float(law.location.at(24)) == pytest.approx(1 / 24, rel=1e-3)


def test_the_vectors_of_a_power_iteration_are_noise_and_no_input() -> None:
    """That of a convolution has a finite dim, the size of its kernel, as a batch of samples has. It is no batch."""

    def train(width: int) -> None:
        layer = spectral_norm(nn.Conv1d(width, width, 3), n_power_iterations=1)
        first, last, x = nn.Linear(2, width), nn.Linear(width, 1), torch.randn(4, 3, 2)
        optimizer = torch.optim.SGD([p for each in (first, layer, last) for p in each.parameters()], lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            last(layer(first(x).transpose(1, 2)).squeeze(2)).sum().backward()
            optimizer.step()

    program = tpdyn.record(train, widths=(16, 24), steps=1, verify=False)
    leaves = [s.instruction for s in program.statements if isinstance(s.instruction, Leaf)]
    assert [leaf.law.kind for leaf in leaves if leaf.kind == "random"] == ["normal"]
    modules = {program.statements[p].origin.module for p in Facts.of(program).representations}
    assert modules and not any("parametrizations" in module for module in modules)


def test_a_gaussian_vector_of_unit_length_has_gaussian_entries_of_order_minus_one_half() -> None:
    """`F.normalize(torch.randn(n))`, the start of a power iteration. Rows of a matrix, or of uniform draws, are not."""
    law = law_of(lambda width: nn.functional.normalize(torch.randn(width), dim=0))
    assert law.kind == "normal" and law.location.is_zero
    assert float(law.scale.at(100)) == pytest.approx(0.1)
    assert law_of(lambda width: nn.functional.normalize(torch.rand(width), dim=0)).kind == "iid"
    assert law_of(lambda width: torch.randn(width) / 2 / torch.ones(1)).kind == "normal"


def test_a_state_of_zeros_beside_the_first_input_is_no_data() -> None:
    """A recurrence written as a loop over modules. Only the state has a dim that grows, so the two are told apart."""

    def train(width: int) -> None:
        cell, out, x = nn.Linear(2 + width, width), nn.Linear(width, 1), torch.ones(4, 3, 2)
        optimizer = torch.optim.SGD([*cell.parameters(), *out.parameters()], lr=0.1)
        for _ in range(3):
            state = torch.zeros(4, width)
            for t in range(3):
                state = torch.tanh(cell(torch.cat([x[:, t], state], -1)))
            optimizer.zero_grad()
            out(state).square().mean().backward()
            optimizer.step()

    program = tpdyn.record(train, widths=(16, 24, 40), steps=2)
    data = [s for s in program.statements if isinstance(s.instruction, Leaf) and s.instruction.kind == "data"]
    assert data and not any(statement.wide_axes for statement in data)
