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
    "a written diagonal": lambda x: x.clone().diagonal_scatter(x[0].tanh()),
    "diagonals written in several": lambda x: torch.stack([x, 2 * x]).diagonal_scatter(x[:2], 0, 1, 2),
    "diag_embed": lambda x: torch.diag_embed(x[0] * 2),
}


@pytest.mark.parametrize("name", STRIDED)
def test_diagonals_and_windows_and_their_gradients_agree(name: str) -> None:
    check(with_gradients(STRIDED[name], 1), [draw(4, 4)])


def test_a_diagonal_is_known_by_its_strides() -> None:
    check(lambda x: [(2 * x).as_strided((4,), (5,))], [draw(4, 4)])
    check(lambda x: [torch.as_strided_scatter(x, x[0].tanh(), (4,), (5,))], [draw(4, 4)])
