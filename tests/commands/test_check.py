"""Mirrors tpdyn/commands/check.py: what is told while a script is recorded. Its verdicts are in `tests/cli/`."""

from __future__ import annotations

import torch
from torch import nn

from tpdyn.commands.check import recorded


def test_no_more_is_ever_done_than_there_is() -> None:
    """A run that is given up and begun again, as training uses what an evaluation kept, is one more."""

    class Scaled(nn.Linear):
        size = 1.0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not torch.is_grad_enabled():
                self.size = x.abs().max().item()
            return super().forward(x) * self.size

    def train(width: int) -> None:
        model = Scaled(3, width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            with torch.no_grad():
                model(torch.ones(4, 3))
            optimizer.zero_grad()
            model(torch.ones(4, 3)).square().mean().backward()
            optimizer.step()

    told: list[tuple[int, int]] = []
    recorded(train, steps=2, progress=lambda what, done, total: told.append((done, total)))
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4), (5, 5)]
