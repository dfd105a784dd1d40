"""What is known of the piecewise linear functions? Homogeneous, with a kink or a jump at zero and no scale of their own.

At the kink itself the slopes follow torch's autograd. There relu and leaky_relu count 0 as negative, and abs has slope 0.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from tpdyn.pointwise import expectations
from tpdyn.pointwise.function import Function, of_torch

ONE, ZERO = Fraction(1), Fraction(0)


def _step(torch: Any, x: Any) -> Any:
    return (x > 0).to(x.dtype)


def _leaky_relu(torch: Any, x: Any, negative: float) -> Any:
    return torch.where(x > 0, x, negative * x)


def _leaky_step(torch: Any, x: Any, negative: float) -> Any:
    return torch.where(x > 0, torch.ones_like(x), torch.full_like(x, negative))


def resolve(function: Function, negative: float) -> Function:
    """Resolve the facts of `leaky_relu` or `leaky_step` for one slope to the left."""
    if function.name == "leaky_step":
        return replace(function, nonnegative="always" if negative >= 0 else "no", normalising=negative < 0)
    return replace(function, nonnegative="always" if negative <= 0 else "kept")


NEGATIVE: dict[str, Any] = {
    "parameters": ("negative",),
    "examples": ((0.01,), (0.3,), (-0.2,)),
    "resolve": resolve,
}

FAMILY = (
    Function(
        "relu",
        of_torch("relu"),
        slope="step",
        breaks="even",
        degree=ONE,
        growth=ONE,
        nonnegative="always",
        expected_product=expectations.relu,
        expected_both=expectations.relu_both,
        kinks=(0.0,),
    ),
    Function(
        "step",
        _step,
        breaks="odd",
        degree=ZERO,
        jumps=True,
        nonnegative="always",
        bounded=True,
        expected_product=expectations.step,
        kinks=(0.0,),
    ),
    Function(
        "sign",
        of_torch("sign"),
        parity="odd",
        degree=ZERO,
        jumps=True,
        nonnegative="kept",
        bounded=True,
        normalising=True,
        expected_product=expectations.sign,
        kinks=(0.0,),
    ),
    Function(
        "abs",
        of_torch("abs"),
        slope="sign",
        parity="even",
        degree=ONE,
        growth=ONE,
        nonnegative="always",
        expected_product=expectations.absolute,
        expected_both=expectations.absolute_both,
        kinks=(0.0,),
    ),
    Function(
        "leaky_relu",
        _leaky_relu,
        slope="leaky_step",
        breaks="even",
        degree=ONE,
        growth=ONE,
        nonnegative="kept",
        expected_product=expectations.leaky_relu,
        expected_both=expectations.leaky_relu_both,
        kinks=(0.0,),
        **NEGATIVE,
    ),
    Function(
        "leaky_step",
        _leaky_step,
        breaks="odd",
        degree=ZERO,
        jumps=True,
        bounded=True,
        expected_product=expectations.leaky_step,
        kinks=(0.0,),
        **NEGATIVE,
    ),
)
