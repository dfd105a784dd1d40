"""What is known of mish, x tanh(softplus x), hardswish and softsign? Linear to the right (softsign: bounded).

With w = tanh(softplus x): mish' = w + x (1 - w^2) sigmoid(x).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from tpdyn.pointwise.function import Function


def _mish(torch: Any, x: Any) -> Any:
    return x * torch.tanh(torch.nn.functional.softplus(x))


def _mish_slope(torch: Any, x: Any) -> Any:
    w = torch.tanh(torch.nn.functional.softplus(x))
    return w + x * (1 - w * w) * torch.sigmoid(x)


def _hardswish(torch: Any, x: Any) -> Any:
    return x * torch.clamp(x + 3, 0, 6) / 6


def _hardswish_slope(torch: Any, x: Any) -> Any:
    middle = x / 3 + 0.5
    return torch.where(x <= -3, torch.zeros_like(x), torch.where(x < 3, middle, torch.ones_like(x)))


def _hardsigmoid(torch: Any, x: Any) -> Any:
    return torch.clamp(x + 3, 0, 6) / 6


def _hardsigmoid_slope(torch: Any, x: Any) -> Any:
    return ((x > -3) & (x < 3)).to(x.dtype) / 6


FAMILY = (
    Function(
        "mish", _mish, slope="mish'", taylor=(False, True, True, True, True), growth=Fraction(1), nonnegative="kept"
    ),
    Function("mish'", _mish_slope, taylor=(True, True, True, True, True), nonnegative="kept", bounded=True),
    Function(
        "hardswish",
        _hardswish,
        slope="hardswish'",
        kinks=(-3.0, 3.0),
        taylor=(False, True, True, False, False),
        growth=Fraction(1),
        nonnegative="kept",
    ),
    Function(
        "hardswish'",
        _hardswish_slope,
        kinks=(-3.0, 3.0),
        taylor=(True, True, False, False, False),
        jumps=True,
        nonnegative="kept",
        bounded=True,
    ),
    Function(
        "hardsigmoid",
        _hardsigmoid,
        slope="hardsigmoid'",
        kinks=(-3.0, 3.0),
        taylor=(True, True, False, False, False),
        nonnegative="always",
        bounded=True,
    ),
    Function(
        "hardsigmoid'",
        _hardsigmoid_slope,
        kinks=(-3.0, 3.0),
        parity="even",
        taylor=(True, False, False, False, False),
        jumps=True,
        nonnegative="always",
        bounded=True,
    ),
)
