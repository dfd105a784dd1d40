"""The law of large numbers: averages converge to the mean, in probability at Chebyshev's rate, and almost surely.

Statement. X_1, X_2, ... independent, each with the law of X, E|X| finite: A_n = (X_1 + ... + X_n) / n converges to E X almost
surely. With a finite fourth moment this follows from two exact identities, mu_k being the central moments of X:

    E (A_n - E X)^2 = mu_2 / n,        E (A_n - E X)^4 = (mu_4 + 3 (n - 1) mu_2^2) / n^3

The first gives P(|A_n - E X| >= e) <= mu_2 / (n e^2) (Chebyshev), the second is summable over n (Borel-Cantelli).
Source: the strong law with a fourth moment, e.g. Durrett, Probability: Theory and Examples; it is the Master Theorem
(arXiv 2009.10685) of a program with one vector and one average.

Exact: both identities and the bound, for random laws of rational atoms. The whole law of the sum is convolved. Statistical:
averages of Cauchy variables, which have no mean, do not concentrate. The average of n has the law of one. The share of
|A_n| > 1 among `DRAWS` averages is 1/2 and allowed 5 standard errors (false alarms 6e-7). For t with three degrees of
freedom at the same n it is below 1e-2. So each of the two is rejected as the other. It can fail: the tests below reject a
bound of half the size, and mu_2 / n^2 for mu_2 / n.
"""

from __future__ import annotations

import os
from collections import defaultdict
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

Law = dict[Fraction, Fraction]
EXAMPLES = {"quick": 60, "thorough": 2000}.get(os.environ.get("HYPOTHESIS_PROFILE", ""), 300)
DRAWS = 10_000


@st.composite
def laws(draw: st.DrawFn) -> Law:
    """A random variable of two to four rational values."""
    values = draw(st.lists(st.fractions(-3, 3, max_denominator=3), min_size=2, max_size=4, unique=True))
    weights = draw(st.lists(st.integers(1, 5), min_size=len(values), max_size=len(values)))
    return {value: Fraction(weight, sum(weights)) for value, weight in zip(values, weights, strict=True)}


def moment(law: Law, power: int, about: Fraction = Fraction(0)) -> Fraction:
    return sum((p * (x - about) ** power for x, p in law.items()), Fraction(0))


def average(law: Law, count: int) -> Law:
    """The law of an average of `count` independent copies."""
    total: Law = {Fraction(0): Fraction(1)}
    for _ in range(count):
        following: Law = defaultdict(Fraction)
        for x, p in total.items():
            for y, q in law.items():
                following[x + y] += p * q
        total = following
    return {x / count: p for x, p in total.items()}


def tail(law: Law, mean: Fraction, distance: Fraction) -> Fraction:
    return sum((p for x, p in law.items() if abs(x - mean) >= distance), Fraction(0))


@given(law=laws(), count=st.integers(1, 6))
@settings(max_examples=EXAMPLES)
def test_second_and_fourth_moments_of_an_average_are_those_of_the_identities(law: Law, count: int) -> None:
    mean, made = moment(law, 1), average(law, count)
    second, fourth = moment(law, 2, mean), moment(law, 4, mean)
    assert moment(made, 1) == mean
    assert moment(made, 2, mean) == second / count
    assert moment(made, 4, mean) == (fourth + 3 * (count - 1) * second**2) / count**3


@given(law=laws(), count=st.integers(1, 6), distance=st.fractions("1/10", 4, max_denominator=10))
@settings(max_examples=EXAMPLES)
def test_an_average_is_far_from_the_mean_no_oftener_than_chebyshev_says(
    law: Law, count: int, distance: Fraction
) -> None:
    mean = moment(law, 1)
    assert tail(average(law, count), mean, distance) <= moment(law, 2, mean) / (count * distance**2)


def test_a_bound_of_half_the_size_and_a_variance_that_falls_twice_as_fast_are_wrong() -> None:
    law = {Fraction(-1): Fraction(1, 2), Fraction(1): Fraction(1, 2)}
    assert tail(average(law, 1), Fraction(0), Fraction(1)) > moment(law, 2) / 2  # Chebyshev is sharp at two points
    assert moment(average(law, 4), 2) != moment(law, 2) / 4**2


def far(kind: str, count: int, seed: int) -> float:
    """The share of averages of `count` that lie further than 1 from 0."""
    rng = np.random.default_rng(seed)
    draws = rng.standard_cauchy((DRAWS, count)) if kind == "cauchy" else rng.standard_t(3, (DRAWS, count))
    return float((np.abs(draws.mean(1)) > 1).mean())


def test_averages_without_a_mean_do_not_settle() -> None:
    allowed = 5 * 0.5 / DRAWS**0.5
    for count in (1, 10, 100):
        assert abs(far("cauchy", count, count) - 0.5) < allowed
    assert far("student", 100, 0) < 0.01
