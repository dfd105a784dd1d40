"""Mirrors tpdyn/recorder/lowering/standins/shifted.py: the maximum of a softmax by hand cancels, or is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from aten_tapes import check, draw


def functions(lowered: Any) -> list[str]:
    return [getattr(s.instruction, "function", "") for s in lowered.statements]


def by_hand(x: torch.Tensor) -> torch.Tensor:
    weights = torch.exp(x - x.amax(-1, keepdim=True))
    return weights / weights.sum(-1, keepdim=True)


def test_a_maximum_that_cancels_leaves_no_trace() -> None:
    assert "greater" not in functions(check(by_hand, [draw(3, 4)]))


def test_a_log_of_summed_exponentials_gets_its_maximum_back() -> None:
    def run(x: torch.Tensor) -> torch.Tensor:
        top = x.amax(-1, keepdim=True)
        return torch.log(torch.exp(x - top).sum(-1, keepdim=True)) + top

    assert "greater" not in functions(check(run, [draw(3, 4)]))


@pytest.mark.parametrize("read", [lambda top, x: top * x, lambda top, x: torch.tanh(top) + x, lambda top, x: 2 * top])
def test_a_maximum_that_anything_else_reads_is_computed_by_ranks(read: Callable[..., Any]) -> None:
    assert "greater" in functions(check(lambda x: read(x.amax(-1, keepdim=True), x), [draw(3, 4)]))


def test_what_reads_only_the_shape_of_a_maximum_does_not_compute_it() -> None:
    lowered = check(lambda x: torch.zeros_like(x.amax(-1)) + x[:, 0], [draw(3, 4)])
    assert "greater" not in functions(lowered)
