"""What is known of softmax? It normalises along one axis (`Apply.along`), is bounded, and has a scale of its own.

`value(torch, x, dim)`; Taylor facts are those along a generic direction. Its derivative needs more than one function of
numbers, so `slope` is None: recordings spell it out.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from tpdyn.pointwise.function import Function


def _softmax(torch: Any, x: Any, dim: int) -> Any:
    return torch.softmax(x, dim)


def _log_softmax(torch: Any, x: Any, dim: int) -> Any:
    return torch.log_softmax(x, dim)


FAMILY = (
    Function("softmax", _softmax, taylor=(True,) * 5, nonnegative="always", bounded=True, along="shares"),
    Function("log_softmax", _log_softmax, taylor=(True,) * 5, growth=Fraction(1), along="logarithms"),
)
