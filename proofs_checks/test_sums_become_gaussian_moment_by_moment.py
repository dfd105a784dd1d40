"""The central limit theorem, by moments. Those of a scaled sum become Gaussian, at the rate n^-1/2 if odd and 1/n if even.

Statement. X with E X = 0, E X^2 = 1 and all moments finite, S_n = (X_1 + ... + X_n) / sqrt(n). Then E S_n^p converges to (p - 1)!!
for even p and to 0 for odd p. As polynomials in n, with the cumulants k_3, k_4 of X:

    n^(p/2) E S_n^p  has  degree p/2 and leading coefficient (p - 1)!!                                        (p even)
    its next one is      k_4 C(p, 4) (p - 5)!! + k_3^2 C(p, 3) C(p - 3, 3) / 2 (p - 7)!!                       (p even)
                     has  degree (p - 1)/2 and leading coefficient k_3 C(p, 3) (p - 4)!!                       (p odd)

Moments determine the Gaussian, so this is convergence in law. Source: the method of moments (Billingsley, Probability and
Measure), and Edgeworth's expansion for the corrections.

Exact: everything. The polynomial is interpolated from sums of few terms. Their moments come from
`E exp(t S) = (E exp(t X))^n` as power series in rationals. These are compared with the enumerated law of the sum. It can
fail: The fourth cumulant tells Rademacher variables from Gaussian ones, at each n. The rate of the odd moments of a skew
law is 1/2, not 1.
"""

from __future__ import annotations

import os
from fractions import Fraction
from itertools import product
from math import comb, factorial, prod

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from moments import gaussian_moment, times

Moments = list[Fraction]
"""E X^0, E X^1, ..."""
EXAMPLES = {"quick": 40, "thorough": 2000}.get(os.environ.get("HYPOTHESIS_PROFILE", ""), 300)
HIGHEST = 8


@st.composite
def centred_laws(draw: st.DrawFn) -> dict[Fraction, Fraction]:
    """Rational values of mean 0 (any variance: it is divided out in the moments)."""
    values = draw(st.lists(st.fractions(-2, 2, max_denominator=2), min_size=2, max_size=3, unique=True))
    weights = draw(st.lists(st.integers(1, 4), min_size=len(values), max_size=len(values)))
    law = {value: Fraction(weight, sum(weights)) for value, weight in zip(values, weights, strict=True)}
    mean = sum((x * p for x, p in law.items()), Fraction(0))
    assume(len(law) > 1)
    return {x - mean: p for x, p in law.items()}


def moments(law: dict[Fraction, Fraction]) -> Moments:
    return [sum((p * x**k for x, p in law.items()), Fraction(0)) for k in range(HIGHEST + 1)]


def of_sum(x: Moments, count: int) -> Moments:
    """Moments of a sum of independent copies, not divided by anything."""
    series = [each / factorial(k) for k, each in enumerate(x)]
    power = [Fraction(1)] + [Fraction(0)] * (len(x) - 1)
    for _ in range(count):
        power = times(power, series)
    return [each * factorial(k) for k, each in enumerate(power)]


def polynomial(x: Moments, power: int) -> list[Fraction]:
    """Coefficients, lowest first, of E (X_1 + ... + X_n)^power as a polynomial in n: of degree `power` at most."""
    points = [(Fraction(n), of_sum(x, n)[power]) for n in range(power + 1)]
    found = [Fraction(0)] * (power + 1)
    for at, value in points:  # Lagrange's interpolation
        basis = [Fraction(1)]
        for other, _ in points:
            if other != at:
                scaled = [each / (at - other) for each in basis]
                basis = [a - other * b for a, b in zip([Fraction(0), *scaled], [*scaled, Fraction(0)], strict=True)]
        found = [a + value * b for a, b in zip(found, basis, strict=True)]
    return found


def double(odd: int) -> int:
    """odd!!, 1 for -1, and 0 below: there are no such pairings."""
    return prod(range(1, odd + 1, 2)) if odd >= -1 else 0


@given(centred_laws())
@settings(max_examples=EXAMPLES)
def test_moments_of_sums_have_gaussian_leading_coefficients_and_the_next_ones_of_edgeworth(
    law: dict[Fraction, Fraction],
) -> None:
    x = moments(law)
    variance, third = x[2], x[3]
    fourth = x[4] - 3 * variance**2
    for p in range(1, HIGHEST + 1):
        found = polynomial(x, p)
        half = p // 2
        assert all(each == 0 for each in found[half + 1 :])
        if p % 2:
            expected = third * comb(p, 3) * double(p - 4) * variance ** max(0, (p - 3) // 2) if p >= 3 else 0
            assert found[half] == expected
        else:
            assert found[half] == gaussian_moment(p) * variance**half
            leading = fourth * comb(p, 4) * double(p - 5) * variance ** max(0, half - 2)
            skew = (
                third**2
                * Fraction(comb(p, 3) * comb(max(0, p - 3), 3), 2)
                * double(p - 7)
                * variance ** max(0, half - 3)
            )
            assert found[half - 1] == leading + skew


@given(law=centred_laws(), count=st.integers(1, 5))
@settings(max_examples=EXAMPLES)
def test_moments_from_power_series_are_those_of_the_enumerated_sum(law: dict[Fraction, Fraction], count: int) -> None:
    enumerated = [Fraction(0)] * (HIGHEST + 1)
    for values in product(law, repeat=count):
        weight = prod((law[value] for value in values), start=Fraction(1))
        for k in range(HIGHEST + 1):
            enumerated[k] += weight * sum(values) ** k
    assert of_sum(moments(law), count) == enumerated


def scaled(x: Moments, count: int, power: int) -> float:
    return float(of_sum(x, count)[power]) / count ** (power / 2)


def test_the_rate_is_one_half_for_a_skew_law_and_one_for_an_even_moment() -> None:
    skew = moments({Fraction(2): Fraction(1, 5), Fraction(-1, 2): Fraction(4, 5)})
    signs = moments({Fraction(1): Fraction(1, 2), Fraction(-1): Fraction(1, 2)})
    assert abs(scaled(skew, 64, 3) / scaled(skew, 16, 3) - 4**-0.5) < 1e-12
    far, near = (3 - scaled(signs, n, 4) for n in (4, 16))
    assert abs(near / far - 1 / 4) < 1e-12 and near > 0  # -2/n: never Gaussian at a finite n
