"""Is the memory of a simulation counted before it is taken?"""

from __future__ import annotations

import pytest
import torch

import tpdyn
from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Eigenvalues, Operand
from tpdyn.program.program import Program
from tpdyn.readings.sampled.memory import free_memory, needed


def test_the_count_grows_with_the_width_and_not_with_its_square(sgd: Program) -> None:
    small, large = needed(sgd, 1000), needed(sgd, 1_000_000)
    assert 900 < large / small < 1100
    assert needed(sgd, 1000, 4) == small // 2


def test_operators_and_factors_are_counted(sgd: Program) -> None:
    """Three steps of four examples: 24 directions and answers, and the factors of two updates that the weights keep."""
    n = 10_000
    operators, factors = 2 * 2 * 12 * n * 8, 2 * 2 * 4 * n * 8
    assert operators + factors < needed(sgd, n) < 2 * (operators + factors)


def test_what_does_not_fit_is_refused_with_numbers(sgd: Program) -> None:
    with pytest.raises(ValueError, match=r"width 1000000 needs about .* GiB and 0\.2 GiB are allowed; try width \d+"):
        tpdyn.simulate(sgd, width=1_000_000, memory=2**30 * 0.2)


def test_norms_of_rows_and_eigenvectors_are_counted() -> None:
    """Both keep a multiple of what a product alone keeps."""
    counts = []
    for kind in ("product", "norms", "eigenvalues"):
        b, n = Builder(), Builder.n
        w, x = b.parameter("W", (n, n), std=Scaling.of(1, "-1/2")), b.parameter("x", (3, n))
        if kind == "norms":
            b.einsum("ij,ij->i", w, w)
        y = b.einsum("bj,ij->bi", x, w)
        if kind == "eigenvalues":
            square = b.einsum("bi,bj->ij", y, y)
            b.add(Eigenvalues(Operand(square, (1, 2)), (1,), (2,), 0), (n,))
        counts.append(needed(b.build(widths=(16, 24)), 10_000))
    assert counts[1] > 10 * counts[0]
    assert counts[2] > 1.5 * counts[0]


def test_free_memory_is_known_here_or_not_at_all() -> None:
    free = free_memory(torch.device("cpu"))
    assert free is None or free > 2**20
