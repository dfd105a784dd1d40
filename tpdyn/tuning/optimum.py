"""Where is the best learning rate at each width, and does it move with the width?

Each seed gives one curve of the loss over the logarithm of the rate at each width; its optimum is the vertex of the
parabola through the lowest point and its neighbours (the loss is smooth there, the grid is coarse). The seeds are
independent, so the optimum of a width and the exponent of its motion, the slope of log optimum over log width of each seed,
have intervals of Student's t over seeds. The exponent is that over these widths; what the theory says of the limit
is another number (`predicted.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import final

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import stats

from tpdyn.tuning.sweep import Sweep

CONFIDENCE = 0.95
MARGIN = 0.25
"""Half of the distance between neighbouring exponents (multiples of 1/2)."""

ROUND_OFF = 1e-9
"""An exponent nearer to 0 is 0: that of optima which all lie at the same point of the grid."""


@final
@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with [low, high] at `CONFIDENCE`."""

    estimate: float
    low: float
    high: float


@final
@dataclass(frozen=True, slots=True)
class Transfer:
    """The best factor of each width (natural units), its loss, and the exponent with which it moves.

    edges: widths whose optimum lies at an end of the grid for some seed: then the true one may lie beyond, and the
    exponent is a bound rather than an estimate. stable: the theory's largest stable power of the width for all rates
    (`tpdyn.tuning.predicted`); None if there is none, or it was not asked for.
    """

    sweep: Sweep
    best: tuple[Interval, ...]
    loss: tuple[float, ...]
    exponent: Interval
    edges: tuple[int, ...]
    stable: Fraction | None = None

    @property
    def moves(self) -> bool | None:
        """Whether the optimum moves: no when the whole interval of the exponent lies within `MARGIN` of 0 (and no optimum
        at an end of the grid), yes when it excludes 0, None when neither is shown."""
        if not self.edges and max(-self.exponent.low, self.exponent.high) <= MARGIN:
            return False
        return True if max(self.exponent.low, -self.exponent.high) > ROUND_OFF else None


def locate(found: Sweep) -> Transfer:
    """The optimum at each width, with intervals over seeds.

    Raises ValueError when all runs of some width and seed diverged.
    """
    logs = np.log(np.asarray(found.factors))
    optima = np.empty((len(found.widths), len(found.seeds)))
    edges = set()
    for i, width in enumerate(found.widths):
        for s in range(len(found.seeds)):
            curve = found.losses[i, :, s]
            if not np.isfinite(curve).any():
                raise ValueError(f"every run at width {width}, seed {s} diverged; try smaller factors")
            optima[i, s], at_edge = vertex(logs, curve)
            if at_edge:
                edges.add(width)
    sizes = np.log(np.asarray(found.widths, dtype=np.float64))
    centred = sizes - sizes.mean()
    slopes = centred @ optima / (centred @ centred)
    best = tuple(_exponential(_interval(row)) for row in optima)
    lowest = tuple(float(np.min(np.mean(losses, axis=-1))) for losses in found.losses)
    return Transfer(found, best, lowest, _interval(slopes), tuple(sorted(edges)))


def vertex(x: Float[NDArray[np.float64], " point"], y: Float[NDArray[np.float64], " point"]) -> tuple[float, bool]:
    """Where the parabola through the lowest point and its two neighbours is lowest; whether the point is at an end.

    A neighbour that diverged (infinite) counts as an end of what can be fitted, not of the grid: then the lowest point
    itself is the answer.

    >>> vertex(np.array([0.0, 1.0, 2.0]), np.array([2.0, 1.0, 2.0]))
    (1.0, False)
    """
    lowest = int(np.argmin(np.where(np.isfinite(y), y, np.inf)))
    if lowest in (0, len(x) - 1):
        return float(x[lowest]), True
    near = slice(lowest - 1, lowest + 2)
    if not np.isfinite(y[near]).all():
        return float(x[lowest]), False
    a, b, _ = np.polyfit(x[near] - x[lowest], y[near], 2)
    if a <= 0:
        return float(x[lowest]), False
    return float(np.clip(x[lowest] - b / (2 * a), x[lowest - 1], x[lowest + 1])), False


def _interval(values: NDArray[np.float64]) -> Interval:
    mean = float(values.mean())
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)


def _exponential(logs: Interval) -> Interval:
    return Interval(math.exp(logs.estimate), math.exp(logs.low), math.exp(logs.high))
