"""What is known of the error function and its inverse? erf is odd, bounded, smooth; erfinv lives on (-1, 1)."""

from __future__ import annotations

import math
from typing import Any

from tpdyn.pointwise import expectations
from tpdyn.pointwise.function import EVEN, ODD, Function, of_torch


def _slope(torch: Any, x: Any) -> Any:
    return 2 / math.sqrt(math.pi) * torch.exp(-x * x)


def _curvature(torch: Any, x: Any) -> Any:
    return -4 / math.sqrt(math.pi) * x * torch.exp(-x * x)


def _erfinv_slope(torch: Any, x: Any) -> Any:
    return math.sqrt(math.pi) / 2 * torch.exp(torch.erfinv(x) ** 2)


FAMILY = (
    Function(
        "erf",
        of_torch("erf"),
        slope="erf'",
        parity="odd",
        taylor=ODD,
        nonnegative="kept",
        bounded=True,
        expected_product=expectations.erf,
        expected_both=expectations.erf_both,
    ),
    Function(
        "erf'",
        _slope,
        slope="erf''",
        parity="even",
        taylor=EVEN,
        nonnegative="always",
        bounded=True,
        expected_product=expectations.erf_slope,
    ),
    Function("erf''", _curvature, parity="odd", taylor=ODD, bounded=True),
    Function("erfinv", of_torch("erfinv"), slope="erfinv'", parity="odd", taylor=ODD, growth=None, nonnegative="kept"),
    Function("erfinv'", _erfinv_slope, parity="even", taylor=EVEN, growth=None, nonnegative="always"),
)
