"""Which values are to be expected at this width? Those of a smaller twin, carried along by the order that theory gives.

Let a run at width n have a value v. In a run of the same recipe at width m, v (m/n)^order is expected. The band goes
from the smallest of what the twins say to the largest, and as far as (m/n)^(1/4) beyond. Beyond it
the value is nearer to an order that is wrong by 1/2, the step of wrong scalings. The band is never narrower than the noise
of one seed.

Orders are those of a prediction. Without one they are 0, what the maximal update parametrization promises. Bands stand
around sizes and changes of outputs, which are means over many entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from tpdyn.monitoring.history import History
from tpdyn.monitoring.probe import Key
from tpdyn.regimes.prediction import Prediction

HALF_AN_ERROR = 1 / 4
"""Half of the distance to an order that is wrong by 1/2."""

NOISE = 1.5
"""Least factor of a band; see `benchmarks/monitoring.py --alarms` for how often it is left by chance."""

EXPECTED = ("size", "change")


@final
@dataclass(frozen=True)
class Band:
    """The lowest and the highest expected value of one key, at the steps of its twins."""

    steps: NDArray[np.int64]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]

    def at(self, step: int) -> tuple[float, float] | None:
        """Return the lowest and the highest expected value; None beyond the steps that the twins ran."""
        if step < self.steps[0] or step > self.steps[-1]:
            return None
        low, high = (float(np.interp(step, self.steps, each)) for each in (self.lowest, self.highest))
        return low, high


def bands(width: int, twins: Sequence[History], prediction: Prediction | None) -> Mapping[Key, Band]:
    """Return the band of each size and change that all twins have seen and whose order is known.

    Raises ValueError if a twin does not say its width.
    """
    if any(twin.width is None or twin.width < 1 for twin in twins):
        raise ValueError("a twin does not say its width; monitor it with `width=`")
    by_name = {}
    for what, name in twins[0].seen() if twins else ():
        order = _order(prediction, what, name) if what in EXPECTED else None
        carried = [] if order is None else [_carried(twin, what, name, width, order[0]) for twin in twins]
        if order is None or not all(carried):
            continue
        steps = sorted(set.intersection(*(set(each) for each in carried)))
        if steps:
            lowest, highest = (
                np.asarray([pick(each[step][side] for each in carried) for step in steps])
                for side, pick in ((0, min), (1, max))
            )
            by_name[what, name] = Band(np.asarray(steps), lowest * (not order[1]), highest)
    return by_name


def _carried(twin: History, what: str, name: str, width: int, exponent: float) -> dict[int, tuple[float, float]]:
    """Return, by step, the band that one twin makes expected at a width."""
    try:
        steps, values = twin.series(what, name)
    except KeyError:
        return {}
    ratio = width / (twin.width or 1)
    factor = max(NOISE, max(ratio, 1 / ratio) ** HALF_AN_ERROR)
    expected = values * ratio**exponent
    return {
        int(step): (float(value / factor), float(value * factor))
        for step, value in zip(steps, expected, strict=True)
        if np.isfinite(value) and value > 0
    }


def _order(prediction: Prediction | None, what: str, name: str) -> tuple[float, bool] | None:
    """Return the exponent of a module's size or change, and whether it only bounds from above."""
    if prediction is None:
        return 0.0, False
    for row in prediction.rows():
        if row.name == name and row.kind in ("module", "output") and not row.mixed:
            order = prediction.order(name, "size" if what == "size" else "change")
            return None if order is None else (float(order), row.at_most)
    return None
