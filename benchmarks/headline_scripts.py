"""Training scripts of other kinds than `examples/`, for `headline.py`: one head of attention, convolutions, an RNN, norms."""

from __future__ import annotations

import torch
from torch import Tensor, nn

STEPS = 1000


def fit(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    """Train on one batch of classes."""
    for _ in range(STEPS):
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def drawn(*shape: int) -> tuple[Tensor, Tensor]:
    """One batch, the same at every width and seed: inputs, and one of five classes."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(shape, generator=generator), torch.randint(5, shape[:1], generator=generator)


class OneHead(nn.Module):
    """Self-attention with one head; the mean over tokens is read out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(6, width)
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Take [batch, token, 6], return [batch, 5]."""
        x = self.embed(x)
        mixed = nn.functional.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))
        return self.out(mixed.mean(1))


def one_head(width: int) -> None:
    """SGD with rate 10 / width on attention of one head."""
    net = OneHead(width)
    fit(net, torch.optim.SGD(net.parameters(), lr=10 / width), *drawn(8, 4, 6))


def convolution(width: int) -> None:
    """Two convolutions and a pooled readout; SGD with a constant rate."""
    net = nn.Sequential(
        nn.Conv2d(2, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5),
    )  # fmt: skip
    fit(net, torch.optim.SGD(net.parameters(), lr=0.1), *drawn(8, 2, 5, 5))


class Recurrent(nn.Module):
    """A plain RNN whose last state is read out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rnn, self.out = nn.RNN(6, width, batch_first=True), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Take [batch, token, 6], return [batch, 5]."""
        return self.out(self.rnn(x)[0][:, -1])


def recurrent(width: int) -> None:
    """A plain RNN under Adam with a constant rate."""
    net = Recurrent(width)
    fit(net, torch.optim.Adam(net.parameters(), lr=1e-3), *drawn(8, 4, 6))


def normed(width: int) -> None:
    """LayerNorm and GELU under AdamW, whose rate falls as 1 / width; standard initial sizes."""
    net = nn.Sequential(
        nn.Linear(6, width), nn.LayerNorm(width), nn.GELU(), nn.Linear(width, width), nn.LayerNorm(width), nn.GELU(),
        nn.Linear(width, 5),
    )  # fmt: skip
    fit(net, torch.optim.AdamW(net.parameters(), lr=0.1 / width), *drawn(16, 6))


def small_rate(width: int) -> None:
    """The standard perceptron with SGD at a rate of order 1 / width: a kernel machine."""
    net = nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 5))
    fit(net, torch.optim.SGD(net.parameters(), lr=5 / width), *drawn(16, 6))
