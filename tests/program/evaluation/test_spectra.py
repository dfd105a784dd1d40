"""Mirrors tpdyn/program/evaluation/spectra.py: eigenvalues in order, functions of symmetric matrices, rows that are products."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tpdyn.program.evaluation.spectra import eigenvalues, spectral
from tpdyn.program.instructions import Eigenvalues, Operand, Spectral


def symmetric(*shape: int) -> Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return x + x.mT


@pytest.mark.parametrize("descending", [False, True])
def test_eigenvalues_are_in_order_and_only_the_symmetric_part_is_read(descending: bool) -> None:
    m = symmetric(4, 4)
    instruction = Eigenvalues(Operand(0, (1, 2)), (1,), (2,), 0, descending)
    half = symmetric(4, 4).tril()
    found = eigenvalues(instruction, m + half - half.mT, 1)
    expected = torch.linalg.eigvalsh(m)
    assert torch.allclose(found, expected.flip(-1) if descending else expected)


def test_a_batch_of_matrices_has_a_row_of_eigenvalues_each() -> None:
    m = symmetric(3, 4, 4)
    found = eigenvalues(Eigenvalues(Operand(0, (1, 2, 3)), (2,), (3,), 0), m, 2)
    assert torch.allclose(found, torch.linalg.eigvalsh(m).mT)  # label 0 comes first


@pytest.mark.parametrize("descending", [False, True])
def test_a_function_of_a_matrix_multiplies_each_eigenvalue_by_its_weight(descending: bool) -> None:
    """V diag(w) V^T with w the eigenvalues themselves is the matrix, and with their squares its square."""
    m = symmetric(4, 4)
    values = torch.linalg.eigvalsh(m)
    values = values.flip(-1) if descending else values
    instruction = Spectral(Operand(0, (2,)), Operand(1, (0, 1)), (0,), (1,), 2, descending)
    assert torch.allclose(spectral(instruction, values, m, 2), m)
    assert torch.allclose(spectral(instruction, values**2, m, 2), m @ m)


def test_a_row_may_be_a_product_of_axes() -> None:
    m = symmetric(6, 6)
    grid = m.reshape(2, 3, 2, 3)
    found = spectral(
        Spectral(Operand(0, (4,)), Operand(1, (0, 1, 2, 3)), (0, 1), (2, 3), 4), torch.linalg.eigvalsh(m), grid, 4
    )
    assert torch.allclose(found, grid)
    assert torch.allclose(
        eigenvalues(Eigenvalues(Operand(0, (1, 2, 3, 4)), (1, 2), (3, 4), 0), grid, 1), torch.linalg.eigvalsh(m)
    )


def test_several_functions_of_one_matrix_have_an_axis_of_their_own() -> None:
    """Weights with a batch axis that the matrix lacks."""
    m = symmetric(4, 4)
    values = torch.linalg.eigvalsh(m)
    weights = torch.stack([values, values**2])
    found = spectral(Spectral(Operand(0, (0, 3)), Operand(1, (1, 2)), (1,), (2,), 3), weights, m, 3)
    assert torch.allclose(found, torch.stack([m, m @ m]))
