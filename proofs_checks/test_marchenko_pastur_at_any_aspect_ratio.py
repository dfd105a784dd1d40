"""The Marchenko-Pastur law: squared singular values of a rectangular Gaussian matrix have Narayana polynomials as moments.

Statement. X of r rows and m columns, independent N(0, 1) entries, r / m -> c. Then tr (X X^T / m)^p / r converges to

    sum over k of N(p, k) c^(k-1),        N(p, k) = C(p, k) C(p, k-1) / p      (Narayana)

the moments of the law on [(1 - sqrt c)^2, (1 + sqrt c)^2]. It has an atom 1 - 1/c at 0 if c > 1. Sources: the moments as in
https://math.techqa.club/calculating-the-moments-of-the-marchenko-pastur-distribution-4403836; the law as a corollary of the
Master Theorem: Tensor Programs III (arXiv 2009.10685).

Exact: Isserlis's pairings give E tr (X X^T)^p as a polynomial in r and m. Its terms of degree p + 1 have Narayana
coefficients. Exact up to round-off: the tensor program z^T (X X^T / m)^p z / r. Its dims are any multiples of the width,
and `tpdyn.limit` reads it to 1e-9.
Statistical: dense matrices at three aspect ratios and growing width. Traces are within 5 standard errors of the exact
polynomial. The distribution function's largest distance from the law's, times n, stays below `KS`. Measured by
`HYPOTHESIS_PROFILE=thorough python -m pytest -s proofs_checks/<this file> -k rates`, of 120 and of 600 trials. There are 0
false alarms; entries that are too large by a tenth are always rejected.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moments import at_sizes, expected_trace, narayana
from numpy.typing import NDArray

import tpdyn
from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "")
EXAMPLES = {"quick": 8, "thorough": 100}.get(PROFILE, 25)
SEEDS = 200
TRIALS = {"quick": 5, "thorough": 200}.get(PROFILE, 20)
SHAPES = ((16, 32), (32, 32), (64, 32))
KS = 5.0
"""n times the distance is 1.7 to 2.7 on average (it grows as log n). In 1,200 draws it is 3.8 at most."""


def word(p: int) -> list[tuple[str, bool]]:
    return [("X", False), ("X", True)] * p


@pytest.mark.parametrize("p", range(1, 6))
def test_the_leading_coefficients_are_narayana_numbers(p: int) -> None:
    trace = expected_trace(word(p), {"X": ("rows", "columns")})
    assert max(map(len, trace)) == p + 1
    for k in range(1, p + 1):  # rows^k columns^(p + 1 - k)
        assert trace[tuple(sorted(["rows"] * k + ["columns"] * (p + 1 - k)))] == narayana(p, k)


def law(p: int, c: Fraction) -> Fraction:
    return sum((narayana(p, k) * c ** (k - 1) for k in range(1, p + 1)), Fraction(0))


MULTIPLES = st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(3, 2), Fraction(2), Fraction(3), Fraction(5)])


@given(rows=MULTIPLES, columns=MULTIPLES)
@settings(max_examples=EXAMPLES)
def test_the_tensor_program_has_the_law_as_its_limit(rows: Fraction, columns: Fraction) -> None:
    b = Builder()
    r, m = Scaling.of(rows, 1), Scaling.of(columns, 1)
    x = b.parameter("X", (r, m), std=Scaling.of(float(columns) ** -0.5, "-1/2"))
    z = y = b.parameter("z", (r,))
    for p in range(1, 6):
        y = b.einsum("ij,j->i", x, b.einsum("ij,i->j", x, y))
        b.mark("output", str(p), b.einsum("i,i->", z, y, scale=Scaling.of(1 / float(rows), -1)))
    found = tpdyn.limit(b.build(widths=(16, 24)), 2**8, 2)
    expected = [float(law(p, rows / columns)) for p in range(1, 6)]
    assert [float(each.value) for each in found.outputs] == pytest.approx(expected, rel=1e-9)


# -- measured ----------------------------------------------------------------------------------------------------------


def squares(rows: int, columns: int, seed: int, std: float = 1.0) -> NDArray[np.float64]:
    """Eigenvalues of X X^T / columns."""
    x = std * np.random.default_rng([rows, columns, seed]).standard_normal((rows, columns))
    return np.linalg.eigvalsh(x @ x.T / columns)


def largest_z(rows: int, columns: int, seeds: Sequence[int], std: float = 1.0) -> float:
    spectra = [squares(rows, columns, seed, std) for seed in seeds]
    z = []
    for p in (1, 2, 3):
        traces = np.array([(values**p).mean() for values in spectra])
        polynomial = expected_trace(word(p), {"X": ("rows", "columns")})
        exact = float(at_sizes(polynomial, {"rows": rows, "columns": columns}) / (rows * columns**p))
        z.append(abs(traces.mean() - exact) / (traces.std(ddof=1) / len(seeds) ** 0.5))
    return float(max(z))


def distribution(c: float, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The distribution function of the law, by quadrature of its density in the angle."""
    low, high = (1 - c**0.5) ** 2, (1 + c**0.5) ** 2
    angle = np.linspace(0, np.pi, 4001)
    at = (low + high) / 2 - (high - low) / 2 * np.cos(angle)
    weight = np.sin(angle) ** 2 * (high - low) ** 2 / 4 / (2 * np.pi * c * np.maximum(at, 1e-300))
    if low == 0:
        weight[0] = weight[1]
    whole = np.concatenate([[0], np.cumsum((weight[1:] + weight[:-1]) / 2 * np.diff(angle))])
    return max(0.0, 1 - 1 / c) + np.interp(x, at, whole) * (x > 0)


def distance(rows: int, columns: int, seed: int, std: float = 1.0) -> float:
    """The largest difference of the two distribution functions, the atom at 0 left out."""
    x = squares(rows, columns, seed, std)
    keep = np.arange(rows) >= max(0, rows - columns)
    steps = np.arange(rows + 1) / rows
    found = distribution(rows / columns, x)
    return float(max(np.abs(found - steps[1:])[keep].max(), np.abs(found - steps[:-1])[keep].max()))


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_traces_of_dense_matrices_have_the_exact_mean(rows: int, columns: int) -> None:
    assert largest_z(rows, columns, range(SEEDS)) < 5


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_the_spectrum_comes_as_close_as_one_over_the_width(rows: int, columns: int) -> None:
    for factor in (1, 2, 4, 8):
        assert factor * rows * distance(factor * rows, factor * columns, 0) < KS


def test_rates_at_which_these_checks_err() -> None:
    """False alarms, and power against entries too large by a tenth."""
    batches = [range(SEEDS * t, SEEDS * (t + 1)) for t in range(1, 1 + max(2, TRIALS // 5))]
    rates = {
        "traces, false alarms": [largest_z(*shape, batch) >= 5 for shape in SHAPES for batch in batches],
        "traces, power against std + 10 %": [largest_z(16, 32, batch, 1.1) >= 5 for batch in batches],
        "spectrum, false alarms": [4 * r * distance(4 * r, 4 * m, t) >= KS for r, m in SHAPES for t in range(TRIALS)],
        "spectrum, power against std + 10 %": [128 * distance(128, 256, t, 1.1) >= KS for t in range(TRIALS)],
    }
    print("\n" + "\n".join(f"{name}: {np.mean(rate):.3f}" for name, rate in rates.items()))
    assert all(np.mean(rate) == ("power" in name) for name, rate in rates.items())
