"""Mirrors tpdyn/recorder/lowering/standins/matrices/diagonals.py: a diagonal makes no array of a matrix along features."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import tpdyn
from tpdyn.exponents import Order
from tpdyn.facts.facts import Facts
from tpdyn.program.instructions import Apply, Leaf
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import read
from tpdyn.recorder.fitting.widths import FitError


def eye(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.bool)


def off_diagonal(c: Tensor) -> Tensor:
    """As Barlow Twins and VICReg have it."""
    n = len(c)
    return c.flatten()[:-1].view(n - 1, n + 1)[:, 1:].flatten()


def filled(c: Tensor) -> Tensor:
    c = c.clone()
    c.fill_diagonal_(0)
    return c


def weighted(c: Tensor) -> Tensor:
    """Twice what is on the diagonal, and the rest."""
    c = c.pow(2)
    c[eye(len(c))] *= 2
    return c


OFF: dict[str, Callable[[Tensor], Tensor]] = {
    "cut out": lambda c: off_diagonal(c).pow_(2).sum(),
    "a mask as index": lambda c: c[~eye(len(c))].pow(2).sum(),
    "selected": lambda c: c.masked_select(~eye(len(c))).pow(2).sum(),
    "filled": lambda c: filled(c).pow(2).sum(),
    "masked": lambda c: c.masked_fill(eye(len(c)), 0.0).pow(2).sum(1).sum(),
    "times": lambda c: (c * (1 - torch.eye(len(c)))).t().square().sum(),
    "less its diagonal": lambda c: (c - torch.diag(torch.diag(c))).pow(2).sum(),
}
WITH: dict[str, Callable[[Tensor], Tensor]] = {
    "less the identity": lambda c: (c - torch.eye(len(c))).pow(2).sum(),
    "mean squared error": lambda c: nn.functional.mse_loss(c, torch.eye(len(c)), reduction="sum"),
    "diagonal in place": lambda c: off_diagonal(c).abs().sum() + torch.diagonal(c).add_(-1).pow_(2).sum(),
    "weighted": lambda c: weighted(c).sum(),
    "multiplied": lambda c: ((c * (1 - torch.eye(len(c)))) @ c).diagonal().sum(),
    "its sum": lambda c: off_diagonal(c).sum(),
}


def recorded(loss: Callable[[Tensor], Tensor]) -> Program:
    """A loss of the covariance of an embedding, replayed at a width that was not recorded."""

    def train(width: int) -> None:
        net = nn.Sequential(nn.Linear(5, width, bias=False), nn.Tanh(), nn.Linear(width, width, bias=False))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
        for _ in range(2):
            z = net(x)
            optimizer.zero_grad()
            (loss(z.T @ z / 3) / width).backward()
            optimizer.step()

    return tpdyn.record(train, widths=(8, 12), steps=1)


def arrays(program: Program) -> list[str]:
    leaves = [(s.instruction, s.wide_axes) for s in program.statements]
    return [leaf.name for leaf, wide in leaves if isinstance(leaf, Leaf) and leaf.law.kind == "array" and wide]


def of_the_gradient(program: Program) -> Order:
    gradient = program.parameters[1].gradients[0]
    assert gradient is not None
    return read(program).values[gradient.var].size


@pytest.mark.parametrize("name", OFF)
def test_entries_off_the_diagonal_are_the_matrix_and_its_diagonal_however_they_are_cut_out(name: str) -> None:
    program = recorded(OFF[name])
    assert not arrays(program) and not Facts.of(program).wide_data
    assert of_the_gradient(program) == 0  # n^-1 times n products in step


@pytest.mark.parametrize("name", WITH)
def test_an_identity_matrix_is_no_array_where_it_meets_a_matrix_along_features(name: str) -> None:
    program = recorded(WITH[name])
    assert not arrays(program) and not Facts.of(program).wide_data


def test_masks_of_samples_stay_what_they_are() -> None:
    """The likeness of a row to itself is left out of a contrastive loss: one mask, filled with a number."""

    def train(width: int) -> None:
        net = nn.Linear(5, width)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(2):
            z = net(torch.randn(4, 5))
            optimizer.zero_grad()
            (z @ z.T / width).masked_fill(eye(4), -1e9).log_softmax(-1)[0, 1].backward()
            optimizer.step()

    program = tpdyn.record(train, widths=(8, 12), steps=1)
    functions = [s.instruction.function for s in program.statements if isinstance(s.instruction, Apply)]
    assert functions.count("where") == 2  # and one on the way back


def test_a_mean_over_what_is_off_the_diagonal_is_refused_as_no_power_of_the_width() -> None:
    with pytest.raises(FitError, match=r"not c\*n\^p"):
        recorded(lambda c: off_diagonal(c).pow(2).mean())
