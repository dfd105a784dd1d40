"""Isserlis's theorem (Wick): the expected product of jointly Gaussian variables is the sum over pairings of covariances.

Statement. (X_1, ..., X_k) Gaussian with mean 0 and covariance C, any indices i_1, ..., i_p, with repetitions:

    E X_i1 ... X_ip = sum over pairings of {1..p} of the product over its pairs {a, b} of C[i_a, i_b]

and 0 for odd p. Source: Isserlis, Biometrika 12 (1918); https://en.wikipedia.org/wiki/Isserlis's_theorem.

Exact: let X = A Z with a random rational A and Z of independent standard entries. The left side is expanded as a polynomial
in Z whose monomials have the moments (m - 1)!!. Both sides are equal as fractions. No sampling. It can fail: the two sides
differ with the non-crossing pairings only, which is the theorem for free semicircular variables. They also differ without
the last pairing; see the last test.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moments import Pairing, crosses, gaussian_moment, pairings

EXAMPLES = {"quick": 60, "thorough": 3000}.get(os.environ.get("HYPOTHESIS_PROFILE", ""), 500)
Matrix = list[list[Fraction]]


@st.composite
def maps_and_indices(draw: st.DrawFn) -> tuple[Matrix, list[int]]:
    """A (two to four variables of one to three sources), and up to seven indices."""
    rows, columns = draw(st.integers(2, 4)), draw(st.integers(1, 3))
    entry = st.fractions(-2, 2, max_denominator=3)
    a = [[draw(entry) for _ in range(columns)] for _ in range(rows)]
    return a, draw(st.lists(st.integers(0, rows - 1), min_size=1, max_size=7))


def expanded(a: Matrix, indices: Iterable[int]) -> Fraction:
    """E of the product, monomial by monomial in Z."""
    product: Counter[tuple[int, ...]] = Counter({(0,) * len(a[0]): 1})
    for index in indices:
        following: Counter[tuple[int, ...]] = Counter()
        for powers, coefficient in product.items():
            for source, factor in enumerate(a[index]):
                raised = tuple(p + (k == source) for k, p in enumerate(powers))
                following[raised] += coefficient * factor  # type: ignore[assignment]
        product = following
    return sum((c * prod(map(gaussian_moment, powers)) for powers, c in product.items()), Fraction(0))


def paired(a: Matrix, indices: list[int], among: Iterable[Pairing]) -> Fraction:
    covariance = [[sum((x * y for x, y in zip(u, v, strict=True)), Fraction(0)) for v in a] for u in a]
    return sum(
        (prod((covariance[indices[i]][indices[j]] for i, j in each), start=Fraction(1)) for each in among), Fraction(0)
    )


@given(maps_and_indices())
@settings(max_examples=EXAMPLES)
def test_the_expected_product_is_the_sum_over_pairings(made: tuple[Matrix, list[int]]) -> None:
    a, indices = made
    assert expanded(a, indices) == paired(a, indices, pairings(range(len(indices))))


@pytest.mark.parametrize("missing", ["crossing", "last"])
def test_with_some_pairings_left_out_the_two_sides_differ(missing: str) -> None:
    a, indices = [[Fraction(1), Fraction(2)], [Fraction(-1), Fraction(1)]], [0, 1, 0, 1]
    every = list(pairings(range(4)))
    kept = [each for each in every if not crosses(each)] if missing == "crossing" else every[:-1]
    assert expanded(a, indices) != paired(a, indices, kept)
