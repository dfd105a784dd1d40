"""What is known of ELU and SELU? scale * x to the right, scale * alpha * (exp(rate x) - 1) to the left of zero.

Parameters as in torch: alpha, scale, rate (`input_scale`). Not smooth at 0, even when its slope is continuous there.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from tpdyn.pointwise.function import Function


def _elu(torch: Any, x: Any, alpha: float, scale: float, rate: float) -> Any:
    return torch.where(x > 0, scale * x, scale * alpha * torch.expm1(rate * torch.clamp(x, max=0.0)))


def _slope(torch: Any, x: Any, alpha: float, scale: float, rate: float) -> Any:
    left = scale * alpha * rate * torch.exp(rate * torch.clamp(x, max=0.0))
    return torch.where(x > 0, torch.full_like(x, scale), left)


def resolve(function: Function, alpha: float, scale: float, rate: float) -> Function:
    """The facts of `elu` or its slope for these parameters: the slope jumps at 0 unless alpha * rate = 1."""
    return replace(function, jumps=function.name == "elu'" and scale != 0 and alpha * rate != 1)


FAMILY = (
    Function("elu", _elu, slope="elu'", growth=Fraction(1)),
    Function("elu'", _slope),
)
