"""How do normalisations become instructions? Means over their dims are spelled out, so that a mean over a wide dim shows.

x_hat = (x - mean) * rsqrt(var + eps), out = x_hat * w + b. With g = grad * w, the gradient of x is
`rstd * (g - mean(g) - x_hat * mean(g * x_hat))`. RMSNorm lacks the mean terms of centring.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch

from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.rules.reductions import centred, mean
from tpdyn.recorder.lowering.summing import reduce
from tpdyn.recorder.lowering.values import Known, Number, Tensor


def _mean_of_product(b: LoweredBuilder, x: Any, y: Any, dims: Sequence[int], share: bool = False) -> Tensor:
    size = math.prod(b.broadcast(x, y)[d] for d in dims)
    return reduce(b, x, dims, True, scale=Fraction(1, size), times=y, share=share)


def normalised(
    b: LoweredBuilder, x: Any, dims: Sequence[int], eps: Number, centre: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Return x_hat, mean (zero without centring) and rstd = rsqrt(var + eps), the latter two with size 1 kept."""
    deviation, average = centred(b, x, dims) if centre else (b.value(x), Known.full((), 0.0))
    spread = _mean_of_product(b, deviation, deviation, dims, share=True)
    rstd = b.apply("rsqrt", b.combine([(1, spread)], eps, epsilon=True, share=True))
    return b.product(deviation, rstd, share=True), average, rstd


def _affine(b: LoweredBuilder, x_hat: Tensor, weight: Any, bias: Any) -> Tensor:
    out = x_hat if weight is None else b.product(x_hat, weight)
    return out if bias is None else b.combine([(1, out), (1, bias)])


