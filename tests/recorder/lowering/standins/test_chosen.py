"""Mirrors tpdyn/recorder/lowering/standins/chosen.py: choices are one-hot rows, and what reads them products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from aten_tapes import check, draw, lowered_outputs

from tpdyn.recorder.lowering import LoweringError

CHOICES: dict[str, Callable[..., Any]] = {
    "topk": lambda x: x.topk(2, -1).values,
    "sort": lambda x: x.sort(-1, descending=True).values,
    "gathered": lambda x: x.gather(1, x.topk(2, -1).indices),
    "gathered, the index repeated": lambda x: (
        x[..., None].expand(3, 4, 2).gather(1, x.argsort(-1)[:, :3, None].repeat(1, 1, 2))
    ),
    "repeated in every way": lambda x: x.gather(1, x.argsort(-1).repeat(2, 1, 1)[1].repeat(1, 2)),
    "scattered": lambda x: torch.zeros(3, 4, dtype=x.dtype).scatter(1, x.argmax(-1, keepdim=True), 1.0) * x,
    "median": lambda x: x.median(-1).values,
    "smallest": lambda x: x.min(-1).values,
    "rows chosen": lambda x: x[x[:, 0].argsort()],
    "one_hot": lambda x: (x.argmax(-1, keepdim=True) == torch.arange(4)).to(x.dtype) * x,
    "the best of each row": lambda x: x[torch.arange(3), x.argmax(-1)],
    "a slice of each row": lambda x: (x[:, :, None] * x[:, None, :])[torch.arange(3), x.argmax(-1)],
    "a slice of each row, behind": lambda x: (x[:, :, None] * x[:, None, :])[torch.arange(3), :, x.argmax(-1)],
    "added to the best of each row": lambda x: x.index_put(
        (torch.arange(3), x.argmax(-1)), x[:, 0].exp(), accumulate=True
    ),
    "an order undone": lambda x: x[:, 0].sort().values[x[:, 0].argsort().argsort()],
}


@pytest.mark.parametrize("name", CHOICES)
def test_choices_agree(name: str) -> None:
    check(CHOICES[name], [draw(3, 4)])


def test_an_operation_that_does_not_understand_a_choice_is_refused() -> None:
    with pytest.raises(LoweringError, match=r"bitwise_xor.* of a choice"):
        lowered_outputs(lambda x: x[:, 0] + (x.argmax(-1) ^ 1), [draw(3, 4)])


@pytest.mark.parametrize(
    "twice",
    [
        lambda x: x[x.argmax(0)[:3] % 3, x.argmax(-1)],
        lambda x: x[torch.tensor([1, 0, 2]), x.argmax(-1)],
        lambda x: x.index_put((torch.arange(3), x.argmax(-1)), x[:, 0]),
    ],
)
def test_choices_beside_anything_but_an_arange_are_refused(twice: Callable[..., Any]) -> None:
    with pytest.raises(LoweringError, match=r"several ind.* depends? on parameters|beside one that is not an arange"):
        lowered_outputs(twice, [draw(3, 4)])


def test_a_shape_that_depends_on_values_is_refused() -> None:
    with pytest.raises(LoweringError, match="a shape that depends on values"):
        lowered_outputs(lambda x: x.sum() * torch.nonzero(x > 0).sum(), [draw(3, 4)])


def test_how_many_choices_are_wrong_is_a_number() -> None:
    def wrong(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x.argmax(-1) != y).to(x.dtype).sum() + x.sum()

    check(wrong, [draw(3, 4)], [torch.tensor([0, 1, 3])])
