"""What is known of choices? maximum, minimum and where are homogeneous in their candidates. Comparisons jump.

A comparison gives 0 and 1 in the float type of its arguments. So a program computes with a single type. The mask of `where`
(0 or 1) is not scaled: its degree is in its last two arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from tpdyn.pointwise.function import Function, of_torch

ONE, ZERO = Fraction(1), Fraction(0)


def _where(torch: Any, mask: Any, x: Any, y: Any) -> Any:
    return torch.where(mask != 0, x, y)


def _isfinite(torch: Any, x: Any) -> Any:
    return _as_float(torch, torch.isfinite(x), x)


def _isnan(torch: Any, x: Any) -> Any:
    return _as_float(torch, torch.isnan(x), x)


def _not(torch: Any, x: Any) -> Any:
    return _as_float(torch, x == 0, x)


def _as_float(torch: Any, mask: Any, like: Any) -> Any:
    return mask.to(like.dtype if like.dtype.is_floating_point else torch.get_default_dtype())


def _comparison(name: str, test: Callable[[Any, Any], Any]) -> Function:
    def value(torch: Any, x: Any, y: Any) -> Any:
        return _as_float(torch, test(x, y), x)

    return Function(name, value, arity=2, degree=ZERO, jumps=True, nonnegative="always", bounded=True)


def _test(name: str, value: Callable[..., Any]) -> Function:
    return Function(name, value, degree=ZERO, parity="even", jumps=True, nonnegative="always", bounded=True)


FAMILY = (
    Function("maximum", of_torch("maximum"), arity=2, degree=ONE, growth=ONE, nonnegative="kept", chooses="largest"),
    Function("minimum", of_torch("minimum"), arity=2, degree=ONE, growth=ONE, nonnegative="kept", chooses="smallest"),
    Function("where", _where, arity=3, degree=ONE, growth=ONE, nonnegative="kept", chooses="masked"),
    _comparison("greater", lambda x, y: x > y),
    _comparison("greater_equal", lambda x, y: x >= y),
    _comparison("less", lambda x, y: x < y),
    _comparison("less_equal", lambda x, y: x <= y),
    _comparison("equal", lambda x, y: x == y),
    _comparison("not_equal", lambda x, y: x != y),
    _comparison("logical_and", lambda x, y: (x != 0) & (y != 0)),
    _comparison("logical_or", lambda x, y: (x != 0) | (y != 0)),
    _test("logical_not", _not),
    _test("isfinite", _isfinite),
    _test("isnan", _isnan),
)
