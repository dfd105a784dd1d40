"""Gradient independence: W^T of the backward pass may be taken for an independent copy of W^T if the readout is random.

Statement. f(x) = v^T phi(W x), W with N(0, 1/n) entries, x of order 1. The gradient n df/dx is W^T (v phi'(W x)).
* v ~ N(0, 1) independent of all, used nowhere else (Simple GIA Check). Its limit is N(0, E phi'^2), as with a fresh copy of
  W.
* v = 1 (an average, f = (1/n) sum phi(W x)). Its limit is x E phi''(Z) + N(0, E phi'^2), Z ~ N(0, E x^2): the dot stays.
The counter-example: phi(h) = h^2, x = 1: mean 2 and second moment 8, where the assumption says 0 and 4. Source: Tensor
Programs II (arXiv 2006.14548). Its abstract says that where the Simple GIA Check fails the assumption can give wrong
answers.

Exact: for phi = h^2 the second moments at finite n by Isserlis's pairings: 8 + 4/n for v = 1, and 4 + 8/n for a Gaussian v.
By the error of the limit: `tpdyn.limit` reads both programs, for phi drawn by Hypothesis.
Statistical: dense runs at n = 32 and 128 have the exact second moments within 5 standard errors.
It can fail: the same runs reject the moments of the other readout, by 24 to 65 standard errors
(`python -m pytest -s proofs_checks/<this file>`).
"""

from __future__ import annotations

import os
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from moments import at_sizes, expected_trace

import tpdyn
from tpdyn.exponents import Scaling
from tpdyn.pointwise import lookup
from tpdyn.program.builder import Builder

EXAMPLES = {"quick": 6, "thorough": 100}.get(os.environ.get("HYPOTHESIS_PROFILE", ""), 20)
SEEDS = 400
NODES, MASSES = np.polynomial.hermite_e.hermegauss(301)


def exact(n: int, random: bool) -> Fraction:
    """E |W^T (v 2 W 1)|^2 / n at finite n."""
    if random:  # 4 n E W_ij^2 h_i^2 with h_i = sum_k W_ik
        return 4 * n * (Fraction(1, n) + 2 * Fraction(1, n**2))
    # 1^T (W^T W)^2 1 / n: by symmetry in the columns the trace of (W^T W)^2 / n
    trace = expected_trace([("W", True), ("W", False)] * 2, {"W": ("n", "n")})
    return 4 * at_sizes(trace, {"n": n}) / Fraction(n) ** 3


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_the_second_moments_at_finite_width(n: int) -> None:
    assert exact(n, random=False) == 8 + Fraction(4, n)
    assert exact(n, random=True) == 4 + Fraction(8, n)


def read(slope: str | None, random: bool, factor: float = 1.0) -> tuple[float, float]:
    """Mean and second moment of W^T (v phi'(factor W 1)) in the limit; without a slope, of phi'(h) = 2 h."""
    b, n = Builder(), Builder.n
    w, x = b.parameter("W", (n, n), std=Scaling.of(1, "-1/2")), b.constant("x", 1, (n,))
    h = b.einsum("ij,j->i", w, x, scale=factor)
    made = b.combine((2, h)) if slope is None else b.apply(slope, h)
    if random:
        made = b.einsum("i,i->i", b.parameter("v", (n,)), made)
    d = b.einsum("ij,i->j", w, made)
    b.mark("output", "mean", b.einsum("i->", d, scale=Scaling.of(1, -1)))
    b.mark("output", "square", b.einsum("i,i->", d, d, scale=Scaling.of(1, -1)))
    mean, square = tpdyn.limit(b.build(widths=(16, 24)), 2**12, 4).outputs
    return float(mean.value), float(square.value)


def test_the_counter_example_in_the_limit() -> None:
    assert read(None, random=False) == pytest.approx((2, 8), abs=1e-6)
    assert read(None, random=True) == pytest.approx((0, 4), abs=0.05)


def gaussian(name: str, factor: float, power: int) -> float:
    y = lookup(name).value(torch, torch.tensor(factor * NODES)).numpy()
    return float((MASSES * y**power).sum() / MASSES.sum())


@given(
    function=st.sampled_from(["tanh", "erf", "gelu", "sigmoid", "sin"]),
    factor=st.sampled_from([0.5, 1.0, 1.5]),
    random=st.booleans(),
)
@settings(max_examples=EXAMPLES)
def test_the_dot_is_the_mean_of_the_second_derivative_and_a_random_readout_removes_it(
    function: str, factor: float, random: bool
) -> None:
    slope = lookup(function).slope
    assert slope is not None
    squared = gaussian(slope, factor, 2)
    # E phi''(factor Z) by Stein: E[Z phi'(factor Z)] = factor E phi''
    y = lookup(slope).value(torch, torch.tensor(factor * NODES)).numpy()
    dot = 0.0 if random else float((MASSES * NODES * y).sum() / MASSES.sum())
    mean, square = read(slope, random, factor)
    assert mean == pytest.approx(dot, abs=0.02)
    assert square == pytest.approx(squared + dot**2, rel=0.02, abs=5e-3)


def dense(n: int, random: bool) -> tuple[float, float]:
    """The mean over seeds of |W^T (v 2 W 1)|^2 / n, and its standard error."""
    found = []
    for seed in range(SEEDS):
        rng = np.random.default_rng([n, seed])
        w = rng.standard_normal((n, n)) / n**0.5
        v = rng.standard_normal(n) if random else np.ones(n)
        found.append(float((w.T @ (v * 2 * w.sum(1)) @ (w.T @ (v * 2 * w.sum(1)))) / n))
    return float(np.mean(found)), float(np.std(found, ddof=1) / SEEDS**0.5)


@pytest.mark.parametrize("n", [32, 128])
def test_dense_runs_have_the_exact_second_moments_and_not_those_of_the_assumption(n: int) -> None:
    for random in (False, True):
        mean, error = dense(n, random)
        assert abs(mean - float(exact(n, random))) < 5 * error
        other = float(exact(n, not random))
        print(
            f"\nn = {n}, {'random' if random else 'fixed'} readout: {abs(mean - other) / error:.0f} standard errors from the other",
            end="",
        )
        assert abs(mean - other) > 5 * error
