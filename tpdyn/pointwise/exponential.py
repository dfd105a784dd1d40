"""What is known of exp and log? exp outgrows every power. Log is slower than every power, and singular at zero."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from tpdyn.pointwise import expectations
from tpdyn.pointwise.function import Function, of_torch


def _log1p_slope(torch: Any, x: Any) -> Any:
    return 1 / (1 + x)


FAMILY = (
    Function(
        "exp",
        of_torch("exp"),
        slope="exp",
        taylor=(True,) * 5,
        growth=None,
        nonnegative="always",
        expected_product=expectations.exp,
    ),
    Function(
        "expm1", of_torch("expm1"), slope="exp", taylor=(False, True, True, True, True), growth=None, nonnegative="kept"
    ),
    Function("log", of_torch("log"), slope="reciprocal", logarithmic=True),
    Function("log1p", of_torch("log1p"), slope="log1p'", taylor=(False, True, True, True, True), nonnegative="kept"),
    Function("log1p'", _log1p_slope, taylor=(True,) * 5, growth=Fraction(-1), nonnegative="kept"),
)
