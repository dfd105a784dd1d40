"""How does scaled dot-product attention become instructions? Scores, mask, softmax, mix; and its exact gradient.

P = softmax(scale * q k^T + mask), out = P v. Let dP = dout v^T and dS = P * (dP - sum_j dP * P). Then dq = scale * dS k, dk
= scale * dS^T q, dv = P^T dout. Source: arXiv 1706.03762, section 3.2.1. Key and value heads may be fewer than query heads
(grouped): each serves several query heads in turn.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.rules.losses import softmax_backward
from tpdyn.recorder.lowering.summing import reduce
from tpdyn.recorder.lowering.values import Known, Number, Refusal, Tensor


def _scale(b: LoweredBuilder, q: Any, scale: Number | None) -> Number:
    return 1 / math.sqrt(b.shape(q)[-1]) if scale is None else scale


def chances(b: LoweredBuilder, q: Any, k: Any, mask: Any, causal: bool, scale: Number) -> Tensor:
    """Return softmax(scale * q k^T + mask), shared between forward and backward."""
    scores = b.contract("bhij", (q, "bhie"), (k, "bhje"), scale=scale, share=True)
    if causal:
        rows, columns = b.shape(scores)[-2:]
        scores = b.apply("where", _causal(b, rows, columns), scores, -math.inf)
    if mask is not None:
        allowed = isinstance(mask, Known) and mask.tensor.dtype == torch.bool
        scores = (
            b.apply("where", mask, scores, -math.inf) if allowed else b.combine([(1, scores), (1, mask)], share=True)
        )
    return b.apply("softmax", scores, along=3)


def _causal(b: LoweredBuilder, rows: int, columns: int) -> Known:
    if (rows, columns) not in b.masks:
        b.masks[rows, columns] = Known(torch.ones(rows, columns, dtype=torch.bool).tril())
    return b.masks[rows, columns]


def _grouped(b: LoweredBuilder, x: Any, heads: int) -> Any:
    """Repeat key or value heads to the number of query heads."""
    n, own, length, size = b.shape(x)
    if own == heads:
        return x
    spread = b.expand(b.unsqueeze(x, 2), (n, own, heads // own, length, size))
    return b.reshape(spread, (n, heads, length, size))


def _ungrouped(b: LoweredBuilder, grad: Any, own: int) -> Any:
    n, heads, length, size = b.shape(grad)
    if own == heads:
        return grad
    return reduce(b, b.reshape(grad, (n, own, heads // own, length, size)), [2])


def attend(
    b: LoweredBuilder, q: Any, k: Any, v: Any, mask: Any, dropout: Number, causal: bool, scale: Number | None
) -> Tensor:
    """Return the mixed values."""
    if dropout != 0:
        raise Refusal(
            "dropout inside a fused attention kernel (its draws are not recorded); "
            "use torch.nn.attention.sdpa_kernel(SDPBackend.MATH), or dropout_p=0"
        )
    heads = b.shape(q)[1]
    p = chances(b, q, _grouped(b, k, heads), mask, causal, _scale(b, q, scale))
    return b.contract("bhie", (p, "bhij"), (_grouped(b, v, heads), "bhje"))


def attend_backward(
    b: LoweredBuilder, grad: Any, q: Any, k: Any, v: Any, mask: Any, causal: bool, scale: Number | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of q, k and v."""
    heads, own = b.shape(q)[1], b.shape(k)[1]
    factor = _scale(b, q, scale)
    keys, values = _grouped(b, k, heads), _grouped(b, v, heads)
    p = chances(b, q, keys, mask, causal, factor)
    dp = b.contract("bhij", (grad, "bhie"), (values, "bhje"))
    ds = softmax_backward(b, dp, p, 3)
    dq = b.contract("bhie", (ds, "bhij"), (keys, "bhje"), scale=factor)
    dk = b.contract("bhje", (ds, "bhij"), (q, "bhie"), scale=factor)
    dv = b.contract("bhje", (p, "bhij"), (grad, "bhie"))
    return dq, _ungrouped(b, dk, own), _ungrouped(b, dv, own)


def cpu(
    b: LoweredBuilder,
    q: Any,
    k: Any,
    v: Any,
    dropout_p: Number = 0.0,
    is_causal: bool = False,
    *,
    attn_mask: Any = None,
    scale: Number | None = None,
) -> tuple[Tensor, None]:
    """Return out (the log of the sums is not needed: the backward pass recomputes)."""
    return attend(b, q, k, v, attn_mask, dropout_p, is_causal, scale), None


def cpu_backward(
    b: LoweredBuilder,
    grad: Any,
    q: Any,
    k: Any,
    v: Any,
    out: Any,
    logsumexp: Any,
    dropout_p: Number,
    is_causal: bool,
    *,
    attn_mask: Any = None,
    scale: Number | None = None,
) -> tuple[Tensor, ...]:
    """Return the gradients of q, k, v."""
    return attend_backward(b, grad, q, k, v, attn_mask, is_causal, scale)


def efficient(
    b: LoweredBuilder,
    q: Any,
    k: Any,
    v: Any,
    attn_bias: Any,
    compute_log_sumexp: bool,
    dropout_p: Number = 0.0,
    is_causal: bool = False,
    *,
    scale: Number | None = None,
) -> tuple[Tensor, None, None, None]:
    """Do as cpu, in the order of the memory-efficient kernel."""
    return attend(b, q, k, v, attn_bias, dropout_p, is_causal, scale), None, None, None


def efficient_backward(
    b: LoweredBuilder,
    grad: Any,
    q: Any,
    k: Any,
    v: Any,
    attn_bias: Any,
    out: Any,
    logsumexp: Any,
    seed: Any,
    offset: Any,
    dropout_p: Number,
    mask: Any,
    is_causal: bool = False,
    *,
    scale: Number | None = None,
) -> tuple[Tensor | None, ...]:
    """Return the gradients of q, k, v."""
    return (*attend_backward(b, grad, q, k, v, attn_bias, is_causal, scale), None)


def flash(
    b: LoweredBuilder,
    q: Any,
    k: Any,
    v: Any,
    dropout_p: Number = 0.0,
    is_causal: bool = False,
    return_debug_mask: bool = False,
    *,
    scale: Number | None = None,
) -> tuple[Tensor, ...]:
    """Do as cpu, in the order of the flash kernel."""
    return (attend(b, q, k, v, None, dropout_p, is_causal, scale),)


def flash_backward(
    b: LoweredBuilder,
    grad: Any,
    q: Any,
    k: Any,
    v: Any,
    out: Any,
    logsumexp: Any,
    cum_q: Any,
    cum_k: Any,
    max_q: Any,
    max_k: Any,
    dropout_p: Number,
    is_causal: bool,
    *_: Any,
    scale: Number | None = None,
) -> tuple[Tensor, ...]:
    """Return the gradients of q, k, v."""
    return attend_backward(b, grad, q, k, v, None, is_causal, scale)


RULES: dict[str, Rule] = {
    "_scaled_dot_product_flash_attention_for_cpu": cpu,
    "_scaled_dot_product_flash_attention_for_cpu_backward": cpu_backward,
    "_scaled_dot_product_efficient_attention": efficient,
    "_scaled_dot_product_efficient_attention_backward": efficient_backward,
    "_scaled_dot_product_flash_attention": flash,
    "_scaled_dot_product_flash_attention_backward": flash_backward,
}
