"""What is known of sine and cosine? Bounded, smooth, odd and even."""

from __future__ import annotations

from typing import Any

from tpdyn.pointwise import expectations
from tpdyn.pointwise.function import EVEN, ODD, Function, of_torch


def _cos_slope(torch: Any, x: Any) -> Any:
    return -torch.sin(x)


def _cos_curvature(torch: Any, x: Any) -> Any:
    return -torch.cos(x)


FAMILY = (
    Function(
        "sin", of_torch("sin"), slope="cos", parity="odd", taylor=ODD, bounded=True, expected_product=expectations.sin
    ),
    Function(
        "cos",
        of_torch("cos"),
        slope="cos'",
        parity="even",
        taylor=EVEN,
        bounded=True,
        expected_product=expectations.cos,
    ),
    Function(
        "cos'", _cos_slope, slope="cos''", parity="odd", taylor=ODD, bounded=True, expected_product=expectations.sin
    ),
    Function(
        "cos''",
        _cos_curvature,
        slope="sin",
        parity="even",
        taylor=EVEN,
        bounded=True,
        expected_product=expectations.cos,
    ),
)
