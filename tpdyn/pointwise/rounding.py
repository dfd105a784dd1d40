"""What is known of rounding? It is as large as its argument, if that is large. It has steps of height one, with slope zero."""

from __future__ import annotations

from fractions import Fraction

from tpdyn.pointwise.function import Function, of_torch

ONE = Fraction(1)


FAMILY = (
    Function("round", of_torch("round"), parity="odd", growth=ONE, taylor=(False,) * 5, jumps=True, nonnegative="kept"),
    Function("floor", of_torch("floor"), growth=ONE, jumps=True, breaks="odd", nonnegative="kept"),
    Function("ceil", of_torch("ceil"), growth=ONE, jumps=True, breaks="odd", nonnegative="kept"),
)
