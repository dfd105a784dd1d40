"""What is the mean of f(a) f(b) for Gaussian a and b, where no closed form is known? By Hermite series, with an error bound.

With `a = mu + sigma z` the series `f(a) = sum_k a_k h_k(z)` in normalised Hermite polynomials gives Mehler's formula
`E[f(a) f(b)] = sum_k rho^k a_k b_k`. By Cauchy-Schwarz the terms beyond K are at most `|rho|^(K+1) sqrt(R_a R_b)`, where
`R = E[f^2] - sum_{k <= K} a_k^2` is what the series has not reached. Pairs for which that is too much (nearly equal inputs,
functions with kinks) are integrated over the plane. One-dimensional integrals are Gauss-Legendre sums on panels that end at
the function's kinks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

LENGTH = 9.0
"""Integrals run over |z| <= 9: the Gaussian's mass beyond is 2e-19."""
PANELS, NODES = 24, 16
DEGREE = 128
"""Terms of the Hermite series."""
TOLERANCE = 1e-11
"""What a pair may miss, relative to the root of `E[f(a)^2] E[f(b)^2]`. Pairs that may miss more are integrated over the
plane.
"""
CHUNK = 2**22
"""Function values held at once while integrating over the plane."""

Function = Callable[[Tensor], Tensor]


@lru_cache(maxsize=1)
def _legendre() -> tuple[Tensor, Tensor]:
    x, w = np.polynomial.legendre.leggauss(NODES)
    return torch.tensor(x), torch.tensor(w)


