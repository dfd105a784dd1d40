"""Mirrors tpdyn/readings/kernels/: each rule on a program written by hand, against the moment that one writes on paper."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.instructions import Law, Leaf
from tpdyn.program.program import Program
from tpdyn.readings.kernels.frame import Kind, Tile
from tpdyn.readings.kernels.kinds import matrix_of, numbers_of, sources_of
from tpdyn.readings.kernels.numbers import Numbers
from tpdyn.readings.kernels.reading import Kernels
from tpdyn.readings.kernels.sized import Sized

N = Builder.n
X = torch.tensor([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]], dtype=torch.float64)
ROOT = Scaling.of(1, "-1/2")


def built(write: Callable[[Builder, int], int]) -> tuple[Program, int, int]:
    """(program, position of the data, position of the value that `write` makes of it)."""
    b = Builder()
    b.at(phase="forward")
    x = b.data("x", (2, 2))
    made = write(b, x)
    return b.build(), x, made


def kernel(kind: Kind, write: Callable[[Builder, int], int]) -> tuple[torch.Tensor, Sized | None]:
    """The kernel of all pairs of three inputs, though the program was written for two."""
    program, x, made = built(write)
    batch = {var: 0 for var, s in enumerate(program.statements) if s.shape[:1] == (Scaling.of(2),)}
    kernels = Kernels(program, x, batch)
    numbers = Numbers(program, x, batch, X)
    tile = Tile((numbers, numbers))
    u, v = (kernels.seen(tile, side, made) for side in (0, 1))
    found = kernels.pair(kind, tile, u, v, (u.labels[0], v.labels[0]))
    return (torch.zeros(3, 3, dtype=torch.float64) if found is None else found.value), found


def dense(b: Builder, x: int, name: str = "w") -> int:
    """Entries of variance 1 in front of finite data."""
    return b.einsum("bi,oi->bo", x, b.parameter(name, (N, 2)))


def hidden(b: Builder, h: int, name: str) -> int:
    return b.einsum("bi,oi->bo", h, b.parameter(name, (N, N)), scale=ROOT)


GRAM = X @ X.T


def test_a_matrix_product_has_the_gram_matrix_of_what_enters_and_moves_by_it() -> None:
    torch.testing.assert_close(kernel("second", dense)[0], GRAM)
    torch.testing.assert_close(kernel("tangent", dense)[0], GRAM)


def test_a_second_matrix_adds_what_enters_it_to_the_tangent_kernel() -> None:
    def write(b: Builder, x: int) -> int:
        return hidden(b, dense(b, x), "v")

    torch.testing.assert_close(kernel("second", write)[0], GRAM)
    torch.testing.assert_close(kernel("tangent", write)[0], 2 * GRAM)


def test_a_power_of_the_width_is_kept_beside_the_tensor() -> None:
    _, found = kernel("second", lambda b, x: b.combine((Scaling.of(2, "1/2"), dense(b, x))))
    assert found is not None
    assert found.order == 1
    torch.testing.assert_close(found.value, 4 * GRAM)


def test_two_matrices_are_independent_and_one_is_itself() -> None:
    def two(b: Builder, x: int) -> int:
        return b.combine((1, dense(b, x, "v")), (2, dense(b, x, "w")))

    def one(b: Builder, x: int) -> int:
        h = dense(b, x)
        return b.combine((1, h), (2, h))

    torch.testing.assert_close(kernel("second", two)[0], 5 * GRAM)
    torch.testing.assert_close(kernel("second", one)[0], 9 * GRAM)


def test_a_function_of_a_sum_has_the_covariance_of_the_sum() -> None:
    def write(b: Builder, x: int) -> int:
        return b.apply("erf", b.combine((1, dense(b, x)), (1, b.parameter("bias", (N,), std=0.5))))

    cov = GRAM + 0.25
    d = cov.diagonal()
    expected = 2 / math.pi * torch.asin(2 * cov / ((1 + 2 * d[:, None]) * (1 + 2 * d)).sqrt())
    torch.testing.assert_close(kernel("second", write)[0], expected)
    slope = 4 / math.pi / ((1 + 2 * d[:, None]) * (1 + 2 * d) - 4 * cov**2).sqrt()
    torch.testing.assert_close(kernel("tangent", write)[0], (GRAM + 1) * slope)


def test_a_gate_multiplies_moments_of_independent_factors() -> None:
    def write(b: Builder, x: int) -> int:
        return b.einsum("bi,bi->bi", dense(b, x, "g"), dense(b, x, "v"))

    torch.testing.assert_close(kernel("second", write)[0], GRAM**2)
    torch.testing.assert_close(kernel("tangent", write)[0], 2 * GRAM**2)


def test_a_product_of_a_value_with_itself_is_refused() -> None:
    def write(b: Builder, x: int) -> int:
        h = dense(b, x)
        return b.einsum("bi,bi->bi", h, h)

    with pytest.raises(OutsideTheory, match="depend on each other"):
        kernel("second", write)


def test_a_mean_over_the_width_is_a_number() -> None:
    def write(b: Builder, x: int) -> int:
        h = b.apply("relu", dense(b, x))
        mean = b.einsum("bi->b", h, scale=Scaling.of(1, -1))
        return b.einsum("bi,b->bi", dense(b, x, "v"), mean)

    level = (X.square().sum(1) / (2 * math.pi)).sqrt()
    torch.testing.assert_close(kernel("second", write)[0], GRAM * level[:, None] * level)
    torch.testing.assert_close(kernel("tangent", write)[0], GRAM * level[:, None] * level)


def test_a_sum_over_the_width_of_independent_factors_stays_random_and_is_refused_where_it_is_read() -> None:
    def write(b: Builder, x: int, power: str = "-1/2") -> int:
        logits = b.einsum("bi,bi->b", dense(b, x, "q"), dense(b, x, "k"), scale=Scaling.of(1, power))
        return b.einsum("bi,b->bi", dense(b, x, "v"), b.apply("exp", logits))

    with pytest.raises(OutsideTheory, match="stays random in the limit"):
        kernel("second", write)
    torch.testing.assert_close(kernel("second", lambda b, x: write(b, x, "-1"))[0], GRAM)


def test_kinds_of_values_are_told_apart() -> None:
    def write(b: Builder, x: int) -> int:
        h = dense(b, x)
        gain = b.leaf(Leaf("constant", "gain", Law("constant", Scaling.of(2))), (N,))
        return b.einsum("bi,i->bi", h, gain)

    program, x, made = built(write)
    numeric = numbers_of(program, x)
    names = {program.statements[var].name for var in numeric}
    assert names == {"x"}
    w = next(var for var, s in enumerate(program.statements) if s.name == "w")
    h = next(var for var in range(len(program)) if matrix_of(program, numeric, var))
    assert sources_of(program, numeric)[made] == frozenset({w}) == sources_of(program, numeric)[h]


# -- rule by rule, on what other programs do not tell apart ------------------------------------------------------------


def test_a_matrix_of_standard_deviation_two_counts_four_times_and_moves_as_one_of_deviation_one() -> None:
    def write(b: Builder, x: int) -> int:
        return b.einsum("bi,oi->bo", x, b.parameter("w", (N, 2), std=2))

    torch.testing.assert_close(kernel("second", write)[0], 4 * GRAM)
    torch.testing.assert_close(kernel("tangent", write)[0], GRAM)


def test_a_matrix_that_is_not_learned_has_no_tangent_kernel() -> None:
    def write(b: Builder, x: int) -> int:
        frozen = b.leaf(Leaf("buffer", "w", Law("normal", scale=Scaling.of(1))), (N, Scaling.of(2)))
        return b.einsum("bi,oi->bo", x, frozen)

    torch.testing.assert_close(kernel("second", write)[0], GRAM)
    assert kernel("tangent", write)[1] is None


def test_independent_values_have_the_product_of_their_means_in_common() -> None:
    """`relu(W x) + relu(V x)`: each has mean |x| / sqrt(2 pi), and the two meet twice."""

    def one(b: Builder, x: int) -> int:
        return b.apply("relu", dense(b, x, "w"))

    def both(b: Builder, x: int) -> int:
        return b.combine((1, one(b, x)), (1, b.apply("relu", dense(b, x, "v"))))

    mean = (X.square().sum(1) / (2 * math.pi)).sqrt()
    expected = 2 * kernel("second", one)[0] + 2 * mean[:, None] * mean
    torch.testing.assert_close(kernel("second", both)[0], expected)


def test_a_constant_in_a_sum_meets_itself_and_the_means_of_the_others() -> None:
    """`relu(W x) + 3`: 9, and three times the mean of either side."""

    def rectified(b: Builder, x: int) -> int:
        return b.apply("relu", dense(b, x))

    def shifted(b: Builder, x: int) -> int:
        return b.combine((1, rectified(b, x)), constant=3)

    mean = (X.square().sum(1) / (2 * math.pi)).sqrt()
    expected = kernel("second", rectified)[0] + 3 * (mean[:, None] + mean) + 9
    torch.testing.assert_close(kernel("second", shifted)[0], expected)
    torch.testing.assert_close(kernel("tangent", shifted)[0], kernel("tangent", rectified)[0])


def _level(power: str) -> Callable[[Builder, int], int]:
    """`v exp(n^power relu(W x))`, its exponent summed over the width."""

    def write(b: Builder, x: int) -> int:
        total = b.einsum("bi->b", b.apply("relu", dense(b, x)), scale=Scaling.of(1, power))
        return b.einsum("bi,b->bi", dense(b, x, "v"), b.apply("exp", total))

    return write


def test_a_sum_over_the_width_that_grows_is_refused_and_one_that_vanishes_is_zero() -> None:
    with pytest.raises(OutsideTheory, match=r"it grows with the width, as n\^"):
        kernel("second", _level("-3/4"))
    torch.testing.assert_close(kernel("second", _level("-2"))[0], GRAM)


def test_values_that_are_no_functions_of_a_gaussian_meet_by_their_means_alone() -> None:
    """`relu(U x) + relu(W x) relu(V x)`: between the two, m_x m_y^2 and m_x^2 m_y."""

    def single(b: Builder, x: int) -> int:
        return b.apply("relu", dense(b, x, "u"))

    def gate(b: Builder, x: int) -> int:
        return b.einsum("bi,bi->bi", b.apply("relu", dense(b, x, "w")), b.apply("relu", dense(b, x, "v")))

    def both(b: Builder, x: int) -> int:
        return b.combine((1, single(b, x)), (1, gate(b, x)))

    m, own = (X.square().sum(1) / (2 * math.pi)).sqrt(), kernel("second", single)[0]
    between = m[:, None] * m**2 + m[:, None] ** 2 * m
    torch.testing.assert_close(kernel("second", both)[0], own + own**2 + between)
