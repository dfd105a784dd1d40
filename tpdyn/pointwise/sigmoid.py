"""What is known of the logistic function and what is built on it? sigmoid, silu = x sigmoid(x), softplus = its integral.

softplus(x; beta, threshold) = log(1 + exp(beta x)) / beta, and x where beta x > threshold, as in torch.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from tpdyn.pointwise.function import EVEN, ODD, Function, of_torch


def _sigmoid_slope(torch: Any, x: Any) -> Any:
    s = torch.sigmoid(x)
    return s * (1 - s)


def _sigmoid_curvature(torch: Any, x: Any) -> Any:
    s = torch.sigmoid(x)
    return s * (1 - s) * (1 - 2 * s)


def _silu(torch: Any, x: Any) -> Any:
    return x * torch.sigmoid(x)


def _silu_slope(torch: Any, x: Any) -> Any:
    s = torch.sigmoid(x)
    return s * (1 + x * (1 - s))


def _silu_curvature(torch: Any, x: Any) -> Any:
    s = torch.sigmoid(x)
    return s * (1 - s) * (2 + x * (1 - 2 * s))


def _softplus(torch: Any, x: Any, beta: float, threshold: float) -> Any:
    return torch.nn.functional.softplus(x, beta, threshold)


def _softplus_slope(torch: Any, x: Any, beta: float, threshold: float) -> Any:
    return torch.where(beta * x > threshold, torch.ones_like(x), torch.sigmoid(beta * x))


def _softplus_curvature(torch: Any, x: Any, beta: float, threshold: float) -> Any:
    return torch.where(beta * x > threshold, torch.zeros_like(x), beta * _sigmoid_slope(torch, beta * x))


def _log_sigmoid(torch: Any, x: Any) -> Any:
    return torch.nn.functional.logsigmoid(x)


def _log_sigmoid_slope(torch: Any, x: Any) -> Any:
    return torch.sigmoid(-x)


def resolve(function: Function, beta: float, _: float) -> Function:
    """Resolve the facts of `softplus` or its curvature for these parameters: both have the sign of beta."""
    return replace(function, nonnegative="always" if beta > 0 else "no")


ONE = Fraction(1)

RAMP = (True, True, False, True, False)
SOFT: dict[str, Any] = {"parameters": ("beta", "threshold"), "examples": ((1.0, 20.0), (2.0, 30.0))}

FAMILY = (
    Function("sigmoid", of_torch("sigmoid"), slope="sigmoid'", taylor=RAMP, nonnegative="always", bounded=True),
    Function(
        "sigmoid'", _sigmoid_slope, slope="sigmoid''", parity="even", taylor=EVEN, nonnegative="always", bounded=True
    ),
    Function("sigmoid''", _sigmoid_curvature, parity="odd", taylor=ODD, bounded=True),
    Function("silu", _silu, slope="silu'", taylor=(False, True, True, False, True), growth=ONE, nonnegative="kept"),
    Function("silu'", _silu_slope, slope="silu''", taylor=RAMP, nonnegative="kept", bounded=True),
    Function("silu''", _silu_curvature, parity="even", taylor=EVEN, bounded=True),
    Function(
        "softplus",
        _softplus,
        slope="softplus'",
        taylor=(True, True, True, False, True),
        growth=ONE,
        resolve=resolve,
        **SOFT,
    ),
    Function("softplus'", _softplus_slope, slope="softplus''", taylor=RAMP, nonnegative="always", bounded=True, **SOFT),
    Function("softplus''", _softplus_curvature, taylor=EVEN, bounded=True, resolve=resolve, **SOFT),
    Function("log_sigmoid", _log_sigmoid, slope="log_sigmoid'", taylor=(True, True, True, False, True), growth=ONE),
    Function("log_sigmoid'", _log_sigmoid_slope, taylor=RAMP, nonnegative="always", bounded=True),
)
