"""Mirrors tpdyn/recorder/lowering/lower.py: whole tapes: what is needed, what is refused."""

from __future__ import annotations

import pytest
import torch
from aten_tapes import check, draw, lowered_outputs

from tpdyn.recorder.lowering import LoweringError


def test_a_product_with_a_state_of_zeros_is_zero_and_reads_nothing() -> None:
    lowered = check(
        lambda w: (torch.zeros(2, 3, dtype=w.dtype) @ w + w[:2], torch.tanh(w) * torch.zeros(3, 4)), [draw(3, 4)]
    )
    assert not any(type(s.instruction).__name__ in ("Contract", "Apply") for s in lowered.statements)


def test_all_operations_without_a_rule_are_named_with_their_line() -> None:
    with pytest.raises(LoweringError) as caught:
        lowered_outputs(
            lambda x: torch.linalg.qr(x)[0] + torch.special.i0(x[:, :4]) + torch.linalg.inv(x), [draw(4, 4)]
        )
    text = str(caught.value)
    assert "aten.linalg_qr" in text and "aten.i0" in text and "aten.linalg_inv" in text
    assert "tiny.py:1 `y = f(x)`" in text


def test_what_nothing_needs_may_be_unknown() -> None:
    def run(x: torch.Tensor) -> torch.Tensor:
        torch.linalg.svdvals(x)
        return x * 2

    check(run, [draw(3, 4)])


def test_an_evaluation_that_is_wrong_is_caught() -> None:
    with pytest.raises(AssertionError):
        check(lambda x: (x * 2, torch.tanh(x)), [draw(3, 4)], tolerance=-1.0)
