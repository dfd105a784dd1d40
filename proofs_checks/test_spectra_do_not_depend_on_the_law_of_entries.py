"""Universality: the semicircle needs only mean 0, variance 1 and light tails of the entries' law.

Statement. X is symmetric, with independent entries above the diagonal of mean 0 and variance 1. For each e > 0 the part of
the variance from entries larger than e sqrt(n) vanishes (Lindeberg). Then the spectrum of X / sqrt(n) converges to the
semicircle. Without this it fails, in two ways that are tested. Sparse entries (about c of them in a row) have the fourth
moment 2 + 1/c. Entries without a variance have a spectrum with heavy tails, when scaled by n^(1/alpha). Sources: Wigner
1958 and Pastur 1973 for universality; Ben Arous and Guionnet (arXiv 0707.2159) for heavy tails. For tensor programs (the
Master Theorem with non-Gaussian weights): Golikov and Yang, Non-Gaussian Tensor Programs.

Exact: for random laws of rational values, closed walks give the expected trace of X^k as a polynomial in n. The leading
coefficient is a Catalan number whatever the law. The next one depends on it (for X^4 by E X^4). For sparse entries, whose
moments are powers of n themselves, the limit is not Catalan.
Statistical: spectra of dense matrices, by the ratio q = m_4 / m_2^2 of their moments, which is 2 for a semicircle. Signs, uniform
and skewed exponential entries at n = 128 stay within `NEAR` of it; Cauchy entries are beyond `FAR`.
Measured by `HYPOTHESIS_PROFILE=thorough python -m pytest -s proofs_checks/<this file> -k ratio`, 200 matrices of each kind.
With light tails q lies between 1.94 and 2.12: 0 false alarms. With Cauchy entries it is above 6.45, so always rejected.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from itertools import pairwise
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moments import catalan, gaussian_moment, set_partitions

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "")
EXAMPLES = {"quick": 40, "thorough": 1000}.get(PROFILE, 200)
TRIALS = {"quick": 5, "thorough": 200}.get(PROFILE, 20)
NEAR, FAR = 0.3, 6.0
HIGHEST = 6
Moments = Sequence[Fraction]


@cache
def walks(steps: int) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """Closed walks up to names of vertices: how many vertices, how often each edge is walked (loops are zero here)."""
    found = []
    for vertices in set_partitions(steps):
        edges = Counter(tuple(sorted(edge)) for edge in pairwise((*vertices, vertices[0])))
        if all(a != b for a, b in edges):
            found.append((max(vertices) + 1, tuple(edges.values())))
    return tuple(found)


def expected(steps: int, moments: Moments) -> dict[int, Fraction]:
    """E tr X^steps, X with a zero diagonal, as coefficients of n (n - 1) ... (n - v + 1)."""
    polynomial: dict[int, Fraction] = {}
    for vertices, edges in walks(steps):
        polynomial[vertices] = polynomial.get(vertices, Fraction(0)) + prod(moments[k] for k in edges)
    return polynomial


@st.composite
def laws(draw: st.DrawFn) -> Moments:
    """Moments of a random rational variable of mean 0, divided by powers of a variance that is one."""
    values = draw(st.lists(st.integers(-4, 4), min_size=2, max_size=4, unique=True))
    weights = draw(st.lists(st.integers(1, 5), min_size=len(values), max_size=len(values)))
    total = sum(weights)
    mean = Fraction(sum(v * w for v, w in zip(values, weights, strict=True)), total)
    return [  # the variance is kept: traces are homogeneous, it enters as a power
        sum((Fraction(w, total) * (v - mean) ** k for v, w in zip(values, weights, strict=True)), Fraction(0))
        for k in range(HIGHEST + 1)
    ]


@given(laws())
@settings(max_examples=EXAMPLES)
def test_the_leading_coefficient_is_a_catalan_number_whatever_the_law(moments: Moments) -> None:
    variance = moments[2]
    for k in range(1, HIGHEST + 1):
        found = expected(k, moments)
        if k % 2:
            assert all(value == 0 for vertices, value in found.items() if vertices > k / 2)
        else:
            assert all(value == 0 for vertices, value in found.items() if vertices > k // 2 + 1)
            assert found[k // 2 + 1] == catalan(k // 2) * variance ** (k // 2)


@given(laws())
@settings(max_examples=EXAMPLES)
def test_the_next_coefficient_knows_the_law(moments: Moments) -> None:
    """tr X^4: walks of two vertices are one edge walked four times."""
    assert expected(4, moments)[2] == moments[4]


def test_the_semicircle_for_signs_has_another_correction_than_for_gaussian_entries() -> None:
    signs = [Fraction(k % 2 == 0) for k in range(HIGHEST + 1)]
    normal = [Fraction(gaussian_moment(k)) for k in range(HIGHEST + 1)]
    assert expected(4, signs)[3] == expected(4, normal)[3] == 2
    assert expected(4, signs)[2] == 1 != expected(4, normal)[2] == 3


@given(st.fractions("1/2", 20, max_denominator=4))
@settings(max_examples=EXAMPLES)
def test_sparse_entries_break_it(row: Fraction) -> None:
    """X = +-sqrt(n / c) with probability c / n, else 0. It has variance 1, but E X^4 = n / c grows: m_4 = 2 + 1/c in the
    limit.
    """
    n = 10**9
    moments = [Fraction(k % 2 == 0) * (n / row) ** max(0, k // 2 - 1) for k in range(HIGHEST + 1)]
    fourth = sum(value * prod(range(n - v + 1, n + 1)) for v, value in expected(4, moments).items()) / Fraction(n) ** 3
    assert abs(fourth - (2 + 1 / row)) < Fraction(1, 10**8)
    assert fourth > 2


# -- measured ----------------------------------------------------------------------------------------------------------


def ratio(kind: str, seed: int, n: int = 128) -> float:
    """m_4 / m_2^2 of the spectrum."""
    rng = np.random.default_rng([n, seed])
    draws = {
        "signs": lambda: rng.choice([-1.0, 1.0], (n, n)),
        "uniform": lambda: rng.uniform(-1, 1, (n, n)),
        "exponential": lambda: rng.exponential(size=(n, n)) - 1,
        "cauchy": lambda: rng.standard_cauchy((n, n)),
    }
    upper = np.triu(draws[kind](), 1)
    values = np.linalg.eigvalsh(upper + upper.T)
    return float((values**4).mean() / (values**2).mean() ** 2)


@pytest.mark.parametrize("kind", ["signs", "uniform", "exponential"])
def test_the_ratio_of_moments_is_that_of_a_semicircle_with_light_tails(kind: str) -> None:
    found = [ratio(kind, seed) for seed in range(TRIALS)]
    print(f"\n{kind}: ratio between {min(found):.2f} and {max(found):.2f}", end="")
    assert all(abs(each - 2) < NEAR for each in found)


def test_the_ratio_of_moments_is_far_from_it_without_a_variance() -> None:
    found = [ratio("cauchy", seed) for seed in range(TRIALS)]
    print(f"\ncauchy: ratio between {min(found):.2f} and {max(found):.2f}", end="")
    assert all(each > FAR for each in found)
    wider = [ratio("cauchy", seed, 512) for seed in range(3)]
    assert min(wider) > FAR  # and it does not settle: the largest entries rule
