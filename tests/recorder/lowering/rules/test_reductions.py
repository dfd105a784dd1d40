"""Mirrors tpdyn/recorder/lowering/rules/reductions.py: sums, means, norms, with gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from aten_tapes import check, draw, with_gradients

REDUCTIONS: dict[str, Callable[..., Any]] = {
    "sum": lambda x: x.sum(),
    "sum dim": lambda x: x.sum(1),
    "sum keepdim": lambda x: x - x.sum(-1, keepdim=True),
    "mean": lambda x: x.mean(),
    "mean dims": lambda x: x.mean((0, 2)),
    "var": lambda x: x.var(-1),
    "var biased": lambda x: x.var(-1, correction=0, keepdim=True) * x,
    "std": lambda x: x.std(-1),
    "var all": lambda x: x.var(),
    "var_mean": lambda x: torch.var_mean(x, -1)[0] + torch.var_mean(x, -1)[1],
    "norm": lambda x: x.norm(),
    "norm dim": lambda x: x.norm(dim=-1, keepdim=True) * x,
    "vector_norm": lambda x: torch.linalg.vector_norm(x, dim=-1),
    "norm 1": lambda x: torch.linalg.vector_norm(x, 1, dim=-1),
    "norm 3": lambda x: torch.linalg.vector_norm(x, 3, dim=-1),
    "norm inf": lambda x: torch.linalg.vector_norm(x, float("inf"), dim=-1),
    "norm -inf": lambda x: torch.linalg.vector_norm(x, -float("inf"), dim=-1),
    "logsumexp": lambda x: torch.logsumexp(x, -1),
    "normalize": lambda x: F.normalize(x, dim=-1),
    "cosine": lambda x: F.cosine_similarity(x, x.flip(0), dim=-1),
    "size one dims": lambda x: x[:, :, :1].mean(-1) + x[:, :1].sum((1, 2), keepdim=True).squeeze(-1),
    "stack of norms": lambda x: torch.linalg.vector_norm(torch.stack([x[0].norm(), x[1].norm()])),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_and_their_gradients_agree(name: str) -> None:
    check(with_gradients(REDUCTIONS[name], 1), [draw(2, 3, 4)])
