"""What is known of powers? x^p is homogeneous of degree p. What else is true depends on whether p is a whole number.

The table holds `power` without facts that depend on p; `resolve` gives them for one p.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

from tpdyn.pointwise.function import Function, Parity, of_torch


def _sqrt_slope(torch: Any, x: Any) -> Any:
    return torch.rsqrt(x) / 2


def _sqrt_curvature(torch: Any, x: Any) -> Any:
    return -torch.rsqrt(x) / (4 * x)


def _rsqrt_slope(torch: Any, x: Any) -> Any:
    return -torch.rsqrt(x) / (2 * x)


def _rsqrt_curvature(torch: Any, x: Any) -> Any:
    return 3 * torch.rsqrt(x) / (4 * x * x)


def _reciprocal(torch: Any, x: Any) -> Any:
    return 1 / x


def _reciprocal_slope(torch: Any, x: Any) -> Any:
    return -1 / (x * x)


def _reciprocal_curvature(torch: Any, x: Any) -> Any:
    return 2 / (x * x * x)


def _power(torch: Any, x: Any, p: float) -> Any:
    return torch.pow(x, p)


def _power_slope(torch: Any, x: Any, p: float) -> Any:
    return p * torch.pow(x, p - 1)


def _power_curvature(torch: Any, x: Any, p: float) -> Any:
    return p * (p - 1) * torch.pow(x, p - 2)


def _homogeneous(
    name: str, value: Any, degree: Fraction, slope: str | None, parity: Parity = "neither", **facts: Any
) -> Function:
    return Function(name, value, slope=slope, parity=parity, degree=degree, growth=degree, **facts)


def resolve(function: Function, p: float) -> Function:
    """Resolve the facts of `power`, `power'` or `power''` for the exponent p (a float; read as the simplest near fraction)."""
    exponent = Fraction(p).limit_denominator(1024) - function.name.count("'")
    vanishes = function.name.count("'") > p >= 0 and Fraction(p).denominator == 1
    whole = exponent.denominator == 1
    parity: Parity = "neither" if not whole else "even" if exponent % 2 == 0 else "odd"
    taylor = None
    if whole and (exponent >= 0 or vanishes):
        c0, c1, c2, c3, c4 = (order == exponent and not vanishes for order in range(5))
        taylor = (c0, c1, c2, c3, c4)
    factor = math.prod(p - k for k in range(function.name.count("'")))  # of x^exponent
    return replace(
        function,
        degree=exponent,
        growth=exponent,
        parity=parity,
        taylor=taylor,
        nonnegative="no" if factor < 0 else "always" if parity != "odd" or factor == 0 else "kept",
        bounded=exponent == 0 or factor == 0,
        normalising=factor > 0 and parity != "even" and exponent < 1,
    )


EXPONENT: dict[str, Any] = {
    "parameters": ("p",),
    "examples": ((3.0,), (2.0,), (-2.0,), (1.5,), (-1.0,), (0.5,)),
    "resolve": resolve,
    "growth": None,
}

FAMILY = (
    _homogeneous("sqrt", of_torch("sqrt"), Fraction(1, 2), "sqrt'", nonnegative="always", normalising=True),
    _homogeneous("sqrt'", _sqrt_slope, Fraction(-1, 2), "sqrt''", nonnegative="always", normalising=True),
    _homogeneous("sqrt''", _sqrt_curvature, Fraction(-3, 2), None),
    _homogeneous("rsqrt", of_torch("rsqrt"), Fraction(-1, 2), "rsqrt'", nonnegative="always", normalising=True),
    _homogeneous("rsqrt'", _rsqrt_slope, Fraction(-3, 2), "rsqrt''"),
    _homogeneous("rsqrt''", _rsqrt_curvature, Fraction(-5, 2), None, nonnegative="always", normalising=True),
    _homogeneous("reciprocal", _reciprocal, Fraction(-1), "reciprocal'", "odd", nonnegative="kept", normalising=True),
    _homogeneous("reciprocal'", _reciprocal_slope, Fraction(-2), "reciprocal''", "even"),
    _homogeneous(
        "reciprocal''", _reciprocal_curvature, Fraction(-3), None, "odd", nonnegative="kept", normalising=True
    ),
    Function("power", _power, slope="power'", **EXPONENT),
    Function("power'", _power_slope, slope="power''", **EXPONENT),
    Function("power''", _power_curvature, **EXPONENT),
)