def panels(breaks: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of the standard Gaussian on [-9, 9], with panels that end at `breaks`.

    breaks: "samples points" (any order; those outside are moved to the ends). Returns two tensors "samples nodes".
    """
    ends = torch.linspace(-LENGTH, LENGTH, PANELS + 1, dtype=breaks.dtype).expand(breaks.shape[0], -1)
    ends = torch.cat([ends, breaks.clamp(-LENGTH, LENGTH)], 1).sort(1).values
    middle, half = (ends[:, 1:] + ends[:, :-1]) / 2, (ends[:, 1:] - ends[:, :-1]) / 2
    x, w = _legendre()
    nodes = (middle[..., None] + half[..., None] * x).flatten(1)
    weights = (half[..., None] * w).flatten(1) * torch.exp(-nodes * nodes / 2) / math.sqrt(2 * math.pi)
    return nodes, weights


def _breaks(mean: Tensor, deviation: Tensor, kinks: tuple[float, ...]) -> Tensor:
    points = torch.tensor(kinks, dtype=mean.dtype)
    return (points - mean[:, None]) / deviation.clamp_min(1e-300)[:, None]


def expectation(f: Function, mean: Tensor, variance: Tensor, kinks: tuple[float, ...] = ()) -> Tensor:
    """Compute `E[f(mean + sqrt(variance) z)]`, entry by entry."""
    m, d = mean.double().flatten(), variance.double().clamp(min=0).sqrt().flatten()
    nodes, weights = panels(_breaks(m, d, kinks))
    averages = (weights * f(m[:, None] + d[:, None] * nodes)).sum(1)
    return averages.reshape(mean.shape).to(mean.dtype)


def coefficients(f: Function, mean: Tensor, variance: Tensor, kinks: tuple[float, ...] = ()) -> tuple[Tensor, Tensor]:
    """Compute the Hermite coefficients `a_k`, k = 0 .. DEGREE ("samples terms"), and `E[f^2]` ("samples")."""
    m, d = mean.double(), variance.double().clamp(min=0).sqrt()
    nodes, weights = panels(_breaks(m, d, kinks))
    values = f(m[:, None] + d[:, None] * nodes)
    weighted = weights * values
    below, here = torch.zeros_like(nodes), torch.ones_like(nodes)
    series = []
    for k in range(DEGREE + 1):
        series.append((weighted * here).sum(1))
        # sqrt(k+1) h_{k+1} = z h_k - sqrt(k) h_{k-1}
        below, here = here, (nodes * here - math.sqrt(k) * below) / math.sqrt(k + 1)
    return torch.stack(series, 1), (weighted * values).sum(1)


def pair(
    f: Function,
    g: Function,
    cov: Tensor,
    one: tuple[Tensor, Tensor],
    other: tuple[Tensor, Tensor],
    kinks: tuple[tuple[float, ...], tuple[float, ...]] = ((), ()),
) -> Tensor:
    """Compute `E[f(a) g(b)]` for pairs, flat and of one length; `one`, `other` are (mean, variance) of a and b."""
    (m, v), (n, w) = ((mean.double(), variance.double().clamp(min=0)) for mean, variance in (one, other))
    c = cov.double()
    a, squares_a, back_a = _per_sample(f, m, v, kinks[0])
    b, squares_b, back_b = _per_sample(g, n, w, kinks[1])
    rho = (c / (v * w).sqrt().clamp_min(1e-300)).clamp(-1, 1)
    total = torch.zeros_like(rho)
    for k in range(DEGREE, -1, -1):
        total = total * rho + a[back_a, k] * b[back_b, k]
    rest_a = (squares_a - a.square().sum(1)).clamp(min=0)[back_a]
    rest_b = (squares_b - b.square().sum(1)).clamp(min=0)[back_b]
    missed = rho.abs() ** (DEGREE + 1) * (rest_a * rest_b).sqrt()
    hard = torch.nonzero(missed > TOLERANCE * (squares_a[back_a] * squares_b[back_b]).sqrt()).flatten()
    if len(hard):
        total[hard] = _plane(f, g, rho[hard], (m[hard], v[hard]), (n[hard], w[hard]), kinks)
    return total.to(cov.dtype)


def _per_sample(f: Function, mean: Tensor, variance: Tensor, kinks: tuple[float, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the coefficients of each (mean, variance) that occurs, once, and which one each pair has."""
    unique, back = torch.unique(torch.stack([mean, variance], 1), dim=0, return_inverse=True)
    a, squares = coefficients(f, unique[:, 0], unique[:, 1], kinks)
    return a, squares, back


def _plane(
    f: Function,
    g: Function,
    rho: Tensor,
    one: tuple[Tensor, Tensor],
    other: tuple[Tensor, Tensor],
    kinks: tuple[tuple[float, ...], tuple[float, ...]],
) -> Tensor:
    """Integrate over the plane, `b = mu + sigma (rho x + sqrt(1 - rho^2) y)`: over y for each x, then over x.

    Where g has a kink the inner integral turns within a few sqrt(1 - rho^2): panels end there, too.
    """
    points = (PANELS + 4 + len(kinks[0]) + 3 * len(kinks[1])) * NODES
    step = max(1, CHUNK // points**2)
    nodes = []
    for i in range(0, len(rho), step):
        few, m, v, n, w = (each[i : i + step] for each in (rho, *one, *other))
        nodes.append(_plane_of_few(f, g, few, m, v, n, w, kinks))
    return torch.cat(nodes)


def _plane_of_few(
    f: Function,
    g: Function,
    rho: Tensor,
    m: Tensor,
    v: Tensor,
    n: Tensor,
    w: Tensor,
    kinks: tuple[tuple[float, ...], tuple[float, ...]],
) -> Tensor:
    d, e = v.sqrt(), w.sqrt()
    left = (1 - rho * rho).clamp(min=0).sqrt()
    turn = _breaks(n, e * rho, kinks[1])
    around = torch.cat([turn - 6 * left[:, None], turn, turn + 6 * left[:, None]], 1)
    x, weights = panels(torch.cat([_breaks(m, d, kinks[0]), around], 1))
    mean = (n[:, None] + (e * rho)[:, None] * x).flatten()
    spread = (e * left)[:, None].expand_as(x).flatten()
    inner = expectation(g, mean, spread.square(), kinks[1]).reshape(x.shape)
    return (weights * f(m[:, None] + d[:, None] * x) * inner).sum(1)
