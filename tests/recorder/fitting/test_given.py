"""Mirrors tpdyn/recorder/fitting/given.py: how big are entries that are given, and which are hardly any?"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpdyn.program.instructions import Leaf
from tpdyn.program.program import Program
from tpdyn.recorder.fitting.given import fitted_size, is_sparse, structure
from tpdyn.recorder.fitting.widths import FitError
from tpdyn.recorder.record import record

WIDTHS = (16, 24, 40)


def on(rows: Callable[[int], Tensor]) -> Program:
    """A network of inputs that grow, trained on these rows."""

    def train(width: int) -> None:
        x = rows(width)
        model = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        while True:
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()

    return record(train, steps=1, verify=False)


def order_of_data(program: Program) -> Fraction | None:
    (leaf,) = [
        s.instruction for s in program.statements if isinstance(s.instruction, Leaf) and s.instruction.kind == "data"
    ]
    assert leaf.law.kind == "data"
    return leaf.law.scale.order


GIVEN: dict[str, tuple[Callable[[int], Tensor], Fraction | None]] = {
    "orthogonal": (lambda n: torch.linalg.qr(torch.randn(n, n))[0][:4], Fraction(-1, 2)),
    "of norm one": (lambda n: F.normalize(torch.randn(4, n), dim=-1), Fraction(-1, 2)),
    "divided by a root": (
        lambda n: torch.from_numpy(np.random.default_rng(n).normal(size=(8, n)) / n**0.5).float(),
        Fraction(-1, 2),
    ),
    "plain": (lambda n: torch.from_numpy(np.random.default_rng(n).normal(size=(8, n))).float(), None),
}


@pytest.mark.parametrize("name", GIVEN)
def test_the_size_of_given_entries_is_fitted(name: str) -> None:
    rows, order = GIVEN[name]
    program = on(rows)
    assert order_of_data(program) == order
    assert any("size of its entries was measured" in note for note in program.notes) == (order is not None)


def test_one_hot_rows_of_a_length_that_grows_are_refused() -> None:
    with pytest.raises(FitError, match=r"outside the theory: a fixed number of the entries .*one-hot"):
        on(lambda n: torch.eye(n)[:4])


def test_a_size_that_is_not_clear_does_not_depend_on_the_width() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(2, generator=generator) for _ in WIDTHS]
    assert fitted_size(WIDTHS, noise).is_zero
    assert fitted_size(WIDTHS, [torch.zeros(4) for _ in WIDTHS]).is_zero
    assert fitted_size(WIDTHS[:1], noise[:1]).is_zero


def test_false_alarms_are_rare() -> None:
    """Of 2,000 tables of plain numbers (4 rows) fewer than 1 in 100 is given a power: 3 sigma, twice-sided, 6 powers."""
    generator = torch.Generator().manual_seed(1)
    found = [fitted_size(WIDTHS, [torch.randn(4, n, generator=generator) for n in WIDTHS]) for _ in range(2000)]
    assert sum(not size.is_zero for size in found) < 20


def test_what_is_sparse_has_the_same_few_entries_at_each_width() -> None:
    assert is_sparse([torch.eye(n)[:4] for n in WIDTHS])
    assert not is_sparse([torch.eye(n) for n in WIDTHS])
    assert not is_sparse([torch.ones(4) for _ in WIDTHS])
    assert not is_sparse([torch.zeros(4, n) for n in WIDTHS])


def diagonals(n: int) -> Tensor:
    """Entries by their distance from the diagonal."""
    values = torch.randn(2 * n - 1) / n**0.5
    return values[torch.arange(n)[:, None] - torch.arange(n) + n - 1]


DEPENDENT: dict[str, tuple[Callable[[int], Tensor], str]] = {
    "rank 2": (lambda n: torch.randn(n, 2) @ torch.randn(2, n) / n**0.5, "those of a matrix of rank 2"),
    "Toeplitz": (diagonals, "equal along each diagonal"),
    "Hankel": (lambda n: diagonals(n).flip(0), "equal along each diagonal"),
    "identity": (torch.eye, "equal along each diagonal"),
}


def between(matrix: Callable[[int], Tensor], trained: bool) -> Callable[[int], None]:
    """A network with this matrix between its layers: as features that stay, or as initial weights."""

    def train(width: int) -> None:
        first, second, last = nn.Linear(5, width), nn.Linear(width, width, bias=False), nn.Linear(width, 3)
        kept = matrix(width)
        with torch.no_grad():
            second.weight.copy_(kept)
        parameters = [*first.parameters(), *last.parameters(), *second.parameters()]
        optimizer = torch.optim.SGD(parameters, lr=0.1 / width)
        x = torch.randn(4, 5)
        for _ in range(2):
            h = torch.tanh(first(x))
            optimizer.zero_grad()
            last(torch.tanh(second(h) if trained else h @ kept)).square().mean().backward()
            optimizer.step()

    return train


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("name", ["rank 2", "Toeplitz"])
def test_a_matrix_whose_entries_depend_on_each_other_is_refused(name: str, trained: bool) -> None:
    """Its power was fitted by chance: initial weights of rank 2 had the order -1, and live runs show 0."""
    with pytest.raises(FitError, match=f"outside the theory: .* are {DEPENDENT[name][1]}"):
        record(between(DEPENDENT[name][0], trained), steps=2, verify=False)


@pytest.mark.parametrize("name", DEPENDENT)
def test_structure_is_told_and_random_matrices_have_none(name: str) -> None:
    make, told = DEPENDENT[name]
    assert structure([make(n) for n in WIDTHS]) == told
    assert not structure([torch.randn(n, n).sign() for n in WIDTHS])
    assert not structure([torch.randn(n, 3) for n in WIDTHS])
    assert (
        structure([torch.randn(n, n // 4) @ torch.randn(n // 4, n) for n in WIDTHS]) == "those of a matrix of low rank"
    )
