"""The input-output Jacobian of a wide random network has the singular values of a free product of its layers.

Statement. h_1 = W_1 x, h_(l+1) = W_(l+1) phi(h_l), W_l with N(0, s/n) entries, J = D_k W_k ... D_1 W_1, D_l = diag(phi'(h_l)).
The limit law of J J^T is a free product. Its factors are s times Marchenko-Pastur laws (ratio 1) and the laws of
phi'(h_l)^2. So with S-transforms, S_W(z) = 1 / (s (1 + z)) and S_D from the moments of phi'^2:

* deep linear: Fuss-Catalan numbers;
* ReLU with s = 2: S = (1 + 2z)^-k, so that the p-th moment is (1/p) [z^(p-1)] ((1 + z) (1 + 2z)^k)^p;
* smooth phi: the moments of phi'(q Z)^2 by quadrature, q^2 the limit variances.

Sources: Pennington, Schoenholz and Ganguli (arXiv 1711.04735). It is rigorous by the Free Independence Principle of Tensor
Programs III (arXiv 2009.10685), for D depends on W.

Exact: the closed formula for ReLU against free products in rationals, for random depths; deep linear against Fuss-Catalan.
By the limit's own error: z^T (J J^T)^p z / n as a tensor program, forward pass included. `tpdyn.limit` reads it within
`SLACK` times the reported error (seen: 0.13 of that bound at most).
Statistical: dense Jacobians at growing widths, extrapolated (twice the mean at 2n less that at n): 5 standard errors.
It can fail: both reject the moments of phi' for those of phi'^2. Both reject s off by a tenth, and one layer more. Measured
by `HYPOTHESIS_PROFILE=thorough python -m pytest -s proofs_checks/<this file>`: z is 1.6 at most for the right laws, and 66,
13 and 8.2 for these three.
"""

from __future__ import annotations

import os
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from moments import catalan, free_product, fuss_catalan, times

import tpdyn
from tpdyn.exponents import Scaling
from tpdyn.limits.limit import Estimate
from tpdyn.pointwise import lookup
from tpdyn.program.builder import Builder

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "")
EXAMPLES = {"quick": 15, "thorough": 300}.get(PROFILE, 60)
SEEDS = {"quick": 800, "thorough": 2000}.get(PROFILE, 800)
WIDTHS = (24, 48)
POINTS, SCRAMBLES, SLACK, FLOOR = 2**12, 4, 4.0, 1e-3
HIGHEST = 3
NODES, MASSES = np.polynomial.hermite_e.hermegauss(201)


def relu_moment(layers: int, p: int) -> Fraction:
    """(1/p) [z^(p-1)] ((1 + z) (1 + 2z)^layers)^p."""
    power = [Fraction(1)] + [Fraction(0)] * (p - 1)
    factors = [[Fraction(1), Fraction(1)]] + [[Fraction(1), Fraction(2)]] * layers
    for factor in factors * p:
        power = times(power, [*factor, *[Fraction(0)] * p][:p])
    return power[p - 1] / p


@given(layers=st.integers(1, 6), highest=st.integers(1, 7))
@settings(max_examples=EXAMPLES)
def test_the_formula_for_relu_is_the_free_product_of_its_layers(layers: int, highest: int) -> None:
    weight = [2**p * catalan(p) for p in range(1, highest + 1)]
    mask = [Fraction(1, 2)] * highest
    assert free_product(*[weight, mask] * layers) == [relu_moment(layers, p) for p in range(1, highest + 1)]
    linear = free_product(*[[catalan(p) for p in range(1, highest + 1)]] * layers)
    assert linear == [fuss_catalan(layers, p) for p in range(1, highest + 1)]


# -- smooth networks -----------------------------------------------------------------------------------------------------


def gaussian_mean(name: str, std: float, power: int) -> float:
    y = lookup(name).value(torch, torch.tensor(std * NODES, dtype=torch.float64)).numpy()
    return float((MASSES * y**power).sum() / MASSES.sum())


@cache
def predicted(function: str, layers: int, variance: float, power: int = 2) -> tuple[float, ...]:
    """Moments of J J^T up to `HIGHEST`, for an input of mean square 1. power: of phi' whose law is multiplied (2)."""
    if function == "relu":  # homogeneous: the mask is a fair coin at every variance
        masks = [[Fraction(1, 2)] * HIGHEST] * layers
    else:
        masks, size = [], 1.0
        for _ in range(layers):
            std = (variance * size) ** 0.5
            slope = lookup(function).slope
            assert slope is not None
            masks.append([gaussian_mean(slope, std, power * p) for p in range(1, HIGHEST + 1)])
            size = gaussian_mean(function, std, 2)
    weight = [Fraction(variance) ** p * catalan(p) for p in range(1, HIGHEST + 1)]
    return tuple(float(each) for each in free_product(*[factor for mask in masks for factor in (weight, mask)]))


