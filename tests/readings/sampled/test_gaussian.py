"""Do the operators answer as one matrix would, with the law of a Gaussian (or orthogonal) one?

Consistency is exact: the dense matrix that the answers imply gives each of them again. Laws are tested at n = 6 over 400
seeds: means of products of answers, five standard errors allowed (false alarms: 6e-7 each). A dropped dot is seen here; the
smaller errors need the 2,000 seeds of proofs_checks/test_simulated_runs_have_the_law_of_dense_runs.py.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from implied import matrix_of
from torch import Tensor

from tpdyn.readings.sampled.gaussian import Gaussian, Orthogonal, Side, other

F64 = torch.float64


def made(
    kind: type[Gaussian], rows: int, columns: int, std: float = 1.0, seed: int = 0, dtype: torch.dtype = F64
) -> Gaussian:
    generator = torch.Generator().manual_seed(seed)
    size = {"rows": rows, "columns": columns}
    large = max(rows, columns) if kind is Orthogonal else 0

    def stream(side: Side) -> object:
        return lambda k, along=None: torch.randn(k, large or size[side], generator=generator, dtype=F64)

    draw = {"rows": stream("rows"), "columns": stream("columns")}
    return kind(rows, columns, std, draw, np.random.default_rng(seed), dtype)  # type: ignore[arg-type]


def normal(*shape: int, seed: int = 7) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def error(operator: Gaussian, asked: list[tuple[Side, Tensor, Tensor]]) -> float:
    """The largest difference between answers and those of the implied matrix, relative to the answers."""
    w = matrix_of(operator, torch.Generator().manual_seed(1))
    worst = 0.0
    for side, x, y in asked:
        again = x @ (w.T if side == "columns" else w)
        worst = max(worst, float((y - again).abs().max() / (y.abs().max() + 1e-300)))
    return worst


HARD = {
    "independent": normal(3, 20),
    "duplicates": normal(1, 20).expand(3, 20).clone(),
    "near duplicates": normal(1, 20) + 1e-9 * normal(3, 20, seed=8),
    "a zero among them": normal(3, 20) * torch.tensor([[1.0], [0.0], [1.0]], dtype=F64),
    "very different sizes": normal(3, 20) * torch.tensor([[1e-200], [1.0], [1e200]], dtype=F64),
    "one": normal(1, 20),
}


@pytest.mark.parametrize("kind", [Gaussian, Orthogonal])
@pytest.mark.parametrize("name", HARD)
def test_answers_are_those_of_one_matrix(kind: type[Gaussian], name: str) -> None:
    operator = made(kind, 20, 20, 0.5)
    asked: list[tuple[Side, Tensor, Tensor]] = []
    for x in (HARD["independent"], HARD[name], HARD[name] + 1e-7 * normal(1, 20, seed=9)):
        for side in ("columns", "rows"):
            asked.append((side, x, operator.times(x, side)))  # type: ignore[arg-type]
    for side, x, y in asked:  # row by row: their sizes differ
        for row in range(len(x)):
            assert error(operator, [(side, x[row : row + 1], y[row : row + 1])]) < 1e-12


@pytest.mark.parametrize("kind", [Gaussian, Orthogonal])
@pytest.mark.parametrize("shape", [(20, 12), (12, 20)])
def test_matrices_need_not_be_square_and_may_be_known_completely(kind: type[Gaussian], shape: tuple[int, int]) -> None:
    operator = made(kind, *shape)
    asked: list[tuple[Side, Tensor, Tensor]] = []
    for seed in range(8):
        x, y = normal(3, shape[1], seed=seed), normal(3, shape[0], seed=seed)
        asked += [("columns", x, operator.times(x)), ("rows", y, operator.times(y, "rows"))]
    assert error(operator, asked) < 1e-12


def test_an_orthogonal_matrix_keeps_lengths() -> None:
    x = normal(3, 12)
    y = made(Orthogonal, 20, 12, 2.0).times(x)
    torch.testing.assert_close(y @ y.T, 4 * x @ x.T)


def test_a_vector_that_is_not_finite_gets_nan_and_others_do_not_notice() -> None:
    x = HARD["independent"].clone()
    x[1, 3] = math.inf
    operator, reference = made(Gaussian, 20, 20), made(Gaussian, 20, 20)
    y = operator.times(x)
    assert y[1].isnan().all()
    torch.testing.assert_close(y[[0, 2]], reference.times(x[[0, 2]]))


def test_float32_answers_are_consistent_to_its_precision() -> None:
    operator = made(Gaussian, 300, 300, 1.0, dtype=torch.float32)
    asked: list[tuple[Side, Tensor, Tensor]] = []
    for seed in range(6):
        x = (normal(1, 300) + 1e-3 * normal(4, 300, seed=seed)).float()
        asked += [("columns", x, operator.times(x)), ("rows", x, operator.times(x, "rows"))]
    assert error(operator, asked) < 1e-4


@pytest.mark.parametrize("kind", [Gaussian, Orthogonal])
@pytest.mark.parametrize("shape", [(6, 6), (4, 6), (6, 4)])
def test_a_norm_that_was_told_is_that_of_the_answers_in_the_end(kind: type[Gaussian], shape: tuple[int, int]) -> None:
    operator = made(kind, *shape, 1.5)
    norm = operator.squared_norm()
    whole = operator.times(torch.eye(shape[1], dtype=F64))
    assert float(whole.square().sum()) == pytest.approx(norm, rel=1e-10)


def test_nested_vectors_are_answered_as_by_one_matrix() -> None:
    """Each agrees with the next to one more digit. A round tells some of them apart, and rounds must reach the last."""
    digits = torch.tensor([[0.1**j * (j <= k) for j in range(12)] for k in range(12)], dtype=F64)
    operator = made(Gaussian, 40, 40)
    x = digits @ normal(12, 40)
    assert error(operator, [("columns", x, operator.times(x))]) < 1e-11


# -- laws -----------------------------------------------------------------------------------------------------------

SEEDS = 400
N = 6


class WithoutDot(Gaussian):
    """Forgets what the transpose has told."""

    def _fresh(self, new: Tensor, side: Side, along: Tensor) -> Tensor:
        answers = self.draw[other(side)](new.shape[0]) * self.std
        known = self.asked[other(side)]
        return known.add_to(answers, known.inner(answers), -1.0)


def statistics(kind: type[Gaussian] | None, seed: int, norm_first: bool = False) -> list[float]:
    """Of W x, W^T tanh(W x), W tanh(W^T tanh(W x)): sums, squares, and products with what went before."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.linspace(-1, 1.5, N, dtype=F64)[None]
    norm = 0.0
    if kind is None:
        w = torch.randn(N, N, generator=generator, dtype=F64)
        norm = float(w.square().sum())
        y = x @ w.T
        z = torch.tanh(y) @ w
        u = torch.tanh(z) @ w.T
    else:
        operator = made(kind, N, N, seed=seed)
        norm = operator.squared_norm() if norm_first else 0.0
        y = operator.times(x)
        z = operator.times(torch.tanh(y), "rows")
        u = operator.times(torch.tanh(z))
        norm = norm or operator.squared_norm()
    vectors = [x, torch.tanh(y), torch.tanh(z), y, z, u]
    products = [float((a * b).sum()) for k, a in enumerate(vectors) for b in vectors[k:]]
    return [*products, norm, norm**2, norm * products[-1], norm * products[-6]]


