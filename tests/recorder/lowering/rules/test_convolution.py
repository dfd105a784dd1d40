"""Mirrors tpdyn/recorder/lowering/rules/convolution.py: convolutions are gathers and products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from aten_tapes import check, draw, with_gradients

CONVOLUTIONS: dict[str, tuple[Callable[..., Any], list[torch.Tensor]]] = {
    "one dim": (F.conv1d, [draw(2, 3, 6), draw(4, 3, 3), draw(4)]),
    "two dims": (F.conv2d, [draw(2, 3, 5, 5), draw(4, 3, 3, 3), draw(4)]),
    "strided and padded": (
        lambda x, w: F.conv2d(x, w, stride=2, padding=1),
        [draw(2, 3, 5, 5), draw(4, 3, 3, 3)],
    ),
    "dilated": (lambda x, w: F.conv1d(x, w, dilation=2), [draw(2, 3, 7), draw(4, 3, 3)]),
    "grouped": (lambda x, w: F.conv1d(x, w, groups=2), [draw(2, 4, 6), draw(6, 2, 3)]),
    "one channel a group": (lambda x, w: F.conv1d(x, w, groups=4), [draw(2, 4, 6), draw(4, 1, 3)]),
    "transposed": (lambda x, w: F.conv_transpose1d(x, w, stride=2), [draw(2, 3, 4), draw(3, 4, 3)]),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_and_their_gradients_agree(name: str) -> None:
    function, tensors = CONVOLUTIONS[name]
    check(with_gradients(function, len(tensors)), tensors, tolerance=1e-11)


def test_patches_agree() -> None:
    check(lambda x: F.unfold(x, 2, stride=2), [draw(1, 2, 4, 4)])
    check(lambda x: F.fold(x, (4, 4), 2, stride=2), [draw(1, 8, 4)])
