"""Mirrors tpdyn/recorder/lowering/rules/randomness.py: dropout is a leaf."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from aten_tapes import check, draw, with_gradients


def test_dropout_is_a_random_leaf_that_replays() -> None:
    torch.manual_seed(0)
    lowered = check(with_gradients(lambda x: F.dropout(x, 0.25), 1), [draw(5, 4)])
    laws = [s.instruction.law for s in lowered.statements if getattr(s.instruction, "kind", "") == "random"]
    assert [law.kind for law in laws] == ["bernoulli"] and float(laws[0].location.constant) == 0.75


def test_native_dropout_agrees() -> None:
    torch.manual_seed(0)
    check(with_gradients(lambda x: torch.ops.aten.native_dropout(x, 0.25, True)[0], 1), [draw(5, 4)])
