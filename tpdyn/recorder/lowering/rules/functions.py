"""How do the rarer functions become instructions? By formulas in those that `tpdyn.pointwise` knows."""

from __future__ import annotations

import math
from typing import Any

from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.values import Handle, Number, Refusal, Tensor


def _of_log(factor: float) -> Rule:
    return lambda b, x, **_: b.combine([(factor, b.apply("log", x))])


def asin(b: LoweredBuilder, x: Any) -> Tensor:
    """Return atan(x / sqrt(1 - x^2))."""
    return b.apply("atan", b.product(x, b.apply("rsqrt", b.combine([(-1, b.product(x, x))], 1.0))))


def acos(b: LoweredBuilder, x: Any) -> Tensor:
    """Return pi/2 - asin x."""
    return b.combine([(-1, asin(b, x))], math.pi / 2)


def atanh(b: LoweredBuilder, x: Any) -> Tensor:
    """Return (log(1 + x) - log(1 - x)) / 2."""
    return b.combine([(0.5, b.apply("log1p", x)), (-0.5, b.apply("log1p", b.combine([(-1, x)])))])


def acosh(b: LoweredBuilder, x: Any) -> Tensor:
    """Return log(x + sqrt(x^2 - 1))."""
    root = b.apply("sqrt", b.combine([(1, b.product(x, x))], -1.0))
    return b.apply("log", b.combine([(1, x), (1, root)]))


def logit(b: LoweredBuilder, x: Any, eps: Number | None = None) -> Tensor:
    """Return log(x / (1 - x)), x kept eps away from the ends."""
    if eps is not None:
        x = b.apply("clamp", x, parameters=[eps, 1 - eps])
    return b.combine([(1, b.apply("log", x)), (-1, b.apply("log", b.combine([(-1, x)], 1.0)))])


def logit_backward(b: LoweredBuilder, grad: Any, x: Any, eps: Number | None = None) -> Tensor:
    """Return grad / (x (1 - x)), zero where x is kept away from the ends."""
    if eps is not None:
        grad = b.product(grad, b.apply("inside", x, parameters=[eps, 1 - eps]))
    return b.product(grad, b.apply("reciprocal", b.combine([(1, x), (-1, b.product(x, x))])))


def softshrink(b: LoweredBuilder, x: Any, limit: Number = 0.5) -> Tensor:
    """Return x - clamp(x)."""
    return b.combine([(1, x), (-1, b.apply("clamp", x, parameters=[-limit, limit]))])


def shrink_backward(b: LoweredBuilder, grad: Any, x: Any, limit: Number) -> Tensor:
    """Return grad outside of [-limit, limit]."""
    inside = b.apply("inside", x, parameters=[-limit, limit])
    return b.combine([(1, grad), (-1, b.product(grad, inside))])


def polygamma(b: LoweredBuilder, n: int, x: Any) -> Tensor:
    """Return the derivative of digamma, which the entropy of a Beta distribution has in its gradient."""
    if n != 1:
        raise Refusal(f"polygamma of order {n}; expected order 1, which gradients of digamma have")
    return b.apply("digamma'", x)


def logaddexp(b: LoweredBuilder, x: Any, y: Any) -> Tensor:
    """Return log(exp x + exp y) = y + softplus(x - y)."""
    return b.combine([(1, y), (1, b.apply("softplus", b.combine([(1, x), (-1, y)]), parameters=[1.0, math.inf]))])


def prelu(b: LoweredBuilder, x: Any, slope: Any) -> Tensor:
    """Return x, or slope * x to the left of 0: relu(x) - slope * relu(-x)."""
    left = b.apply("relu", b.combine([(-1, x)]))
    return b.combine([(1, b.apply("relu", x)), (-1, b.product(slope, left))])


def prelu_backward(b: LoweredBuilder, grad: Any, x: Any, slope: Any) -> tuple[Tensor, Tensor]:
    """Return the gradients of x and (not yet summed) of the slope."""
    right = b.apply("step", x)
    left = b.combine([(-1, right)], 1.0)
    factor = b.combine([(1, right), (1, b.product(slope, left))])
    return b.product(grad, factor), b.product(grad, b.product(x, left))


def glu(b: LoweredBuilder, x: Any, dim: int = -1) -> Tensor:
    """Return the first half times the sigmoid of the second half."""
    first, second = _halves(b, x, dim)
    return b.product(first, b.apply("sigmoid", second))


def glu_backward(b: LoweredBuilder, grad: Any, x: Any, dim: int) -> Tensor:
    """Return both halves' gradients, end to end."""
    first, second = _halves(b, x, dim)
    left = b.product(grad, b.apply("sigmoid", second))
    right = b.product(grad, b.product(first, b.apply("sigmoid'", second)))
    return b.concat([left, right], dim % len(b.shape(x)), b.shape(left))


def _halves(b: LoweredBuilder, x: Any, dim: int) -> tuple[Handle, Handle]:
    dim %= len(b.shape(x))
    half = b.shape(x)[dim] // 2
    return b.slice(x, dim, 0, 1, half), b.slice(x, dim, half, 1, half)


RULES: dict[str, Rule] = {
    "log2": _of_log(1 / math.log(2)),
    "log10": _of_log(1 / math.log(10)),
    "exp2": lambda b, x: b.apply("exp", b.combine([(math.log(2), x)])),
    "erfc": lambda b, x: b.combine([(-1, b.apply("erf", x))], 1.0),
    "tan": lambda b, x: b.product(b.apply("sin", x), b.apply("reciprocal", b.apply("cos", x))),
    "asin": asin,
    "acos": acos,
    "atanh": atanh,
    "acosh": acosh,
    "logit": logit,
    "logit_backward": logit_backward,
    "hardshrink": lambda b, x, limit=0.5: shrink_backward(b, x, x, limit),
    "hardshrink_backward": shrink_backward,
    "softshrink": softshrink,
    "softshrink_backward": shrink_backward,
    "hypot": lambda b, x, y: b.apply("sqrt", b.combine([(1, b.product(x, x)), (1, b.product(y, y))])),
    "xlogy": lambda b, x, y: b.product(x, b.apply("log", y)),
    "polygamma": polygamma,
    "logaddexp": logaddexp,
    "_prelu_kernel": prelu,
    "_prelu_kernel_backward": prelu_backward,
    "glu": glu,
    "glu_backward": glu_backward,
}
