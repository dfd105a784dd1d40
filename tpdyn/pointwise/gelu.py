"""What is known of GELU, x Phi(x), and of its tanh approximation? Smooth, linear growth to the right, even but for x/2.

With phi the Gaussian density: gelu' = Phi + x phi, gelu'' = (2 - x^2) phi. The approximation writes Phi as (1 + tanh u)/2
with u = sqrt(2/pi) (x + 0.044715 x^3). Source: arXiv 1606.08415.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from tpdyn.pointwise import expectations
from tpdyn.pointwise.function import Function

ROOT, CUBIC = math.sqrt(2 / math.pi), 0.044715


def _phi(torch: Any, x: Any) -> Any:
    return torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _gelu(torch: Any, x: Any) -> Any:
    return torch.nn.functional.gelu(x)


def _slope(torch: Any, x: Any) -> Any:
    return (1 + torch.erf(x / math.sqrt(2))) / 2 + x * _phi(torch, x)


def _curvature(torch: Any, x: Any) -> Any:
    return (2 - x * x) * _phi(torch, x)


def _jerk(torch: Any, x: Any) -> Any:
    return (x * x - 4) * x * _phi(torch, x)


def _approximate(torch: Any, x: Any) -> Any:
    return torch.nn.functional.gelu(x, approximate="tanh")


def _inner(torch: Any, x: Any) -> tuple[Any, Any, Any]:
    """Return tanh(u), u' and u''."""
    return torch.tanh(ROOT * (x + CUBIC * x**3)), ROOT * (1 + 3 * CUBIC * x * x), ROOT * 6 * CUBIC * x


def _approximate_slope(torch: Any, x: Any) -> Any:
    t, du, _ = _inner(torch, x)
    return (1 + t) / 2 + x / 2 * (1 - t * t) * du


def _approximate_curvature(torch: Any, x: Any) -> Any:
    t, du, ddu = _inner(torch, x)
    return (1 - t * t) * (du + x / 2 * ddu - x * t * du * du)


VALUE, SLOPE = (False, True, True, False, True), (True, True, False, True, False)
CURVATURE = (True, False, True, False, True)

FAMILY = (
    Function(
        "gelu",
        _gelu,
        slope="gelu'",
        taylor=VALUE,
        growth=Fraction(1),
        nonnegative="kept",
        expected_product=expectations.gelu,
        expected_both=expectations.gelu_both,
    ),
    Function(
        "gelu'",
        _slope,
        slope="gelu''",
        taylor=SLOPE,
        nonnegative="kept",
        bounded=True,
        expected_product=expectations.gelu_slope,
    ),
    Function("gelu''", _curvature, slope="gelu'''", parity="even", taylor=CURVATURE, bounded=True),
    Function("gelu'''", _jerk, parity="odd", taylor=(False, True, False, True, False), bounded=True),
    Function("gelu_tanh", _approximate, slope="gelu_tanh'", taylor=VALUE, growth=Fraction(1), nonnegative="kept"),
    Function("gelu_tanh'", _approximate_slope, slope="gelu_tanh''", taylor=SLOPE, nonnegative="kept", bounded=True),
    Function("gelu_tanh''", _approximate_curvature, parity="even", taylor=CURVATURE, bounded=True),
)
