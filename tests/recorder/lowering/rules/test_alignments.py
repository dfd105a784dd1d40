"""Mirrors tpdyn/recorder/lowering/rules/alignments.py: CTC and its gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from aten_tapes import check, draw, with_gradients
from torch import Tensor

ROWS = torch.tensor([[1, 1, 2], [3, 2, 0]])
LENGTHS = torch.tensor([3, 2])


@pytest.mark.parametrize(
    ("targets", "times", "blank"),
    [(ROWS, (6, 6), 0), (ROWS, (6, 4), 0), (torch.tensor([1, 1, 2, 3, 2]), (5, 6), 0), (ROWS, (6, 5), 4)],
)
def test_the_sum_over_alignments_and_its_gradient_agree(targets: Tensor, times: tuple[int, int], blank: int) -> None:
    def loss(x: Tensor) -> Tensor:
        return F.ctc_loss(x.log_softmax(-1), targets, torch.tensor(times), LENGTHS, blank=blank)

    check(with_gradients(loss, 1), [draw(6, 2, 5)])
