"""Do numbers that a network draws tend to what is claimed? Intervals for limits, kernels and laws, from seeds and widths.

Model. The mean over seeds at width n is `limit + scale * (c_1 x + c_2 x^2) + noise`. Here x = CROSSOVER / n and c_k ~
N(0, 1) is unknown, since expectations have corrections in powers of 1/n. The estimate is the best linear one; its
interval is Student's, Bonferroni over the entries. "holds": every interval lies within the margin of the claim;
"fails": one lies outside; "undecided" otherwise. A law gives a third of the error each to its mean, its covariance and
its shape. The shape is the distance of each whitened coordinate's distribution function from the Gaussian one. It is
within `sqrt(log(2 d / alpha) / (2 N))` of what is measured (Dvoretzky, Kiefer and Wolfowitz; the constant is Massart's,
Ann. Probab. 18, 1990).

Their rates of false alarms and their powers: `tpdyn.claims.rates`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from scipy import stats

Verdict = Literal["holds", "fails", "undecided"]
Array = np.ndarray[Any, np.dtype[np.float64]]

CROSSOVER = 4.0
"""The width at which a finite-width term of an expectation may be as large as the limit."""


@final
@dataclass(frozen=True, slots=True)
class Evidence:
    """What the numbers say. worst: the entry furthest from its claim, its estimate and interval, and what was claimed."""

    verdict: Verdict
    worst: str


def means(
    widths: Sequence[int],
    values: Array,
    claimed: Array,
    scale: Array,
    margin: float,
    confidence: float,
    *,
    crossover: float = CROSSOVER,
) -> Evidence:
    """Judge the limit of means. values: "width seed entry"; claimed, scale: "entry", the margin being relative to scale."""
    n = np.asarray(widths, dtype=np.float64)
    seeds, entries = values.shape[1], values.shape[2]
    hidden = sum(np.outer(x, x) for x in ((crossover / n) ** k for k in (1, 2)))
    quantile = float(stats.t.ppf(1 - (1 - confidence) / (2 * entries), max(seeds - 1, 1)))
    averages, noise = values.mean(axis=1), values.var(axis=1, ddof=1) / seeds
    low, high, centres = np.empty(entries), np.empty(entries), np.empty(entries)
    for k in range(entries):
        covariance = scale[k] ** 2 * hidden + np.diag(noise[:, k] + 1e-24)
        solved = np.linalg.solve(covariance, np.ones(len(n)))
        weights = solved / solved.sum()
        half = quantile / math.sqrt(solved.sum())
        centres[k] = weights @ averages[:, k]
        low[k], high[k] = (centres[k] - half - claimed[k]) / scale[k], (centres[k] + half - claimed[k]) / scale[k]
    k = int(np.argmax(np.maximum(np.abs(low), np.abs(high))))
    outside = np.flatnonzero((low > margin) | (high < -margin))
    if len(outside):
        k = int(outside[np.argmax(np.abs(centres - claimed)[outside] / scale[outside])])
    ends = claimed[k] + scale[k] * low[k], claimed[k] + scale[k] * high[k]
    worst = f"entry {k}: {centres[k]:.4g} in [{ends[0]:.4g}, {ends[1]:.4g}], claimed {claimed[k]:.4g} +- {margin * scale[k]:.2g}"
    if len(outside):
        return Evidence("fails", worst)
    return Evidence("holds" if np.maximum(np.abs(low), np.abs(high)).max() <= margin else "undecided", worst)


def limit(widths: Sequence[int], values: Array, claimed: Array, margin: float, confidence: float) -> Evidence:
    """Judge claimed limits of "width seed entry". The margin is relative to the largest claim (to 1 if all are zero)."""
    size = float(np.abs(claimed).max()) or 1.0
    return means(widths, values, claimed, np.full(claimed.size, size), margin, confidence)


def kernel(widths: Sequence[int], values: Array, claimed: Array, margin: float, confidence: float) -> Evidence:
    """Judge a claimed kernel of "width seed sample output"."""
    rows, columns = np.triu_indices(len(claimed))
    products = np.einsum("wsio,wsjo->wsij", values, values)[:, :, rows, columns] / values.shape[3]
    deviation = np.sqrt(np.diag(claimed))
    return means(widths, products, claimed[rows, columns], (deviation[rows] * deviation[columns]), margin, confidence)


def law(
    widths: Sequence[int], values: Array, mean: Array, covariance: Array, margin: float, confidence: float
) -> Evidence:
    """Judge a claimed Gaussian law of "width seed entry": mean, covariance, and shape at the largest width."""
    third = 1 - (1 - confidence) / 3
    deviation = np.sqrt(np.diag(covariance))
    parts = [
        means(widths, values, mean, deviation, margin, third),
        kernel(widths, (values - mean)[..., None], covariance, margin, third),
        shape(values[-1], mean, covariance, margin, third),
    ]
    order = ("fails", "undecided", "holds")
    what = ("mean", "covariance", "shape")
    worst = min(range(3), key=lambda k: order.index(parts[k].verdict))
    return Evidence(parts[worst].verdict, f"{what[worst]}: {parts[worst].worst}")


def shape(values: Array, mean: Array, covariance: Array, margin: float, confidence: float) -> Evidence:
    """Judge whether "seed entry", whitened, is Gaussian in each coordinate, by the distance of distribution functions."""
    white = np.linalg.solve(np.linalg.cholesky(covariance), (values - mean).T)
    count = white.shape[1]
    sorted_ = stats.norm.cdf(np.sort(white, axis=1))
    steps = np.arange(count + 1) / count
    distance = float(np.maximum(np.abs(sorted_ - steps[1:]), np.abs(sorted_ - steps[:-1])).max())
    reach = math.sqrt(math.log(2 * len(white) / (1 - confidence)) / (2 * count))
    told = f"distance {distance:.3f} +- {reach:.3f} of the distribution function, claimed within {margin:.2g}"
    if distance - reach > margin:
        return Evidence("fails", told)
    return Evidence("holds" if distance + reach <= margin else "undecided", told)
