"""Mirrors tpdyn/recorder/lowering/rules/linear.py: matrix products, with gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from aten_tapes import check, draw, with_gradients

PRODUCTS: dict[str, tuple[Callable[..., Any], list[torch.Tensor]]] = {
    "mm": (torch.mm, [draw(3, 5), draw(5, 4)]),
    "matmul batch": (torch.matmul, [draw(2, 3, 5), draw(2, 5, 4)]),
    "matmul broadcast": (torch.matmul, [draw(2, 3, 5), draw(5, 4)]),
    "mv": (torch.mv, [draw(3, 5), draw(5)]),
    "dot": (torch.dot, [draw(5), draw(5, seed=1)]),
    "outer": (torch.outer, [draw(5), draw(4)]),
    "linear": (F.linear, [draw(3, 5), draw(4, 5), draw(4)]),
    "linear 3d": (F.linear, [draw(2, 3, 5), draw(4, 5), draw(4)]),
    "linear without bias": (F.linear, [draw(2, 3, 5), draw(4, 5)]),
    "addmm": (lambda a, x, y: torch.addmm(a, x, y, beta=0.5, alpha=2.0), [draw(4), draw(3, 5), draw(5, 4)]),
    "baddbmm": (lambda a, x, y: torch.baddbmm(a, x, y, alpha=0.3), [draw(2, 3, 4), draw(2, 3, 5), draw(2, 5, 4)]),
    "addmv": (torch.addmv, [draw(3), draw(3, 5), draw(5)]),
    "einsum": (lambda x, y: torch.einsum("bhid,bhjd->bhij", x, y), [draw(2, 2, 3, 4), draw(2, 2, 5, 4)]),
    "einsum transposed": (lambda x, y: torch.einsum("ij,kj->ki", x, y), [draw(2, 3), draw(5, 3)]),
    "einsum outer": (lambda x, y: torch.einsum("bi,bj->ij", x, y), [draw(2, 3), draw(2, 5)]),
    "nn.Bilinear": (F.bilinear, [draw(3, 5), draw(3, 4), draw(2, 5, 4), draw(2)]),
    "bilinear": (lambda x, y: (x @ y).t() @ x, [draw(3, 5), draw(5, 4)]),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_and_their_gradients_agree(name: str) -> None:
    function, tensors = PRODUCTS[name]
    check(with_gradients(function, len(tensors)), tensors)
