"""What is known of rounding? It is as large as its argument, if that is large. It has steps of height one, with slope zero."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from tpdyn.pointwise.function import Function

ONE = Fraction(1)


def _round(torch: Any, x: Any) -> Any:
    return torch.round(x)


def _floor(torch: Any, x: Any) -> Any:
    return torch.floor(x)


def _ceil(torch: Any, x: Any) -> Any:
    return torch.ceil(x)


FAMILY = (
    Function("round", _round, parity="odd", growth=ONE, taylor=(False,) * 5, jumps=True, nonnegative="kept"),
    Function("floor", _floor, growth=ONE, jumps=True, breaks="odd", nonnegative="kept"),
    Function("ceil", _ceil, growth=ONE, jumps=True, breaks="odd", nonnegative="kept"),
)
