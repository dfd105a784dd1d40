"""Mirrors tpdyn/recorder/lowering/rules/views.py: what regroups, cuts and joins, with gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from aten_tapes import check, draw, with_gradients


def columns_written(x: torch.Tensor, start: int, step: int) -> torch.Tensor:
    y = x * 2
    return torch.slice_scatter(y, (x * x)[..., start::step], -1, start, 4, step)


VIEWS: dict[str, Callable[..., Any]] = {
    "view": lambda x: x.view(2, 12) * 2,
    "heads": lambda x: x.view(2, 3, 2, 2).transpose(1, 2).reshape(4, 3, 2) * 2,
    "view back": lambda x: x.reshape(6, 4).reshape(2, 3, 4).reshape(24).reshape(2, 3, 4) + 1,
    "permute": lambda x: x.permute(2, 0, 1) + 1,
    "transposed view": lambda x: x.permute(2, 0, 1).reshape(4, 6) + 1,
    "unsqueeze": lambda x: x.unsqueeze(0) * x.unsqueeze(-1).squeeze(-1),
    "squeeze": lambda x: (x[:, :1].squeeze(1) * x[:, 0]).squeeze(),
    "expand": lambda x: x[:, :1].expand(2, 3, 4) * x,
    "expand reshape": lambda x: x[:, :1].expand(2, 3, 4).reshape(6, 4) * x.view(6, 4),
    "slice": lambda x: x[:, 1:] * x[:, :-1],
    "slice step": lambda x: x[..., ::2] * x[..., 1::2],
    "slice step, a short last row": lambda x: x[:, ::2] * x[:, 1:2] + x[..., 1::3].sum(-1, keepdim=True)[:, ::2],
    "neighbours turned": lambda x: torch.stack((-x[..., 1::2], x[..., ::2]), -1).reshape(x.shape),
    "columns written": lambda x: columns_written(x, 0, 2),
    "columns written, from within": lambda x: columns_written(x, 1, 2),
    "columns written, a short last row": lambda x: columns_written(x, 0, 3),
    "select": lambda x: x[:, 1] * x[:, -1],
    "split": lambda x: x.split(2, -1)[0] * x.split(2, -1)[1],
    "split uneven": lambda x: sum(part.sum() for part in x.split([1, 3], -1)) * x,
    "chunk": lambda x: x.chunk(2, -1)[1] * x.chunk(2, -1)[0],
    "unbind": lambda x: x.unbind(0)[0] * x.unbind(0)[1],
    "cat": lambda x: torch.cat([x, x * 2, x[:, :1]], 1) * 2,
    "stack": lambda x: torch.stack([x, x * x], 1) * 2,
    "cat of halves": lambda x: torch.cat([-x[..., 2:], x[..., :2]], -1) * x,
    "flip": lambda x: x.flip(1) * x,
    "repeat": lambda x: x.repeat(1, 2, 1) * 2,
    "repeat_interleave": lambda x: x.repeat_interleave(2, 1) * 2,
    "pad": lambda x: F.pad(x, (1, 2)) * 2,
    "flatten": lambda x: x.flatten(1) * 2,
    "unflatten": lambda x: x.unflatten(-1, (2, 2)) * 2,
    "movedim": lambda x: x.movedim(0, -1) * 2,
    "roll": lambda x: torch.cat([x[1:], x[:1]]) * x,
    "diag mask": lambda x: x.tril() + x.triu(1) * 2,
    "last token": lambda x: x[:, -1, :] * 2,
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_and_their_gradients_agree(name: str) -> None:
    check(with_gradients(VIEWS[name], 1), [draw(2, 3, 4)])


def test_an_empty_part_adds_nothing_to_a_concatenation() -> None:
    """As where a rotary embedding turns all of a head and passes on what is left (GPT-NeoX, GPT-J, Phi-3)."""

    def turned(x: torch.Tensor) -> torch.Tensor:
        size = x.shape[-1]
        return torch.cat([torch.tanh(x[..., :size]), x[..., size:]], -1)

    lowered = check(with_gradients(turned, 1), [draw(3, 4)])
    assert not any(type(s.instruction).__name__ == "Concat" for s in lowered.statements)
