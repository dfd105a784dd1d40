"""How do sums, means, variances and norms become instructions? Contracts over their axes, the scale in the Contract."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.standins.chosen import over
from tpdyn.recorder.lowering.summing import axes_of, count, reduce
from tpdyn.recorder.lowering.values import Refusal, Tensor


def sum_(b: LoweredBuilder, x: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Tensor:
    """Return the sum over dims."""
    return reduce(b, x, axes_of(b, x, dim), keepdim)


def mean(b: LoweredBuilder, x: Any, dim: Any = None, keepdim: bool = False, *, share: bool = False, **_: Any) -> Tensor:
    """Return the mean over dims."""
    dims = axes_of(b, x, dim)
    return reduce(b, x, dims, keepdim, scale=Fraction(1, count(b, x, dims)), share=share)


def centred(b: LoweredBuilder, x: Any, dims: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return x - mean(x) and mean(x), the mean over dims with size 1 kept."""
    average = mean(b, x, list(dims), True, share=True)
    return b.combine([(1, x), (-1, average)], share=True), average


def variance(
    b: LoweredBuilder, x: Any, dim: Any = None, *, correction: Any = 1, keepdim: bool = False, **_: Any
) -> Tensor:
    """Return sum (x - mean)^2 / (N - correction)."""
    dims = axes_of(b, x, dim)
    deviation, _mean = centred(b, x, dims)
    correction = 1 if correction is None else correction
    over = Fraction(1) / (count(b, x, dims) - Fraction(correction))
    return reduce(b, deviation, dims, keepdim, scale=over, times=deviation, share=True)


def std(b: LoweredBuilder, x: Any, dim: Any = None, **options: Any) -> Tensor:
    """Return the square root of the variance."""
    return b.apply("sqrt", variance(b, x, dim, **options))


def _and_mean(rule: Rule) -> Rule:
    return lambda b, x, dim=None, *, keepdim=False, **options: (
        rule(b, x, dim, keepdim=keepdim, **options),
        mean(b, x, dim, keepdim),
    )


def vector_norm(b: LoweredBuilder, x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, **_: Any) -> Tensor:
    """Return the norm of any order over dims: (sum |x|^p)^(1/p), the number of entries that are not 0, or the extreme size."""
    dims = axes_of(b, x, dim)
    order = b.number(ord)
    if order == 2:
        return b.apply("sqrt", reduce(b, x, dims, keepdim, times=x))
    if order == 1:
        return reduce(b, b.apply("abs", x), dims, keepdim)
    if order is None:
        raise Refusal("a norm whose order is not a number")
    if order == 0:
        return reduce(b, b.apply("not_equal", x, 0.0), dims, keepdim)
    if math.isinf(order):
        return over(b, b.apply("abs", x), dims, keepdim, order > 0)
    total = reduce(b, b.apply("power", b.apply("abs", x), parameters=[float(order)]), dims, keepdim)
    return b.apply("power", total, parameters=[1 / float(order)])


def logsumexp(b: LoweredBuilder, x: Any, dim: Any, keepdim: bool = False) -> Tensor:
    """Return log sum exp."""
    return b.apply("log", reduce(b, b.apply("exp", x), axes_of(b, x, dim), keepdim))


RULES: dict[str, Rule] = {
    "sum": sum_,
    "mean": mean,
    "var": variance,
    "std": std,
    "var_mean": _and_mean(variance),
    "std_mean": _and_mean(std),
    "linalg_vector_norm": vector_norm,
    "norm": lambda b, x, p=2, dim=None, keepdim=False, **_: vector_norm(b, x, 2 if p is None else p, dim, keepdim),
    "logsumexp": logsumexp,
}
