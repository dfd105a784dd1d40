"""What is known of clamping to [low, high]? Linear inside, constant outside; which of it holds at 0 depends on the ends.

The slope counts the ends as inside, as torch's autograd of `clamp` does.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

from tpdyn.pointwise.function import Function, Parity


def _clamp(torch: Any, x: Any, low: float, high: float) -> Any:
    return torch.clamp(x, low, high)


def _inside(torch: Any, x: Any, low: float, high: float) -> Any:
    return ((x >= low) & (x <= high)).to(x.dtype)


def resolve(function: Function, low: float, high: float) -> Function:
    """Resolve the facts of `clamp` or `inside` for one interval."""
    symmetric = low == -high
    inside = function.name == "inside"
    parity: Parity = "neither" if not symmetric else "even" if inside else "odd"
    growth = Fraction(0) if inside or (math.isfinite(low) and math.isfinite(high)) else Fraction(1)
    taylor = None
    if low < 0 < high:
        taylor = (inside, not inside, False, False, False)
    elif low > 0 or high < 0:
        taylor = (not inside, False, False, False, False)
    at_zero = 0 in (low, high)  # one end: to one side it is zero (or nothing is inside), to the other as within
    alone = at_zero and math.inf in (-low, high)
    breaks: Parity = ("odd" if inside else "even") if alone else parity
    return replace(
        function,
        degree=Fraction(0 if inside else 1) if alone else None,
        near_zero=Fraction(1 if at_zero and not inside and not alone else 0),
        breaks=breaks,
        parity=parity,
        growth=growth,
        taylor=taylor,
        nonnegative="always" if inside or low >= 0 else "kept" if high >= 0 else "no",
        bounded=growth == 0,
        kinks=tuple(end for end in (low, high) if math.isfinite(end)),
    )


INTERVAL: dict[str, Any] = {
    "parameters": ("low", "high"),
    "examples": ((-1.0, 1.0), (0.5, 2.0), (-1.0, math.inf), (0.0, 6.0), (-2.0, 1.0), (-2.0, -1.0), (0.0, math.inf)),
    "resolve": resolve,
}

FAMILY = (
    Function("clamp", _clamp, slope="inside", growth=Fraction(1), **INTERVAL),
    Function("inside", _inside, jumps=True, nonnegative="always", bounded=True, **INTERVAL),
)
