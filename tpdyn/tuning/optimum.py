"""Where is the best learning rate (or other hyperparameter) at each width, and does it move with the width?

Each seed gives one curve at each width: the loss over the logarithm of the factor. Its optimum is the vertex of the
parabola through the lowest point and its neighbours. The loss is smooth there and the grid is coarse. Beside a cliff the
parabola is left out. Then the optimum is the lowest point, give or take half of the grid's spacing.

The exponent of one seed is the slope of log optimum over log width. Seeds are independent. So optima and exponent get
intervals of Student's t over seeds, widened by what the grid leaves open. The exponent holds for these widths. The theory's
number for the limit is another one (`predicted.py`).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import stats

from tpdyn.tuning.sweep import Sweep

CONFIDENCE = 0.95
MARGIN = 0.25
"""Half of the distance between neighbouring exponents (multiples of 1/2)."""

ROUND_OFF = 1e-9
"""A smaller exponent counts as 0: all optima lie at the same point of the grid."""

CLIFF = 9.0
"""The ratio of the two rises beside the lowest point from which on the steep one counts as a cliff. There no parabola is
fitted, unless the gentle side is curved, too (by at least the inverse of this ratio).

Let the vertex lie d of the spacing beside the lowest point. Then a parabola's rises have the ratio (1 + 2 d) / (1 - 2 d).
The value 9 is d = 0.4. A parabola has the same curvature everywhere.
"""


@final
@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with [low, high], at `CONFIDENCE` unless another one was asked for."""

    estimate: float
    low: float
    high: float


@final
@dataclass(frozen=True, slots=True)
class Transfer:
    """The best factor of each width (natural units), its loss, and the exponent with which it moves.

    edges: widths whose optimum lies at an end of the grid for some seed. The true optimum may lie beyond, so the exponent is
    a bound there, not an estimate. stable: the theory's largest stable power of the width for all learning rates
    (`tpdyn.tuning.predicted`). It is None if there is none, or if it was not asked for.
    """

    sweep: Sweep
    best: tuple[Interval, ...]
    loss: tuple[float, ...]
    exponent: Interval
    edges: tuple[int, ...]
    stable: Fraction | None = None

    @property
    def moves(self) -> bool | None:
        """Whether the optimum moves with the width; None if the runs show neither.

        False: the whole interval of the exponent lies within `MARGIN` of 0, and all optima lie inside the grid. True: the
        interval excludes 0.
        """
        if not self.edges and max(-self.exponent.low, self.exponent.high) <= MARGIN:
            return False
        return True if max(self.exponent.low, -self.exponent.high) > ROUND_OFF else None

    def to_dict(self) -> dict[str, Any]:
        """Write all of it as JSON data; a loss that diverged is null."""
        sweep = self.sweep
        return {
            "name": sweep.name,
            "hyperparameter": sweep.hyperparameter,
            "moves": self.moves,
            "exponent": asdict(self.exponent),
            "stable": None if self.stable is None else str(self.stable),
            "steps": sweep.steps,
            "factors": list(sweep.factors),
            "widths": [
                {
                    "width": width,
                    "best": asdict(best),
                    "loss": loss,
                    "at_the_end_of_the_grid": width in self.edges,
                    "losses": [[value if math.isfinite(value) else None for value in row] for row in losses.tolist()],
                }
                for width, best, loss, losses in zip(sweep.widths, self.best, self.loss, sweep.losses, strict=True)
            ],
        }


def locate(sweep: Sweep, *, confidence: float = CONFIDENCE) -> Transfer:
    """Locate the optimum at each width, with intervals over seeds. confidence: of each interval.

    Raises ValueError if all runs of one width and seed diverged.
    """
    logs = np.log(np.asarray(sweep.factors))
    optima = np.empty((len(sweep.widths), len(sweep.seeds)))
    left_open = np.zeros_like(optima)
    edges = set()
    for i, width in enumerate(sweep.widths):
        for s in range(len(sweep.seeds)):
            curve = sweep.losses[i, :, s]
            if not np.isfinite(curve).any():
                raise ValueError(f"every run at width {width}, seed {s} diverged; try smaller factors")
            found_here = vertex(logs, curve)
            optima[i, s], left_open[i, s] = found_here.at, found_here.left_open
            if found_here.at_edge:
                edges.add(width)
    sizes = np.log(np.asarray(sweep.widths, dtype=np.float64))
    weights = (sizes - sizes.mean()) / ((sizes - sizes.mean()) ** 2).sum()
    # What the grid leaves open is the same for all seeds, and uniform: its variance is a third of its reach squared.
    open_ = left_open.max(axis=1)
    normal = float(stats.norm.ppf(0.5 + confidence / 2))
    exponent = _interval(weights @ optima, confidence, normal * math.sqrt(float((weights**2 * open_**2).sum()) / 3))
    best = tuple(
        _exponential(_interval(row, confidence, float(reach))) for row, reach in zip(optima, open_, strict=True)
    )
    lowest = tuple(float(np.nanmin(np.mean(losses, axis=-1))) for losses in sweep.losses)  # NaN: not run
    return Transfer(sweep, best, lowest, exponent, tuple(sorted(edges)))


class Vertex(NamedTuple):
    """Where a curve is lowest, how wrong this may be, and whether it is an end of the grid."""

    at: float
    left_open: float
    at_edge: bool


def vertex(x: Float[NDArray[np.float64], " point"], y: Float[NDArray[np.float64], " point"]) -> Vertex:
    """Find the vertex of the parabola through the lowest point and its two neighbours.

    If a neighbour diverged or stands on a cliff (`CLIFF`), answer with the lowest point. It is right to half of the
    spacing.

    >>> vertex(np.array([0.0, 1.0, 2.0]), np.array([2.0, 1.0, 2.0]))
    Vertex(at=1.0, left_open=0.0, at_edge=False)
    """
    lowest = int(np.argmin(np.where(np.isfinite(y), y, np.inf)))
    if lowest in (0, len(x) - 1):
        return Vertex(float(x[lowest]), float(np.diff(x).max()) / 2, True)
    near = slice(lowest - 1, lowest + 2)
    spacing = float(np.diff(x[near]).max()) / 2
    if not np.isfinite(y[near]).all() or _beside_a_cliff(y, lowest):
        return Vertex(float(x[lowest]), spacing, False)
    a, b, _ = np.polyfit(x[near] - x[lowest], y[near], 2)
    if a <= 0:
        return Vertex(float(x[lowest]), spacing, False)
    return Vertex(float(np.clip(x[lowest] - b / (2 * a), x[lowest - 1], x[lowest + 1])), 0.0, False)


def _beside_a_cliff(y: Float[NDArray[np.float64], " point"], lowest: int) -> bool:
    left, right = y[lowest - 1] - y[lowest], y[lowest + 1] - y[lowest]
    if max(left, right) <= CLIFF * min(left, right):
        return False
    gentle = lowest - 1 if left < right else lowest + 1
    if gentle in (0, len(y) - 1):
        return True
    return not CLIFF * (y[gentle - 1] - 2 * y[gentle] + y[gentle + 1]) > left + right  # second differences


def _interval(values: NDArray[np.float64], confidence: float, more: float = 0.0) -> Interval:
    """Compute mean and interval over the seeds; more: the reach of an independent error."""
    mean = float(values.mean())
    half = float(stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    half = math.hypot(half, more)
    return Interval(mean, mean - half, mean + half)


def _exponential(logs: Interval) -> Interval:
    return Interval(math.exp(logs.estimate), math.exp(logs.low), math.exp(logs.high))
