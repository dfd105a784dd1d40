"""Mirrors tpdyn/recorder/lowering/rules/attention.py: every kernel of attention is its formula."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from aten_tapes import check, draw, with_gradients


def attention_by_hand(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    mask = torch.tril(torch.ones(q.shape[-2], k.shape[-2])).view(1, 1, q.shape[-2], k.shape[-2])
    return F.softmax(scores.masked_fill(mask == 0, float("-inf")), dim=-1) @ v


SDPA = F.scaled_dot_product_attention
HEADS = [draw(2, 2, 5, 4), draw(2, 2, 5, 4, seed=1), draw(2, 2, 5, 4, seed=2)]
ATTENTIONS: dict[str, Callable[..., Any]] = {
    "by hand": attention_by_hand,
    "plain": SDPA,
    "causal": lambda q, k, v: SDPA(q, k, v, is_causal=True),
    "scale": lambda q, k, v: SDPA(q, k, v, scale=0.25),
    "bool mask": lambda q, k, v: SDPA(q, k, v, attn_mask=torch.ones(5, 5, dtype=torch.bool).tril()),
    "float mask": lambda q, k, v: SDPA(q, k, v, attn_mask=torch.linspace(-1, 1, 25, dtype=torch.float64).view(5, 5)),
    "from a packed view": lambda q, k, v: (
        SDPA(q.transpose(1, 2).transpose(1, 2), k, v, is_causal=True).transpose(1, 2).reshape(2, 5, 8)
    ),
    "grouped": lambda q, k, v: SDPA(q, k[:, :1], v[:, :1], enable_gqa=True),
}


@pytest.mark.parametrize("math_kernel", [False, True])
@pytest.mark.parametrize("name", ATTENTIONS)
def test_attention_and_its_gradients_agree(name: str, math_kernel: bool) -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def run(*tensors: torch.Tensor) -> Any:
        if not math_kernel:
            return with_gradients(ATTENTIONS[name], 3)(*tensors)
        with sdpa_kernel(SDPBackend.MATH):
            return with_gradients(ATTENTIONS[name], 3)(*tensors)

    check(run, HEADS)


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_multihead_attention_agrees(need_weights: bool, causal: bool) -> None:
    module = torch.nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
    parameters = [p.detach().clone() + 0.1 for p in module.parameters()]
    names = [name for name, _ in module.named_parameters()]
    mask = torch.nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64) if causal else None

    def run(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        out, _ = torch.func.functional_call(
            module, dict(zip(names, weights)), (x, x, x), {"need_weights": need_weights, "attn_mask": mask}
        )
        return out  # type: ignore[no-any-return]

    check(with_gradients(run, 5), [draw(2, 5, 8), *parameters])
