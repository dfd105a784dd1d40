"""What is known of ELU and SELU? scale * x above zero, scale * alpha * (exp(rate x) - 1) below.

Parameters as in torch: alpha, scale, rate (`input_scale`). Not smooth at 0, even when its slope is continuous there.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from tpdyn.pointwise.function import Function, Parity


def _elu(torch: Any, x: Any, alpha: float, scale: float, rate: float) -> Any:
    return torch.where(x > 0, scale * x, scale * alpha * torch.expm1(rate * torch.clamp(x, max=0.0)))


def _slope(torch: Any, x: Any, alpha: float, scale: float, rate: float) -> Any:
    left = scale * alpha * rate * torch.exp(rate * torch.clamp(x, max=0.0))
    return torch.where(x > 0, torch.full_like(x, scale), left)


def resolve(function: Function, alpha: float, scale: float, rate: float) -> Function:
    """Resolve the facts of `elu` or its slope for these parameters. The slope jumps at 0 unless alpha * rate = 1 (rate > 0)."""
    if function.name == "elu":
        return replace(function, nonnegative="no" if scale < 0 else "always" if alpha <= 0 else "kept")
    positive = scale >= 0 and alpha * rate >= 0
    jumps = scale != 0 and alpha * rate != 1
    breaks: Parity = "odd" if jumps else "even"
    return replace(function, jumps=jumps, breaks=breaks, nonnegative="always" if positive else "no")


SHAPE: dict[str, Any] = {
    "parameters": ("alpha", "scale", "rate"),
    "examples": ((1.0, 1.0, 1.0), (1.6732632423543772, 1.0507009873554805, 1.0), (-0.5, 1.0, 1.0)),
    "resolve": resolve,
}

FAMILY = (
    Function(
        "elu", _elu, slope="elu'", near_zero=Fraction(1), breaks="even", growth=Fraction(1), kinks=(0.0,), **SHAPE
    ),
    Function("elu'", _slope, bounded=True, kinks=(0.0,), **SHAPE),
)
