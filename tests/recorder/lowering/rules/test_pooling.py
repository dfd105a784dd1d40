"""Mirrors tpdyn/recorder/lowering/rules/pooling.py: pools and interpolations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch.nn.functional as F
from aten_tapes import check, draw, with_gradients

POOLS: dict[str, Callable[..., Any]] = {
    "average": lambda x: F.avg_pool2d(x, 2),
    "average, overlapping": lambda x: F.avg_pool2d(x, 3, stride=1, padding=1),
    "adaptive average": lambda x: F.adaptive_avg_pool2d(x, 2),
    "global average": lambda x: F.adaptive_avg_pool2d(x, 1),
    "largest": lambda x: F.max_pool2d(x, 2),
    "nearest": lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False),
}


@pytest.mark.parametrize("name", POOLS)
def test_pools_and_their_gradients_agree(name: str) -> None:
    check(with_gradients(POOLS[name], 1), [draw(2, 3, 4, 4)], tolerance=1e-7 if name == "bilinear" else 1e-12)
