"""Does a measured part of a linear layer's change have the predicted order, behind a larger one that falls?

The change of `W x` is `W0 dx + dW x0 + dW dx`, and the bias. The runs measure each part. The whole is at least as large as its
largest part, but for a cancellation. So a part with the predicted order leads at large widths, whatever hides it before.
A selective scan under the maximal update shows it. The projection to its states moves with `W0 dx` first, which falls as
n^-1/2. Up to width 1000 that is more than what its own update gives, which stays.
"""

from __future__ import annotations

import numpy as np

from tpdyn.claims.statistics import estimate_order, judge
from tpdyn.exponents import Order, show_order
from tpdyn.measuring.measurement import SPLIT, Measurement

SHARE = 0.1
"""Smaller parts of the change at the largest width do not count. What is close to nothing may have any order."""


def leading_later(
    measurement: Measurement, name: str, step: int, order: Order, confidence: float, margin: float
) -> str:
    """Explain why a change that is measured below its order may still become it. Empty if no measured part may have that order."""
    k = measurement.index(name)
    changes = np.where(measurement.completed, measurement.change[:, :, step, k], np.nan)[-1]
    if np.isnan(changes).all():  # the largest width was not run yet
        return ""
    whole = float(np.nanmean(changes))
    for number, part in enumerate(SPLIT):
        values = np.where(measurement.completed, measurement.split[:, :, step, k, number], np.nan)
        if not np.isfinite(values[-1]).any() or not float(np.nanmean(values[-1])) >= SHARE * whole > 0:
            continue
        estimate = estimate_order(measurement.widths, values, confidence=confidence)
        if estimate is not None and judge(order, estimate, margin=margin) != "disagrees":
            return (
                f"change: its part {part} measures {estimate}, and theory says {show_order(order)}. "
                "Another part, which falls, is larger at these widths"
            )
    return ""
