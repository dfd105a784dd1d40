"""Mirrors tpdyn/recorder/lowering/rules/cumulative.py: running sums and products, distances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from aten_tapes import check, draw, with_gradients

RUNNING: dict[str, Callable[..., Any]] = {
    "cumsum": lambda x: torch.cumsum(x, 0),
    "cumsum of the last": lambda x: torch.cumsum(x, -1),
    "prod": lambda x: x.prod(1),
    "prod of all": lambda x: x.prod(),
    "cumprod": lambda x: torch.cumprod(x, 1),
    "logcumsumexp": lambda x: torch.logcumsumexp(x, 1),
    "trace": lambda x: (x @ x.t()).trace(),
    "cdist": lambda x: torch.cdist(x, x[:2] + 1),
}


@pytest.mark.parametrize("name", RUNNING)
def test_running_sums_and_distances_agree(name: str) -> None:
    check(RUNNING[name], [draw(3, 4)], tolerance=1e-11)


@pytest.mark.parametrize("name", ["cumsum", "prod", "trace"])
def test_gradients_of_running_sums_agree(name: str) -> None:
    check(with_gradients(RUNNING[name], 1), [draw(3, 4)], tolerance=1e-11)
