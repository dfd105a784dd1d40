"""Mirrors tpdyn/recorder/lowering/rules/functions.py: functions that are written with others, and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from aten_tapes import check, draw, with_gradients

SIGNED: dict[str, Callable[..., Any]] = {
    "tan": torch.tan,
    "erfc": torch.erfc,
    "exp2": torch.exp2,
    "hardshrink": lambda x: F.hardshrink(x, 0.3),
    "softshrink": lambda x: F.softshrink(x, 0.3),
    "prelu": lambda x: F.prelu(x, torch.full((4,), 0.2, dtype=x.dtype)),
    "glu": lambda x: F.glu(x, -1),
    "hypot": lambda x: torch.hypot(x, x + 1),
    "logaddexp": lambda x: torch.logaddexp(x, -x),
}
IN_THE_UNIT_INTERVAL: dict[str, Callable[..., Any]] = {
    "log2": torch.log2,
    "log10": torch.log10,
    "asin": torch.asin,
    "acos": torch.acos,
    "atanh": torch.atanh,
    "acosh": lambda x: torch.acosh(x + 1),
    "logit": torch.logit,
    "xlogy": lambda x: torch.xlogy(x, x),
}


@pytest.mark.parametrize("name", SIGNED)
def test_functions_of_any_number_and_their_gradients_agree(name: str) -> None:
    check(with_gradients(SIGNED[name], 1), [draw(3, 4)])


@pytest.mark.parametrize("name", IN_THE_UNIT_INTERVAL)
def test_functions_of_an_interval_and_their_gradients_agree(name: str) -> None:
    check(with_gradients(IN_THE_UNIT_INTERVAL[name], 1), [torch.sigmoid(draw(3, 4))])
