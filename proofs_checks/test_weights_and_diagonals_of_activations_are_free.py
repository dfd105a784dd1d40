"""Free independence: Gaussian weights and the diagonals of activations that they themselves make are asymptotically free.

Statement. W with N(0, 1/n) entries, h = W x for a vector x of the program, D = diag(f(h)) with f bounded. Then {W, W^T} and
D are free in the limit. The normalised trace of an alternating product of centred elements vanishes,

    tr(p_1(W, W^T) d_1 p_2(W, W^T) d_2 ...) / n -> 0         if  lim tr p_i / n = 0  and  lim tr d_i / n = 0

although D is a function of W. Source: the Free Independence Principle, Tensor Programs III (arXiv 2009.10685).
This differs from (commuting) independence in a consequence. With A = W^T W,
`tr(A D A D) -> t(A^2) t(D)^2 + t(A)^2 t(D^2) - t(A)^2 t(D)^2`, not t(A^2) t(D^2).

How it is read: z^T M z / n with z independent of everything is an average of a tensor program. `tpdyn.limit` reads it, with
an error for each number. Hypothesis draws alternating products. A factor is W, W^T, W^T W - 1, W W^T - 1, or W^2. The
others are f - E f for functions of a Gaussian, with means taken by quadrature.
Statistical, by the error of the limit (two standard errors and a bias). Each value must vanish within `SLACK` times the
reported error plus 1e-3. Measured by `HYPOTHESIS_PROFILE=thorough python -m pytest -s proofs_checks/<this file>`: of 300
products the largest took 1 % of that bound. Power: products with a factor that is not centred (mean 1/2) are rejected. So
are the formula of commuting independence, and a reading without the dot. See the last tests. Dense matrices: tr(A D A D) /
n at growing width, extrapolated, against the formula.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tpdyn
from tpdyn.exponents import Scaling
from tpdyn.limits.limit import Estimate
from tpdyn.pointwise import lookup
from tpdyn.program.builder import Builder

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "")
EXAMPLES = {"quick": 6, "thorough": 300}.get(PROFILE, 40)
POINTS, SCRAMBLES, SLACK, FLOOR = 2**12, 4, 4.0, 1e-3
WEIGHTS = ("W", "W^T", "W^T W - 1", "W W^T - 1", "W W")
FUNCTIONS = ("tanh", "sign", "step", "erf", "sigmoid", "cos")
NODES, MASSES = np.polynomial.hermite_e.hermegauss(201)


def mean(name: str, of: Callable[[torch.Tensor], torch.Tensor] = lambda y: y) -> float:
    """E of a function of f(Z), Z standard."""
    if name in ("sign", "step"):
        y = torch.tensor([-1.0 if name == "sign" else 0.0, 1.0], dtype=torch.float64)
        return float(of(y).mean())
    y = lookup(name).value(torch, torch.tensor(NODES, dtype=torch.float64))
    return float((torch.tensor(MASSES) * of(y)).sum() / MASSES.sum())


def read(factors: list[tuple[str, str]], centred: bool = True) -> Estimate:
    """The limit of z^T (product of weights and diagonals, one pair after the other) z / n."""
    b, n = Builder(), Builder.n
    w, x, z = b.parameter("W", (n, n), std=Scaling.of(1, "-1/2")), b.parameter("x", (n,)), b.parameter("z", (n,))
    h = b.einsum("ij,j->i", w, x)
    y = z

    def times(y: int, transposed: bool) -> int:
        return b.einsum("ij,i->j", w, y) if transposed else b.einsum("ij,j->i", w, y)

    for weight, name in reversed(factors):
        d = b.combine((1, b.apply(name, h)), constant=-mean(name) if centred else 0.5 - mean(name))
        y = b.einsum("i,i->i", d, y)
        if weight in ("W", "W^T"):
            y = times(y, weight == "W^T")
        elif weight == "W W":
            y = times(times(y, False), False)
        else:
            first = weight == "W W^T - 1"
            y = b.combine((1, times(times(y, first), not first)), (-1, y))
    b.mark("output", "trace", b.einsum("i,i->", z, y, scale=Scaling.of(1, -1)))
    return tpdyn.limit(b.build(widths=(16, 24)), POINTS, SCRAMBLES).outputs[0]


def share(found: Estimate, expected: float = 0.0) -> float:
    """How much of the bound a deviation takes."""
    return abs(float(found.value) - expected) / (SLACK * float(found.error) + FLOOR)


PRODUCTS = st.lists(st.tuples(st.sampled_from(WEIGHTS), st.sampled_from(FUNCTIONS)), min_size=1, max_size=4)
largest = 0.0


@given(PRODUCTS)
@settings(max_examples=EXAMPLES)
def test_alternating_products_of_centred_elements_have_trace_zero(factors: list[tuple[str, str]]) -> None:
    global largest
    found = share(read(factors))
    largest = max(largest, found)
    assert found < 1


@pytest.fixture(scope="module", autouse=True)
def _told() -> Iterator[None]:
    """Tell the worst of all examples at the end (with -s)."""
    yield
    if largest:
        print(f"\nlargest share of the bound: {largest:.2f}", end="")


# -- free and commuting independence differ ------------------------------------------------------------------------------


def mixed(name: str) -> tuple[float, float]:
    """lim tr(A D A D) / n for A = W^T W. One value is by freeness, the other as if A and D commuted and were independent."""
    first, second = mean(name), mean(name, torch.square)
    return 2 * first**2 + second - first**2, 2 * second


def read_mixed(name: str) -> Estimate:
    b, n = Builder(), Builder.n
    w, x, z = b.parameter("W", (n, n), std=Scaling.of(1, "-1/2")), b.parameter("x", (n,)), b.parameter("z", (n,))
    d = b.apply(name, b.einsum("ij,j->i", w, x))
    y = z
    for _ in range(2):
        y = b.einsum("i,i->i", d, y)
        y = b.einsum("ij,i->j", w, b.einsum("ij,j->i", w, y))
    b.mark("output", "trace", b.einsum("i,i->", z, y, scale=Scaling.of(1, -1)))
    return tpdyn.limit(b.build(widths=(16, 24)), POINTS, SCRAMBLES).outputs[0]


@pytest.mark.parametrize("name", ["sigmoid", "step", "tanh"])
def test_a_mixed_moment_is_that_of_free_and_not_of_commuting_variables(name: str) -> None:
    free, commuting = mixed(name)
    found = read_mixed(name)
    assert share(found, free) < 1
    assert share(found, commuting) > 1


def test_a_factor_that_is_not_centred_is_rejected() -> None:
    assert share(read([("W^T W - 1", "tanh"), ("W^T W - 1", "cos")])) < 1
    assert share(read([("W^T W - 1", "tanh"), ("W^T W - 1", "cos")], centred=False)) > 1


def dense(name: str, n: int, seed: int) -> float:
    rng = np.random.default_rng([n, seed])
    w, x = rng.standard_normal((n, n)) / n**0.5, rng.standard_normal(n)
    d = lookup(name).value(torch, torch.tensor(w @ x * (n**0.5 / np.linalg.norm(x)))).numpy()
    half = w @ (d[:, None] * (w.T @ w)) * d
    return float(np.trace(w.T @ half) / n)


def test_dense_matrices_come_to_the_moment_of_free_variables() -> None:
    """Twice the mean at 2n less that at n: what is of order 1/n cancels. Five standard errors of the combination."""
    seeds = 400
    one, two = (np.array([dense("step", n, seed) for seed in range(seeds)]) for n in (32, 64))
    error = (4 * two.var(ddof=1) + one.var(ddof=1)) ** 0.5 / seeds**0.5
    free, commuting = mixed("step")
    found = 2 * two.mean() - one.mean()
    assert abs(found - free) < 5 * error < abs(found - commuting)
