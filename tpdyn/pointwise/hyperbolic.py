"""What is known of the hyperbolic functions and of arcs? sinh and cosh outgrow every power. Arcs are slow or bounded.

`atan2(y, x)` is the angle of a point. It does not change when both grow together, and jumps where the angle is pi.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from tpdyn.pointwise.function import EVEN, ODD, Function, of_torch


def _atan_slope(torch: Any, x: Any) -> Any:
    return 1 / (1 + x * x)


def _atan_curvature(torch: Any, x: Any) -> Any:
    return -2 * x / (1 + x * x) ** 2


def _asinh_slope(torch: Any, x: Any) -> Any:
    return torch.rsqrt(1 + x * x)


FAMILY = (
    Function("sinh", of_torch("sinh"), slope="cosh", parity="odd", taylor=ODD, growth=None, nonnegative="kept"),
    Function("cosh", of_torch("cosh"), slope="sinh", parity="even", taylor=EVEN, growth=None, nonnegative="always"),
    Function("atan", of_torch("atan"), slope="atan'", parity="odd", taylor=ODD, nonnegative="kept", bounded=True),
    Function(
        "atan'",
        _atan_slope,
        slope="atan''",
        parity="even",
        taylor=EVEN,
        growth=Fraction(-2),
        nonnegative="always",
        bounded=True,
    ),
    Function("atan''", _atan_curvature, parity="odd", taylor=ODD, growth=Fraction(-3), bounded=True),
    Function("asinh", of_torch("asinh"), slope="asinh'", parity="odd", taylor=ODD, nonnegative="kept"),
    Function(
        "asinh'", _asinh_slope, parity="even", taylor=EVEN, growth=Fraction(-1), nonnegative="always", bounded=True
    ),
    Function("atan2", of_torch("atan2"), arity=2, degree=Fraction(0), jumps=True, nonnegative="kept", bounded=True),
)
