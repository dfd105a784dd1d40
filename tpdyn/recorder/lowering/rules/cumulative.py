"""How do running sums, products and distances become instructions? Sums with a triangular matrix, products spelled out.

A running sum along a dim is a Contract with a constant matrix. It has ones on and below its diagonal. A product has no
instruction of its own: it is written factor by factor, so its dim must be finite.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import torch

from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.summing import reduce
from tpdyn.recorder.lowering.values import Known, Refusal, Tensor

MOST_FACTORS = 64
"""A product of more factors is refused. Each is a statement, and a dim that long is hardly meant to be finite."""


def _triangle(b: LoweredBuilder, size: int) -> Known:
    key = ("triangle", size)
    if key not in b.indices:
        b.indices[key] = Known(torch.ones(size, size, dtype=torch.float64).tril(), name="up_to")
    return b.indices[key]


def cumsum(b: LoweredBuilder, x: Any, dim: int, **_: Any) -> Tensor:
    """Return the sums of the first 1, 2, ... entries along dim."""
    if not b.shape(x):
        return b.value(x)
    dim %= len(b.shape(x))
    return b.along(x, dim, _triangle(b, b.shape(x)[dim]))


def _along(b: LoweredBuilder, x: Any, dim: int) -> list[Any]:
    size = b.shape(x)[dim]
    if size > MOST_FACTORS:
        raise Refusal(f"a product of {size} factors; up to {MOST_FACTORS} are written out")
    return [b.select(x, dim, k) for k in range(size)]


def prod(b: LoweredBuilder, x: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Tensor:
    """Return the product over one dim (or over all entries)."""
    if dim is None:
        x, dim = b.reshape(x, (-1,)), 0
    dim %= max(len(b.shape(x)), 1)
    factors = _along(b, x, dim)
    total = functools.reduce(b.product, factors)
    return b.unsqueeze(total, dim) if keepdim else total


def cumprod(b: LoweredBuilder, x: Any, dim: int, **_: Any) -> Tensor:
    """Return the products of the first 1, 2, ... entries along dim."""
    dim %= max(len(b.shape(x)), 1)
    totals = list(itertools.accumulate(_along(b, x, dim), b.product))
    return b.concat([b.unsqueeze(total, dim) for total in totals], dim, b.shape(b.unsqueeze(totals[0], dim)))


def logcumsumexp(b: LoweredBuilder, x: Any, dim: int) -> Tensor:
    """Return the log of the running sum of exp."""
    return b.apply("log", cumsum(b, b.apply("exp", x), dim))


def trace(b: LoweredBuilder, x: Any) -> Tensor:
    """Return the sum of a matrix's diagonal."""
    return b.contract([], (x, ["i", "i"]))


def _difference(b: LoweredBuilder, x: Any, y: Any) -> Tensor:
    """Return x_i - y_j: [..., i, j, entries]."""
    rank = len(b.shape(x))
    return b.combine([(1, b.unsqueeze(x, rank - 1)), (-1, b.unsqueeze(y, rank - 2))], share=True)


def cdist(b: LoweredBuilder, x: Any, y: Any, p: float, *_: Any) -> Tensor:
    """Return the distances |x_i - y_j|."""
    apart = _difference(b, x, y)
    last = [len(b.shape(apart)) - 1]
    if p == 2:
        return b.apply("sqrt", reduce(b, apart, last, times=apart, share=True))
    if p == 1:
        return reduce(b, b.apply("abs", apart), last)
    raise Refusal(f"distances of order {p}; 1 and 2 have rules")


def cdist_backward(b: LoweredBuilder, grad: Any, x: Any, y: Any, p: float, distance: Any) -> Tensor:
    """Return grad_ij * the direction from y_j to x_i, summed over j; zero where the two are the same point."""
    apart = _difference(b, x, y)
    rank = len(b.shape(apart))
    if p == 1:
        return reduce(b, b.apply("sign", apart), [rank - 2], times=b.unsqueeze(grad, rank - 1))
    inverse = b.apply("where", b.apply("greater", distance, 0.0), b.apply("reciprocal", distance), 0.0)
    return reduce(b, apart, [rank - 2], times=b.unsqueeze(b.product(grad, inverse), rank - 1))


RULES: dict[str, Rule] = {
    "cumsum": cumsum,
    "prod": prod,
    "cumprod": cumprod,
    "logcumsumexp": logcumsumexp,
    "trace": trace,
    "_cdist_forward": cdist,
    "_cdist_backward": cdist_backward,
    "_euclidean_dist": lambda b, x, y: cdist(b, x, y, 2),
}
