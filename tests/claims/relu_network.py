"""What does theory say of one hidden layer, three steps of an optimizer long?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

import tpdyn
from tpdyn.regimes.prediction import Prediction

X = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))


def of_network(optimizer_of: Callable[[nn.Sequential], torch.optim.Optimizer], *, bias: bool = True) -> Prediction:
    """The network trained by that optimizer; bias: of its readout, the module "2"."""

    def train(n: int) -> None:
        net = nn.Sequential(nn.Linear(4, n, bias=False), nn.ReLU(), nn.Linear(n, 2, bias=bias))
        optimizer = optimizer_of(net)
        for _ in range(3):
            loss = net(X).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return tpdyn.predict(tpdyn.record(train, widths=(16, 24), verify=False), remedy=False)