@pytest.fixture(scope="module")
def dense() -> np.ndarray:  # type: ignore[type-arg]
    return np.array([statistics(None, seed) for seed in range(SEEDS)])


def largest_z(one: np.ndarray, two: np.ndarray) -> float:  # type: ignore[type-arg]
    """The largest difference of means in standard errors (statistics that never vary are left out)."""
    spread = np.sqrt(one.var(0) / len(one) + two.var(0) / len(two))
    kept = spread > 1e-12
    return float((np.abs(one.mean(0) - two.mean(0))[kept] / spread[kept]).max())


@pytest.mark.slow
@pytest.mark.parametrize("norm_first", [False, True])
def test_answers_and_the_norm_have_the_law_of_a_dense_matrix(dense: np.ndarray, norm_first: bool) -> None:  # type: ignore[type-arg]
    sampled = np.array([statistics(Gaussian, 10**6 + seed, norm_first) for seed in range(SEEDS)])
    assert largest_z(sampled, dense) < 5


@pytest.mark.slow
def test_an_operator_without_the_dot_is_seen(dense: np.ndarray) -> None:  # type: ignore[type-arg]
    sampled = np.array([statistics(WithoutDot, 10**6 + seed) for seed in range(SEEDS)])
    assert largest_z(sampled, dense) > 10
