"""What is known of tanh? Odd, bounded, smooth, with a scale of its own."""

from __future__ import annotations

from typing import Any

from tpdyn.pointwise.function import EVEN, ODD, Function, of_torch


def _slope(torch: Any, x: Any) -> Any:
    t = torch.tanh(x)
    return 1 - t * t


def _curvature(torch: Any, x: Any) -> Any:
    t = torch.tanh(x)
    return -2 * t * (1 - t * t)


def _jerk(torch: Any, x: Any) -> Any:
    t = torch.tanh(x)
    return (1 - t * t) * (6 * t * t - 2)


FAMILY = (
    Function("tanh", of_torch("tanh"), slope="tanh'", parity="odd", taylor=ODD, nonnegative="kept", bounded=True),
    Function("tanh'", _slope, slope="tanh''", parity="even", taylor=EVEN, nonnegative="always", bounded=True),
    Function("tanh''", _curvature, slope="tanh'''", parity="odd", taylor=ODD, bounded=True),
    Function("tanh'''", _jerk, parity="even", taylor=EVEN, bounded=True),
)
