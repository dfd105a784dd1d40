"""Mirrors tpdyn/recorder/lowering/rules/alignments.py: CTC and its gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from aten_tapes import check, draw, with_gradients
from lowered_scripts import lowered_script
from torch import Tensor

from tpdyn.recorder.live.recorder import record_tape
from tpdyn.recorder.live.replay import verify_tape

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


def test_lengths_may_be_given_as_numbers() -> None:
    """torch makes tensors of them itself, which no operation shows."""

    def train(width: int) -> None:
        model = torch.nn.Linear(3, 5, dtype=torch.float64)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            scores = model(draw(6, 2, 3)).log_softmax(-1)
            optimizer.zero_grad()
            F.ctc_loss(scores, ROWS[:, :2], (6, 4), (2, 1)).backward()
            optimizer.step()

    verify_tape(record_tape(train, 8, 2, seed=0))
    lowered_script(train)
