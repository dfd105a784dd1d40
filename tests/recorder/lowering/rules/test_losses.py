"""Mirrors tpdyn/recorder/lowering/rules/losses.py: losses and softmax, with gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from aten_tapes import check, draw, positive, with_gradients

LABELS = torch.tensor([2, 0, 4])
SOME = torch.tensor([2, -100, 4])
LOSSES: dict[str, tuple[Callable[..., Any], list[torch.Tensor]]] = {
    "cross_entropy": (F.cross_entropy, [LABELS]),
    "cross_entropy sum": (lambda x, y: F.cross_entropy(x, y, reduction="sum"), [LABELS]),
    "cross_entropy none": (lambda x, y: F.cross_entropy(x, y, reduction="none"), [LABELS]),
    "cross_entropy ignoring": (F.cross_entropy, [SOME]),
    "cross_entropy smoothed": (lambda x, y: F.cross_entropy(x, y, label_smoothing=0.1), [LABELS]),
    "cross_entropy weights": (lambda x, y, w: F.cross_entropy(x, y, w), [LABELS, positive(5)]),
    "cross_entropy chances": (F.cross_entropy, [draw(3, 5, seed=3).softmax(-1)]),
    "nll": (lambda x, y: F.nll_loss(F.log_softmax(x, -1), y), [LABELS]),
    "mse": (F.mse_loss, [draw(3, 5, seed=3)]),
    "mse sum": (lambda x, y: F.mse_loss(x, y, reduction="sum"), [draw(3, 5, seed=3)]),
    "mse none": (lambda x, y: F.mse_loss(x, y, reduction="none"), [draw(3, 5, seed=3)]),
    "l1": (F.l1_loss, [draw(3, 5, seed=3)]),
    "huber": (lambda x, y: F.huber_loss(x, y, delta=0.4), [draw(3, 5, seed=3)]),
    "smooth_l1": (lambda x, y: F.smooth_l1_loss(x, y, beta=0.4), [draw(3, 5, seed=3)]),
    "bce logits": (F.binary_cross_entropy_with_logits, [draw(3, 5, seed=3).sigmoid()]),
    "bce logits, weights": (
        lambda x, y, w: F.binary_cross_entropy_with_logits(x, y, w, pos_weight=w),
        [draw(3, 5, seed=3).sigmoid(), positive(5)],
    ),
    "bce": (lambda x, y: F.binary_cross_entropy(x.sigmoid(), y), [draw(3, 5, seed=3).sigmoid()]),
    "bce, weights": (
        lambda x, y, w: F.binary_cross_entropy(x.sigmoid(), y, w, reduction="none"),
        [draw(3, 5, seed=3).sigmoid(), positive(5)],
    ),
    "soft margin": (F.soft_margin_loss, [draw(3, 5, seed=3).sign()]),
    "multi margin": (F.multi_margin_loss, [LABELS]),
    "multi margin, squared and weighted": (
        lambda x, y, w: F.multi_margin_loss(x, y, p=2, margin=0.7, weight=w, reduction="none"),
        [LABELS, positive(5)],
    ),
    "kl": (lambda x, y: F.kl_div(F.log_softmax(x, -1), y, reduction="batchmean"), [draw(3, 5, seed=3).softmax(-1)]),
    "picked by hand": (lambda x, y: -F.log_softmax(x, -1)[torch.arange(3), y].mean(), [LABELS]),
    "gathered by hand": (lambda x, y: -F.log_softmax(x, -1).gather(1, y[:, None]).squeeze(1).mean(), [LABELS]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_their_gradients_agree(name: str) -> None:
    function, data = LOSSES[name]
    check(with_gradients(function, 1), [draw(3, 5)], data)


def test_cross_entropy_over_tokens_agrees() -> None:
    check(with_gradients(F.cross_entropy, 1), [draw(2, 5, 3)], [torch.tensor([[1, 2, 0], [4, 4, 3]])])


def test_the_gradient_of_cross_entropy_shows_softmax_of_the_logits() -> None:
    lowered = check(with_gradients(F.cross_entropy, 1), [draw(3, 5)], [LABELS])
    functions = [getattr(s.instruction, "function", "") for s in lowered.statements]
    assert "softmax" in functions and "exp" not in functions


def test_how_many_labels_count_is_data() -> None:
    """Its inverse, which differs between widths as the labels do, is no constant of the program."""
    labels = [torch.tensor(y) for y in ([2, -1, 4, 0], [2, 1, -1, -1], [2, 1, 4, 0])]
    lowereds = [
        check(with_gradients(lambda x, y: F.cross_entropy(x, y, ignore_index=-1), 1), [draw(4, 5)], [y]) for y in labels
    ]
    first, *others = ([statement.instruction for statement in lowered.statements] for lowered in lowereds)
    assert all(other == first for other in others)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_ignored_labels_and_class_weights_agree_in_each_reduction(reduction: str) -> None:
    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        weights = torch.tensor([0.5, 1.0, 2.0, 1.0, 3.0], dtype=x.dtype)
        return F.cross_entropy(x, y, weights, ignore_index=1, reduction=reduction)

    check(with_gradients(loss, 1), [draw(4, 5)], [torch.tensor([2, 1, 0, 4])])
