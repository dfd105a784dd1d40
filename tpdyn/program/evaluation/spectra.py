"""What are the eigenvalues of a symmetric matrix, and what is a function of it? Both as values of one width, by torch.

The plain definitions behind `Eigenvalues` and `Spectral`, shared by what runs programs. Only the symmetric part of the matrix
is read, so that round-off in one half of it does not show.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tpdyn.program.evaluation.labels import aligned
from tpdyn.program.instructions import Eigenvalues, Spectral


def eigenvalues(instruction: Eigenvalues, value: Tensor, rank: int) -> Tensor:
    """Compute the eigenvalues, axes in the order of the result's labels (size 1 where the value lacks one)."""
    matrix, batch, _ = _matrices(value, instruction)
    spectrum = torch.linalg.eigvalsh(matrix)
    spectrum = spectrum.flip(-1) if instruction.descending else spectrum
    return aligned(spectrum, (*batch, instruction.axis), rank)


def spectral(instruction: Spectral, weights: Tensor, value: Tensor, rank: int) -> Tensor:
    """Compute `V diag(w) V^T`, axes in the order of the labels of the result."""
    matrix, batch, sides = _matrices(value, instruction)
    vectors = torch.linalg.eigh(matrix).eigenvectors
    vectors = vectors.flip(-1) if instruction.descending else vectors
    own = instruction.weights.axes
    every = sorted({*batch, *own} - {instruction.axis})
    axis_of = {label: number for number, label in enumerate([*every, instruction.axis])}
    factors = aligned(weights, [axis_of[label] for label in own], len(axis_of)).unsqueeze(-2)
    for number, label in enumerate(every):
        vectors = vectors if label in batch else vectors.unsqueeze(number)
    function = (vectors * factors) @ vectors.mT
    function = function.reshape(*function.shape[:-2], *sides, *sides)
    return aligned(function, (*every, *instruction.rows, *instruction.columns), rank)


def _matrices(value: Tensor, instruction: Eigenvalues | Spectral) -> tuple[Tensor, tuple[int, ...], tuple[int, ...]]:
    """Return the matrices in the last two axes, the labels before them, and the sizes whose product a row is."""
    axes, rows, columns = instruction.value.axes, instruction.rows, instruction.columns
    batch = tuple(sorted(label for label in axes if label not in (*rows, *columns)))
    value = value.permute([axes.index(label) for label in (*batch, *rows, *columns)])
    sides = tuple(value.shape[len(batch) : len(batch) + len(rows)])
    count = math.prod(sides)
    value = value.reshape(*value.shape[: len(batch)], count, count)
    return (value + value.mT) / 2, batch, sides