def _gradients(
    b: LoweredBuilder,
    grad: Any,
    x_hat: Tensor,
    rstd: Tensor,
    weight: Any,
    dims: Sequence[int],
    others: Sequence[int],
    centre: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, weight and bias."""
    g = grad if weight is None else b.product(grad, weight)
    terms: list[tuple[int, Any]] = [(1, g)]
    if centre:
        terms.append((-1, mean(b, g, list(dims), True)))
    terms.append((-1, b.product(x_hat, _mean_of_product(b, g, x_hat, dims))))
    dx = b.product(b.combine(terms), rstd)
    return dx, reduce(b, grad, others, times=x_hat), reduce(b, grad, others)


def layer_norm(
    b: LoweredBuilder, x: Any, shape: Sequence[int], weight: Any, bias: Any, eps: Number
) -> tuple[Tensor, Tensor, Tensor]:
    """Return out, mean, rstd."""
    rank = len(b.shape(x))
    x_hat, average, rstd = normalised(b, x, range(rank - len(shape), rank), eps)
    return _affine(b, x_hat, weight, bias), average, rstd


def layer_norm_backward(
    b: LoweredBuilder,
    grad: Any,
    x: Any,
    shape: Sequence[int],
    average: Any,
    rstd: Any,
    weight: Any,
    bias: Any,
    mask: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, weight, bias; x_hat is that of the forward pass."""
    rank = len(b.shape(x))
    dims, others = range(rank - len(shape), rank), range(rank - len(shape))
    deviation, _ = centred(b, x, dims)
    x_hat = b.product(deviation, rstd, share=True)
    return _gradients(b, grad, x_hat, rstd, weight, dims, others, True)


def rms_norm(b: LoweredBuilder, x: Any, shape: Sequence[int], weight: Any, eps: Number | None) -> tuple[Tensor, Tensor]:
    """Return out, rstd."""
    rank = len(b.shape(x))
    eps = torch.finfo(torch.get_default_dtype()).eps if eps is None else eps
    x_hat, _, rstd = normalised(b, x, range(rank - len(shape), rank), eps, centre=False)
    return _affine(b, x_hat, weight, None), rstd


def rms_norm_backward(
    b: LoweredBuilder, grad: Any, x: Any, shape: Sequence[int], rstd: Any, weight: Any, mask: Sequence[bool]
) -> tuple[Tensor, Tensor]:
    """Return the gradients of x and weight."""
    rank = len(b.shape(x))
    dims, others = range(rank - len(shape), rank), range(rank - len(shape))
    x_hat = b.product(x, rstd, share=True)
    dx, dw, _ = _gradients(b, grad, x_hat, rstd, weight, dims, others, False)
    return dx, dw


def group_norm(
    b: LoweredBuilder, x: Any, weight: Any, bias: Any, n: int, channels: int, pixels: int, groups: int, eps: Number
) -> tuple[Tensor, Tensor, Tensor]:
    """Return out, mean, rstd."""
    shape = b.shape(x)
    grouped = b.reshape(x, (n, groups, channels // groups * pixels))
    x_hat, average, rstd = normalised(b, grouped, [2], eps)
    back = b.reshape(x_hat, shape)
    w, c = _per_channel(b, weight, len(shape)), _per_channel(b, bias, len(shape))
    return _affine(b, back, w, c), b.squeeze(average, [2]), b.squeeze(rstd, [2])


def group_norm_backward(
    b: LoweredBuilder,
    grad: Any,
    x: Any,
    average: Any,
    rstd: Any,
    weight: Any,
    n: int,
    channels: int,
    pixels: int,
    groups: int,
    mask: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, weight, bias."""
    shape = b.shape(x)
    grouped = b.reshape(x, (n, groups, channels // groups * pixels))
    deviation, _ = centred(b, grouped, [2])
    root = b.unsqueeze(rstd, 2)
    x_hat = b.product(deviation, root, share=True)
    g = grad if weight is None else b.product(grad, _per_channel(b, weight, len(shape)))
    g = b.reshape(g, b.shape(grouped))
    dx, _, _ = _gradients(b, g, x_hat, root, None, [2], [0, 1], True)
    others = [d for d in range(len(shape)) if d != 1]
    return b.reshape(dx, shape), reduce(b, grad, others, times=b.reshape(x_hat, shape)), reduce(b, grad, others)


def _per_channel(b: LoweredBuilder, weight: Any, rank: int) -> Any:
    return None if weight is None else b.reshape(weight, (-1, *(1,) * (rank - 2)))


def _frozen(b: LoweredBuilder, x: Any, running_mean: Any, running_var: Any, eps: Number) -> tuple[Tensor, Tensor]:
    """Return x normalised by the running statistics, and their inverse standard deviation."""
    rank = len(b.shape(x))
    root = b.apply("rsqrt", b.combine([(1, b.value(running_var))], eps, share=True))
    centre = b.combine([(1, x), (-1, _per_channel(b, running_mean, rank))], share=True)
    return b.product(centre, _per_channel(b, root, rank), share=True), _per_channel(b, root, rank)


def batch_norm(
    b: LoweredBuilder,
    x: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: Number,
    eps: Number,
    *_: Any,
) -> tuple[Tensor, ...]:
    """Return out, mean, inverse std, and (where the overload has them) the new running mean and variance."""
    shape = b.shape(x)
    dims = [d for d in range(len(shape)) if d != 1]
    w, c = _per_channel(b, weight, len(shape)), _per_channel(b, bias, len(shape))
    if not training:
        x_hat, _root = _frozen(b, x, running_mean, running_var, eps)
        nothing = Known.full((0,), 0.0)
        return _affine(b, x_hat, w, c), nothing, nothing, running_mean, running_var
    x_hat, average, rstd = normalised(b, x, dims, eps)
    out = _affine(b, x_hat, w, c)
    average, rstd = b.squeeze(average, dims), b.squeeze(rstd, dims)
    if running_mean is None:
        return out, average, rstd
    size = math.prod(shape[d] for d in dims)
    deviation, _mean = centred(b, x, dims)
    unbiased = reduce(b, deviation, dims, scale=Fraction(1, size - 1), times=deviation)
    return (
        out,
        average,
        rstd,
        b.combine([(1 - momentum, running_mean), (momentum, average)]),
        b.combine([(1 - momentum, running_var), (momentum, unbiased)]),
    )


def batch_norm_backward(
    b: LoweredBuilder,
    grad: Any,
    x: Any,
    weight: Any,
    running_mean: Any,
    running_var: Any,
    average: Any,
    rstd: Any,
    train: bool,
    eps: Number,
    mask: Sequence[bool],
    *_: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, weight, bias."""
    shape = b.shape(x)
    dims = [d for d in range(len(shape)) if d != 1]
    if not train:
        x_hat, root = _frozen(b, x, running_mean, running_var, eps)
        w = _per_channel(b, weight, len(shape))
        dx = b.product(grad if w is None else b.product(grad, w), root)
        return dx, reduce(b, grad, dims, times=x_hat), reduce(b, grad, dims)
    deviation, _mean = centred(b, x, dims)
    root = b.reshape(rstd, (-1, *(1,) * (len(shape) - 2)))
    x_hat = b.product(deviation, root, share=True)
    return _gradients(b, grad, x_hat, root, _per_channel(b, weight, len(shape)), dims, dims, True)


def weight_norm(b: LoweredBuilder, v: Any, g: Any, dim: int = 0) -> tuple[Tensor, Tensor]:
    """Return g * v / |v|, the norm over all dims but one; and that norm."""
    others = [d for d in range(len(b.shape(v))) if d != dim % len(b.shape(v))]
    length = b.apply("sqrt", reduce(b, v, others, True, times=v))
    return b.product(v, b.product(g, b.apply("reciprocal", length))), length


def weight_norm_backward(b: LoweredBuilder, grad: Any, v: Any, g: Any, length: Any, dim: int) -> tuple[Tensor, Tensor]:
    """Return the gradients of v and g: with s = sum(grad * v) / |v|, dg = s and dv = g/|v| * (grad - v * s/|v|)."""
    others = [d for d in range(len(b.shape(v))) if d != dim % len(b.shape(v))]
    inverse = b.apply("reciprocal", length)
    dg = b.product(reduce(b, grad, others, True, times=v), inverse)
    along = b.product(v, b.product(dg, inverse))
    return b.product(b.combine([(1, grad), (-1, along)]), b.product(g, inverse)), dg


RULES: dict[str, Rule] = {
    "_weight_norm_interface": weight_norm,
    "_weight_norm_interface_backward": weight_norm_backward,
    "native_layer_norm": layer_norm,
    "native_layer_norm_backward": layer_norm_backward,
    "_fused_rms_norm": rms_norm,
    "_fused_rms_norm_backward": rms_norm_backward,
    "native_group_norm": group_norm,
    "native_group_norm_backward": group_norm_backward,
    "native_batch_norm": batch_norm,
    "_native_batch_norm_legit": batch_norm,
    "_native_batch_norm_legit_functional": batch_norm,
    "native_batch_norm_backward": batch_norm_backward,
}
