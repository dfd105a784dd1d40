"""Mirrors tpdyn/recorder/lowering/rules/grouped.py: rows sorted by group, one matrix a group."""

from __future__ import annotations

import pytest
import torch
from aten_tapes import check, draw, lowered_outputs

from tpdyn.recorder.lowering import LoweringError


def test_a_histogram_of_choices_agrees() -> None:
    check(lambda x: torch.histc(x * 1, 4, 0, 4), [torch.tensor([0.5, 1.5, 1.2, 3.9, 4.0], dtype=torch.float64)])


def test_a_histogram_of_unknown_ends_is_refused() -> None:
    with pytest.raises(LoweringError, match="give min < max"):
        lowered_outputs(lambda x: torch.histc(x * 1, 4), [draw(5)])