@cache
def read(function: str, layers: int, variance: float) -> tuple[Estimate, ...]:
    b, n = Builder(), Builder.n
    weights = [b.parameter(f"W{k}", (n, n), std=Scaling.of(variance**0.5, "-1/2")) for k in range(layers)]
    slope = lookup(function).slope
    assert slope is not None
    z = b.parameter("z", (n,))
    x, diagonals = b.parameter("x", (n,)), []
    for w in weights:
        h = b.einsum("ij,j->i", w, x)
        diagonals.append(b.apply(slope, h))
        x = b.apply(function, h)
    y = z
    for p in range(1, HIGHEST + 1):
        for w, d in zip(reversed(weights), reversed(diagonals), strict=True):
            y = b.einsum("ij,i->j", w, b.einsum("i,i->i", d, y))
        for w, d in zip(weights, diagonals, strict=True):
            y = b.einsum("i,i->i", d, b.einsum("ij,j->i", w, y))
        b.mark("output", str(p), b.einsum("i,i->", z, y, scale=Scaling.of(1, -1)))
    return tpdyn.limit(b.build(widths=(16, 24)), POINTS, SCRAMBLES).outputs


NETWORKS = [("relu", 3, 2.0), ("tanh", 2, 1.5), ("relu", 1, 2.0), ("gelu", 2, 1.0), ("erf", 3, 1.0)]
NETWORKS = NETWORKS[: 2 if PROFILE == "quick" else None]


def shares(found: tuple[Estimate, ...], expected: tuple[float, ...]) -> list[float]:
    """How much of the bound each deviation takes."""
    return [
        abs(float(each.value) - moment) / (SLACK * float(each.error) + FLOOR * moment)
        for each, moment in zip(found, expected, strict=True)
    ]


@pytest.mark.parametrize(("function", "layers", "variance"), NETWORKS)
def test_the_tensor_program_of_a_jacobian_has_the_moments_of_the_free_product(
    function: str, layers: int, variance: float
) -> None:
    found = read(function, layers, variance)
    right = shares(found, predicted(function, layers, variance))
    print(f"\n{function}, {layers} layers: {max(right):.2f} of the bound", end="")
    assert max(right) < 1


# -- dense ---------------------------------------------------------------------------------------------------------------


@cache
def dense(function: str, layers: int, variance: float, n: int) -> np.ndarray:  # type: ignore[type-arg]
    """[seed, moment] of J J^T."""
    slope = lookup(function).slope
    assert slope is not None
    found = []
    for seed in range(SEEDS):
        generator = torch.Generator().manual_seed(1000 * n + seed)
        x = torch.randn(n, generator=generator, dtype=torch.float64)
        x *= n**0.5 / x.norm()
        j = torch.eye(n, dtype=torch.float64)
        for _ in range(layers):
            w = torch.randn(n, n, generator=generator, dtype=torch.float64) * (variance / n) ** 0.5
            h = w @ x
            j = lookup(slope).value(torch, h)[:, None] * (w @ j)
            x = lookup(function).value(torch, h)
        squares = torch.linalg.svdvals(j).square()
        found.append([float((squares**p).mean()) for p in range(1, HIGHEST + 1)])
    return np.array(found)


def largest_z(function: str, layers: int, variance: float, expected: tuple[float, ...]) -> float:
    one, two = (dense(function, layers, variance, n) for n in WIDTHS)
    error = np.sqrt((4 * two.var(0, ddof=1) + one.var(0, ddof=1)) / SEEDS)
    return float(np.abs((2 * two.mean(0) - one.mean(0) - np.array(expected)) / error).max())


@pytest.mark.parametrize(("function", "layers", "variance"), NETWORKS)
def test_dense_jacobians_come_to_the_moments_of_the_free_product(function: str, layers: int, variance: float) -> None:
    found = largest_z(function, layers, variance, predicted(function, layers, variance))
    print(f"\n{function}, {layers} layers: {found:.1f} standard errors", end="")
    assert found < 5


@pytest.mark.parametrize("wrong", ["slope for its square", "variance", "depth"])
def test_wrong_laws_are_rejected(wrong: str) -> None:
    expected = {
        "slope for its square": predicted("tanh", 2, 1.5, power=1),
        "variance": predicted("tanh", 2, 1.65),
        "depth": predicted("tanh", 3, 1.5),
    }[wrong]
    assert max(shares(read("tanh", 2, 1.5), expected)) > 1
    found = largest_z("tanh", 2, 1.5, expected)
    print(f"\n{wrong}: {found:.1f} standard errors", end="")
    assert found > 5
