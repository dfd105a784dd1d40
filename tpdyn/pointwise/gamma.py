"""What is known of log Gamma and its derivatives? They are in the densities and entropies of Beta, Gamma and Dirichlet.

Log Gamma grows as x log x, digamma as log x, and trigamma falls as 1/x (NIST DLMF 5.11). At 0 the function itself is like
-log x, its derivatives like -1/x and 1/x^2 (DLMF 5.7). They are read at positive numbers, where densities take them.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from tpdyn.pointwise.function import Function


def _lgamma(torch: Any, x: Any) -> Any:
    return torch.where(x > 0, torch.lgamma(x), math.nan)


def _digamma(torch: Any, x: Any) -> Any:
    return torch.where(x > 0, torch.digamma(x), math.nan)


def _trigamma(torch: Any, x: Any) -> Any:
    return torch.where(x > 0, torch.polygamma(1, x), math.nan)


FAMILY = (
    Function("lgamma", _lgamma, slope="digamma", growth=Fraction(1)),
    Function("digamma", _digamma, slope="digamma'", near_zero=Fraction(-1)),
    Function("digamma'", _trigamma, near_zero=Fraction(-2), growth=Fraction(-1), nonnegative="always"),
)
