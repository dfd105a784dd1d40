"""Do atoms do what their entries would?"""

from __future__ import annotations

import pytest
import torch
from implied import leaf_of
from torch import Tensor

from tpdyn.program.errors import OutsideTheory
from tpdyn.readings.sampled.atoms import Basis, Lazy, LowRank, evaluated
from tpdyn.readings.sampled.atoms import Unseen as UnseenLeaf
from tpdyn.readings.sampled.gaussian import Gaussian

F64 = torch.float64


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def leaf(shape: tuple[int, ...], wide: tuple[int, ...]) -> UnseenLeaf:
    import numpy as np

    generator = torch.Generator().manual_seed(1)

    def make(number: int, rows: tuple[int, ...], columns: tuple[int, ...]) -> Gaussian:
        size = [int(np.prod([shape[axis] for axis in axes])) for axes in (rows, columns)]
        draw = {
            side: (lambda k, along=None, n=n: torch.randn(k, n, generator=generator, dtype=F64))
            for side, n in zip(("rows", "columns"), size, strict=True)
        }
        return Gaussian(*size, 1.0, draw, np.random.default_rng(0))  # type: ignore[arg-type]

    return UnseenLeaf("W", shape, wide, make, torch.ones((), dtype=F64))


def test_a_leaf_with_finite_axes_is_one_matrix_of_longer_vectors() -> None:
    """A convolution's weight (out, in, 3): forward over (in, 3), back over out."""
    w = leaf((6, 5, 3), (0, 1))
    x, y = normal(2, 5, 3), normal(2, 6)
    forward, labels = w.times(x, (0, 2, 3), (1, 2, 3), frozenset({2, 3}))
    back, others = w.times(y, (0, 1), (1, 2, 3), frozenset({1}))
    dense = leaf_of(w, torch.Generator().manual_seed(2))
    assert (labels, others) == ((0, 1), (0, 2, 3))
    torch.testing.assert_close(forward, torch.einsum("oik,bik->bo", dense, x))
    torch.testing.assert_close(back, torch.einsum("oik,bo->bik", dense, y))


def test_an_axis_that_is_kept_on_both_sides_counts_independent_matrices() -> None:
    w = leaf((3, 6, 5), (1, 2))
    x = normal(3, 2, 5)
    made, labels = w.times(x, (0, 3, 2), (0, 1, 2), frozenset({2}))
    dense = leaf_of(w, torch.Generator().manual_seed(2))
    torch.testing.assert_close(evaluated([(made, labels)], None, (), (0, 3, 1)), torch.einsum("eij,ebj->ebi", dense, x))
    assert len(w.operators) == 3


def test_a_product_over_other_axes_than_before_is_refused_by_name() -> None:
    w = leaf((6, 5, 3), (0, 1))
    w.times(normal(2, 5, 3), (0, 2, 3), (1, 2, 3), frozenset({2, 3}))
    with pytest.raises(OutsideTheory, match="W is multiplied over its axes"):
        w.times(normal(2, 6, 3), (0, 1, 3), (1, 2, 3), frozenset({1, 3}))


def test_weights_on_single_entries_are_refused() -> None:
    with pytest.raises(OutsideTheory, match="the entries of W itself"):
        leaf((6, 5), (0, 1)).times(normal(6, 5), (0, 1), (0, 1), frozenset({1}))


def test_a_leaf_scaled_by_rows_and_columns_is_applied_as_it_is() -> None:
    """sum_j r_i W_ij c_j x_j, with nothing of size n^2."""
    w, r, c, x = leaf((6, 5), (0, 1)), normal(6), normal(5, seed=2), normal(2, 5, seed=3)
    made = evaluated([(r, (0,)), (c, (1,)), (x, (2, 1))], w, (0, 1), (2, 0))
    torch.testing.assert_close(made, x * c @ leaf_of(w, torch.Generator()).T * r)


def test_low_rank_is_closed_under_sums_and_products_of_the_same_bases() -> None:
    left, right = Basis(normal(2, 7)), Basis(normal(3, 7, seed=1))
    one = LowRank((left,), normal(2, 3, seed=2), (right,))
    two = LowRank((right,), normal(3, 2, seed=3), (left,))

    def dense(x: LowRank) -> Tensor:
        return evaluated(list(x.lazy.parts), None, (), (0, 1))

    both = one.after(two).plus(one.after(two).times(2.0))
    assert both.core.shape == (2, 2)
    torch.testing.assert_close(dense(both), 3 * dense(one) @ dense(two))
    assert one.plus(two).core.shape == (5, 5)
    torch.testing.assert_close(dense(one.plus(two).transposed), (dense(one) + dense(two)).T)


def test_a_sum_of_outer_products_has_two_bases() -> None:
    x, y = normal(4, 7), normal(4, 5, seed=1)
    bases = Lazy(((y, (2, 1)), (x, (2, 0))), 2).bases
    assert bases is not None
    assert torch.equal(bases[0].vectors, x)
    assert torch.equal(bases[1].vectors, y)
    assert Lazy(((normal(7), (0,)),), 2).bases is None


def test_the_norm_of_a_stack_of_matrices_counts_all_of_them() -> None:
    """Told first; the dense leaf that the answers imply then has it."""
    w = leaf((3, 6, 5), (1, 2))
    w.times(normal(3, 2, 5), (0, 3, 2), (0, 1, 2), frozenset({2}))
    norm = w.squared_norm()
    assert float(leaf_of(w, torch.Generator().manual_seed(2)).square().sum()) == pytest.approx(norm, rel=1e-10)


@pytest.mark.parametrize("sharp", [False, True])
def test_norms_of_rows_are_drawn_or_are_their_means_as_in_the_limit(sharp: bool) -> None:
    """Of rows of a stack (2, 5, 400) over its last axis, and of its matrices."""
    w = leaf((2, 5, 400), (1, 2))
    w.sharp = sharp
    norms, axes = w.squared_norms((0, 1))
    assert axes == (0, 1)
    assert bool((norms == 400).all()) == sharp
    assert float((norms - 400).abs().max()) < 5 * 800**0.5
    if not sharp:
        torch.testing.assert_close(norms.sum(1), w.squared_norms((0,))[0])
