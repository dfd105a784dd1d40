"""Products of square Gaussian matrices: the squared singular values have the Fuss-Catalan numbers as moments.

Statement. W_1, ..., W_k independent n x n matrices with N(0, 1/n) entries, J = W_k ... W_1. Then tr (J J^T)^p / n converges to
C((k+1) p, p) / (k p + 1). With layers of sizes c_0 n, ..., c_k n the limit is the free product of Marchenko-Pastur laws.
Sources: Penson and Zyczkowski (arXiv 1103.3453) for the numbers; the free product by S-transforms as in arXiv 1711.04735.

Exact: Isserlis's pairings, layer by layer, give E tr (J J^T)^p as a polynomial in the sizes. At equal sizes its leading
coefficient is the Fuss-Catalan number. At different sizes the terms of highest degree sum to the free product. Exact up to
round-off: the tensor program z^T (J J^T)^p z / n, each W used in both directions. `tpdyn.limit` reads it to 1e-9.
Statistical: traces of dense products at two widths, against the exact polynomial, 5 standard errors of the mean over seeds.
Measured by `HYPOTHESIS_PROFILE=thorough python -m pytest -s proofs_checks/<this file> -k rates`, of 100 trials: no false
alarm; entries that are too large by a tenth are always rejected.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moments import at_sizes, catalan, expected_trace, free_product, fuss_catalan, narayana

import tpdyn
from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "")
EXAMPLES = {"quick": 6, "thorough": 100}.get(PROFILE, 25)
SEEDS = 200
TRIALS = {"quick": 3, "thorough": 100}.get(PROFILE, 10)


@cache
def trace(factors: int, p: int) -> dict[tuple[str, ...], int]:
    """E tr (J J^T)^p for N(0, 1) entries; spaces s0 (input) to s<factors> (output)."""
    down = [(f"W{k}", False) for k in range(factors, 0, -1)]
    up = [(f"W{k}", True) for k in range(1, factors + 1)]
    return dict(expected_trace((down + up) * p, {f"W{k}": (f"s{k}", f"s{k - 1}") for k in range(1, factors + 1)}))


COUNTED = [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (3, 3)]


@pytest.mark.parametrize(("factors", "p"), COUNTED)
def test_the_leading_coefficient_is_a_fuss_catalan_number(factors: int, p: int) -> None:
    found = trace(factors, p)
    leading = factors * p + 1
    assert max(map(len, found)) == leading
    assert sum(count for each, count in found.items() if len(each) == leading) == fuss_catalan(factors, p)


@given(sizes=st.lists(st.fractions("1/3", 3, max_denominator=3), min_size=3, max_size=3))
@settings(max_examples=4 * EXAMPLES)
def test_layers_of_different_sizes_have_the_moments_of_the_free_product(sizes: list[Fraction]) -> None:
    """tr over the output: J J^T has the trace of J^T J times a ratio of sizes. Free products of W W^T are seen layer by
    layer.
    """
    c0, c1, c2 = sizes
    named = {"s0": c0, "s1": c1, "s2": c2}
    leading = [
        at_sizes({each: c for each, c in trace(2, p).items() if len(each) == 2 * p + 1}, named) / (c2 * c1**p * c0**p)
        for p in range(1, 4)
    ]
    # J J^T = W2 (W1 W1^T) W2^T; under the trace over s1: a free product of W2^T W2 and W1 W1^T; then back to s2
    first = [sum((narayana(p, k) * (c1 / c0) ** (k - 1) for k in range(1, p + 1)), Fraction(0)) for p in range(1, 4)]
    second = [
        sum((narayana(p, k) * (c2 / c1) ** (p - k + 1) for k in range(1, p + 1)), Fraction(0)) for p in range(1, 4)
    ]
    assert leading == [m * c1 / c2 for m in free_product(first, second)]


@pytest.mark.parametrize("factors", [1, 2, 3, 4])
def test_the_tensor_program_has_the_fuss_catalan_numbers_as_limits(factors: int) -> None:
    b, n = Builder(), Builder.n
    weights = [b.parameter(f"W{k}", (n, n), std=Scaling.of(1, "-1/2")) for k in range(factors)]
    z = x = b.parameter("z", (n,))
    for p in range(1, 5):
        for w in reversed(weights):
            x = b.einsum("ij,i->j", w, x)
        for w in weights:
            x = b.einsum("ij,j->i", w, x)
        b.mark("output", str(p), b.einsum("i,i->", z, x, scale=Scaling.of(1, -1)))
    found = tpdyn.limit(b.build(widths=(16, 24)), 2**8, 2)
    assert [float(each.value) for each in found.outputs] == pytest.approx(
        [fuss_catalan(factors, p) for p in range(1, 5)], rel=1e-9
    )


def largest_z(factors: int, n: int, seeds: Sequence[int], std: float = 1.0) -> float:
    z = []
    drawn = []
    for seed in seeds:
        rng = np.random.default_rng([factors, n, seed])
        j = np.eye(n)
        for _ in range(factors):
            j = std * rng.standard_normal((n, n)) @ j / n**0.5
        drawn.append(np.linalg.svd(j, compute_uv=False) ** 2)
    for p in (1, 2, 3):
        traces = np.array([(values**p).mean() for values in drawn])
        exact = float(at_sizes(trace(factors, p), {f"s{k}": n for k in range(factors + 1)})) / n ** (factors * p + 1)
        z.append(abs(traces.mean() - exact) / (traces.std(ddof=1) / len(seeds) ** 0.5))
    return float(max(z))


@pytest.mark.parametrize("n", [16, 48])
@pytest.mark.parametrize("factors", [2, 3])
def test_dense_products_have_the_exact_mean_at_finite_width(factors: int, n: int) -> None:
    assert largest_z(factors, n, range(SEEDS)) < 5


def test_rates_at_which_this_check_errs() -> None:
    """False alarms, and power against entries too large by a tenth."""
    batches = [range(SEEDS * t, SEEDS * (t + 1)) for t in range(1, 1 + TRIALS)]
    alarms = np.mean([largest_z(2, 16, batch) >= 5 for batch in batches])
    power = np.mean([largest_z(2, 16, batch, 1.1) >= 5 for batch in batches])
    print(f"\nfalse alarms {alarms:.3f}, power against std + 10 % {power:.3f}")
    assert alarms == 0 and power == 1


def test_one_factor_is_marchenko_pastur_and_two_are_not() -> None:
    assert [fuss_catalan(1, p) for p in range(1, 6)] == [catalan(p) for p in range(1, 6)]
    assert [fuss_catalan(2, p) for p in range(1, 4)] == [1, 3, 12] != [catalan(p) for p in range(1, 4)]
