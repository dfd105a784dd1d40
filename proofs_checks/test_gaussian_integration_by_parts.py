"""Stein's lemma: E[X_i f(X)] = sum over j of C[i, j] E[d_j f(X)]. It is what makes the dot of the Master Theorem.

Statement. X is Gaussian with mean 0 and covariance C. The function f is weakly differentiable with slopes of at most
polynomial growth (kinks are allowed, jumps are not). Source: Stein's lemma, as used in Tensor Programs III (arXiv
2009.10685) for `Zdot`; https://en.wikipedia.org/wiki/Stein's_lemma for one variable.

Exact: for random polynomials f in up to three variables and random rational covariances, as fractions. The left side goes
through Isserlis's pairings, the right side through the derivative's.
By quadrature: every function of one variable in `tpdyn.pointwise` with a listed slope, at several variances. Both sides of
`E[X f(X)] = c E[f'(X)]` agree to 1e-7 (seen: 1e-9 at most). So the slopes by which the library computes dots are the right
ones. It can fail: rejected is a function with a jump (sign: slope 0, but E|Z| = sqrt(2/pi)). A slope that lacks its
constant and a covariance off by a tenth are rejected, too.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from moments import pairings

from tpdyn.pointwise import FUNCTIONS, lookup

EXAMPLES = {"quick": 60, "thorough": 2000}.get(os.environ.get("HYPOTHESIS_PROFILE", ""), 300)
Powers = tuple[int, ...]
Polynomial = dict[Powers, Fraction]
CLOSE = 1e-7


@st.composite
def polynomials(draw: st.DrawFn) -> tuple[list[list[Fraction]], Polynomial]:
    """A covariance A A^T and a polynomial of degree five at most."""
    size = draw(st.integers(1, 3))
    entry = st.fractions(-2, 2, max_denominator=2)
    a = [[draw(entry) for _ in range(size)] for _ in range(size)]
    covariance = [[sum((x * y for x, y in zip(u, v, strict=True)), Fraction(0)) for v in a] for u in a]
    powers = st.tuples(*[st.integers(0, 3)] * size).filter(lambda each: sum(each) <= 5)
    return covariance, draw(st.dictionaries(powers, entry, min_size=1, max_size=4))


def expectation(covariance: list[list[Fraction]], f: Polynomial) -> Fraction:
    total = Fraction(0)
    for powers, coefficient in f.items():
        indices = [variable for variable, power in enumerate(powers) for _ in range(power)]
        for pairing in pairings(range(len(indices))):
            total += coefficient * prod((covariance[indices[i]][indices[j]] for i, j in pairing), start=Fraction(1))
    return total


def changed(powers: Powers, variable: int, by: int) -> Powers:
    return tuple(power + by * (k == variable) for k, power in enumerate(powers))


def slope(f: Polynomial, variable: int) -> Polynomial:
    return {changed(p, variable, -1): c * p[variable] for p, c in f.items() if p[variable]}


@given(polynomials())
@settings(max_examples=EXAMPLES)
def test_polynomials_are_integrated_by_parts(made: tuple[list[list[Fraction]], Polynomial]) -> None:
    covariance, f = made
    for i in range(len(covariance)):
        left = expectation(covariance, {changed(powers, i, 1): c for powers, c in f.items()})
        right = [covariance[i][j] * expectation(covariance, slope(f, j)) for j in range(len(covariance))]
        assert left == sum(right, Fraction(0))


def integral(value: Callable[[torch.Tensor], torch.Tensor], variance: float, breaks: tuple[float, ...]) -> float:
    """E of a function of a Gaussian: Gauss-Legendre on pieces that end at its kinks."""
    std = variance**0.5
    reach = 12 * std
    edges = sorted({-reach, reach, *np.linspace(-reach, reach, 49), *(k for k in breaks if abs(k) < reach)})
    nodes, weights = np.polynomial.legendre.leggauss(20)
    total = 0.0
    for low, high in pairwise(edges):
        x = torch.tensor((high - low) / 2 * nodes + (high + low) / 2, dtype=torch.float64)
        density = torch.exp(-x.square() / (2 * variance)) / math.sqrt(2 * math.pi * variance)
        total += float((torch.tensor(weights) * value(x) * density).sum()) * (high - low) / 2
    return total


def sides(name: str, parameters: tuple[float, ...], variance: float) -> tuple[float, float]:
    """E[X f(X)] and c E[f'(X)]."""
    f = lookup(name, parameters)
    assert f.slope is not None
    derivative = lookup(f.slope, parameters)
    breaks = (*f.kinks, *derivative.kinks, 0.0)
    left = integral(lambda x: x * f.value(torch, x, *parameters), variance, breaks)
    right = variance * integral(lambda x: derivative.value(torch, x, *parameters), variance, breaks)
    return left, right


def integrable(name: str, parameters: tuple[float, ...]) -> bool:
    """One variable, no jumps, and finite on all of the line."""
    f = lookup(name, parameters)
    if f.arity != 1 or f.slope is None or f.jumps or f.along or f.growth is None:
        return False
    x = torch.linspace(-6, 6, 241, dtype=torch.float64)
    there = f.value(torch, x, *parameters), lookup(f.slope, parameters).value(torch, x, *parameters)
    return all(bool(torch.isfinite(each).all()) and float(each.abs().max()) < 1e4 for each in there)


SMOOTH = [
    (name, parameters) for name, f in FUNCTIONS.items() for parameters in f.examples if integrable(name, parameters)
]


@pytest.mark.parametrize("variance", [0.25, 1.0, 2.5])
def test_every_listed_slope_integrates_its_function_by_parts(variance: float) -> None:
    assert len(SMOOTH) > 20
    wrong = {}
    for name, parameters in SMOOTH:
        left, right = sides(name, parameters, variance)
        if abs(left - right) > CLOSE * max(1, abs(left)):
            wrong[name, parameters] = (left, right)
    assert not wrong


def test_a_jump_a_wrong_constant_and_a_wrong_covariance_are_rejected() -> None:
    left = integral(lambda x: x * torch.sign(x), 1.0, (0.0,))
    assert abs(left - math.sqrt(2 / math.pi)) < CLOSE  # the slope of sign is 0 wherever it has one
    for name in ("tanh", "gelu", "relu"):
        left, right = sides(name, (), 1.0)
        assert abs(left - right) < CLOSE
        assert abs(left - 1.1 * right) > CLOSE and abs(left - (right - 0.1)) > CLOSE
