"""Is a linear combination of atoms the matrix that it stands for?"""

from __future__ import annotations

import torch
from torch import Tensor

from tpdyn.readings.sampled.matrix import Matrix, Term, entrywise, inner, outer, product, vector

F64 = torch.float64
ONE = torch.ones((), dtype=F64)
N, M = 5, 4
SIZES = {0: N, 1: M, 2: 3}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def matrix(*terms: Term, shape: tuple[int, int] = (N, M)) -> Matrix:
    return Matrix(shape, (0, 1), terms, ONE)


def gradient(seed: int = 0) -> tuple[Matrix, Tensor]:
    """A sum of three outer products, and the same as a tensor."""
    u, v = normal(3, N, seed=seed), normal(3, M, seed=seed + 1)
    return matrix(outer([(u, (2, 0)), (v, (2, 1))], 2.0, 2)), 2 * u.T @ v


def entries(x: Matrix) -> Tensor:
    return x.tile({}, {})


def test_products_with_vectors_both_ways() -> None:
    x, dense = gradient()
    a, b = normal(3, M, seed=5), normal(3, N, seed=6)
    torch.testing.assert_close(x.times((0, 1), a, (2, 1), (2, 0), SIZES), a @ dense.T)
    torch.testing.assert_close(x.times((0, 1), b, (2, 0), (2, 1), SIZES), b @ dense)
    torch.testing.assert_close(x.times((0, 1), ONE, (), (1,), SIZES), dense.sum(0))


def test_sums_are_collected_atom_by_atom() -> None:
    x, dense = gradient()
    y = matrix(*x.placed((0, 1)), *x.placed((0, 1), 0.5), vector(normal(M), (1,), 2))
    assert len(y.terms) == 2
    torch.testing.assert_close(entries(y), 1.5 * dense + normal(M))
    assert not matrix(*x.placed((0, 1)), *x.placed((0, 1), -1.0)).terms


def test_sums_over_axes_that_a_term_lacks_count_them() -> None:
    y = matrix(vector(normal(M), (1,), 2))
    torch.testing.assert_close(y.times((0, 1), ONE, (), (1,), SIZES), N * normal(M))


def test_functions_of_entries_are_computed_tile_by_tile() -> None:
    x, dense = gradient()
    adam = matrix(entrywise(lambda g: g / (g.abs() + 0.1), [(x, (0, 1))], 2))
    expected = dense / (dense.abs() + 0.1)
    a = normal(3, M, seed=5)
    torch.testing.assert_close(adam.times((0, 1), a, (2, 1), (2, 0), SIZES), a @ expected.T)
    torch.testing.assert_close(inner(adam, (0, 1), x, (0, 1), (), SIZES), (expected * dense).sum())
    rows = Matrix((N, M), (0, 1), adam.scaled_by((0, 1), normal(N), (0,), 2), ONE)
    torch.testing.assert_close(entries(rows), expected * normal(N)[:, None])


def test_a_function_of_a_matrix_and_of_its_transpose_tells_them_apart() -> None:
    u = normal(2, N)
    x = matrix(outer([(u, (2, 0)), (normal(2, N, seed=3), (2, 1))], 1.0, 2), shape=(N, N))
    y = matrix(entrywise(lambda a, b: a - 2 * b, [(x, (0, 1)), (x, (1, 0))], 2), shape=(N, N))
    cuts = {0: slice(0, 2), 1: slice(2, 5)}
    torch.testing.assert_close(y.tile(cuts, {}), (entries(x) - 2 * entries(x).T)[:2, 2:5])


def test_inner_products_and_norms_of_rows() -> None:
    (x, dense), (y, other) = gradient(), gradient(7)
    torch.testing.assert_close(inner(x, (0, 1), y, (0, 1), (), SIZES), (dense * other).sum())
    torch.testing.assert_close(inner(x, (0, 1), x, (0, 1), (0,), SIZES), dense.square().sum(1))


def test_powers_as_in_newton_schulz_stay_of_low_rank() -> None:
    x, dense = gradient()
    for _ in range(4):  # X <- 1.5 X - 0.5 X X^T X
        square = Matrix((N, N), (0, 1), product(x, (0, 2), x, (1, 2), 2), ONE)
        cubic = Matrix((N, M), (0, 1), product(square, (0, 2), x, (2, 1), 2), ONE)
        dense = 1.5 * dense - 0.5 * dense @ dense.T @ dense
        x = matrix(*x.placed((0, 1), 1.5), *cubic.placed((0, 1), -0.5))
        assert len(x.terms) <= 2
    torch.testing.assert_close(entries(x), dense)


def test_a_multiple_keeps_its_factor_where_it_is_scaled_and_where_it_is_paired() -> None:
    x, dense = gradient()
    half = matrix(*x.placed((0, 1), 0.5))
    rows = Matrix((N, M), (0, 1), half.scaled_by((0, 1), normal(N), (0,), 2), ONE)
    torch.testing.assert_close(entries(rows), 0.5 * dense * normal(N)[:, None])
    torch.testing.assert_close(inner(x, (0, 1), half, (0, 1), (), SIZES), 0.5 * dense.square().sum())
    torch.testing.assert_close(inner(half, (0, 1), x, (0, 1), (), SIZES), 0.5 * dense.square().sum())
