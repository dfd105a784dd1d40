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


def _forward(names: str, unread: int) -> Rule:
    """Make the rule of a kernel whose arguments have these names. unread: how many results only its backward reads.

    None stands for these. The log of the sums is one: the backward pass computes it anew.
    """

    def rule(b: LoweredBuilder, *args: Any, **options: Any) -> tuple[Tensor | None, ...]:
        given = dict(zip(names.split(), args, strict=False)) | options
        q, k, v = given["q"], given["k"], given["v"]
        dropout, causal = given.get("dropout", 0.0), given.get("causal", False)
        return attend(b, q, k, v, given.get("attn_mask"), dropout, causal, given.get("scale")), *(None,) * unread

    return rule


def _backward(names: str) -> Rule:
    """Make the rule of a backward whose arguments have these names. A mask gets no gradient."""

    def rule(b: LoweredBuilder, *args: Any, **options: Any) -> tuple[Tensor | None, ...]:
        given = dict(zip(names.split(), args, strict=False)) | options
        grad, q, k, v = given["grad"], given["q"], given["k"], given["v"]
        gradients = attend_backward(b, grad, q, k, v, given.get("attn_mask"), given["causal"], given.get("scale"))
        return *gradients, None

    return rule


_KERNEL = "_scaled_dot_product_"
RULES: dict[str, Rule] = {
    f"{_KERNEL}flash_attention_for_cpu": _forward("q k v dropout causal", 1),
    f"{_KERNEL}flash_attention_for_cpu_backward": _backward("grad q k v out sums dropout causal"),
    f"{_KERNEL}efficient_attention": _forward("q k v attn_mask wants_sums dropout causal", 3),
    f"{_KERNEL}efficient_attention_backward": _backward(
        "grad q k v attn_mask out sums seed offset dropout wants causal"
    ),
    f"{_KERNEL}flash_attention": _forward("q k v dropout causal debug", 0),
    f"{_KERNEL}flash_attention_backward": _backward("grad q k v out sums cum_q cum_k max_q max_k dropout causal"),
}
