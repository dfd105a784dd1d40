"""This model stays in the feature-learning regime: copy this file beside your tests, and put your training function in.

`train(width)` is an ordinary loop: it builds the model at that width, its optimizer, and takes a few steps.
Run it with `pytest test_training.py`; runs are kept in pytest's cache folder, so that a second run takes seconds.
"""

import torch
from torch import nn

from tpdyn import claims


def train(width: int) -> None:
    """Replace this by your own: here muP for SGD, by hand."""
    growth = width / 16
    model = nn.Sequential(nn.Linear(8, width, bias=False), nn.Tanh(), nn.Linear(width, 1, bias=False))
    nn.init.normal_(model[2].weight, std=1 / width)
    optimizer = torch.optim.SGD(
        [{"params": model[0].parameters(), "lr": 0.2 * growth}, {"params": model[2].parameters(), "lr": 0.2 / growth}],
        lr=0.2,
    )
    data = torch.Generator().manual_seed(0)
    x, y = torch.randn(16, 8, generator=data), torch.randn(16, 1, generator=data)
    while True:
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()


@claims.parametrize_with_claims([claims.regime(train, "feature learning")])
def test_training_scales(claim, tpdyn_check):
    tpdyn_check(claim)
