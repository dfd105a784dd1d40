"""Mirrors tpdyn/recorder/lowering/rules/strides.py: what addresses memory by strides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from aten_tapes import check, draw, with_gradients

STRIDED: dict[str, Callable[..., Any]] = {
    "diagonal": lambda x: x.diagonal(),
    "diagonal beside the main one": lambda x: x.diagonal(1),
    "diagonals of several": lambda x: torch.stack([x, 2 * x]).diagonal(0, -2, -1),
    "diag_embed": lambda x: torch.diag_embed(x[0] * 2),
}


@pytest.mark.parametrize("name", STRIDED)
def test_diagonals_and_windows_and_their_gradients_agree(name: str) -> None:
    check(with_gradients(STRIDED[name], 1), [draw(4, 4)])
