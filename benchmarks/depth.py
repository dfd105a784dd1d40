"""How does a prediction depend on the depth? `python benchmarks/depth.py [largest depth]`

Residual networks with normalised branches under NTP, of 2 to 48 blocks, three steps of SGD. Neither the verdict nor the
time a statement may depend on the depth. A parity grows with the number of sources that a value has met, and its algebra
must not.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch
from torch import nn

import tpdyn
from tpdyn.regimes.predict import predict

DEPTHS = (2, 4, 8, 12, 24, 48)


class Scaled(nn.Linear):
    """`fan_in^-1/2 W x` with unit Gaussian entries."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        nn.init.normal_(self.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The product, scaled."""
        return super().forward(x) * self.in_features**-0.5


class Residual(nn.Module):
    """An embedding, `depth` branches `h + f(W LN(h))`, a readout."""

    def __init__(self, width: int, depth: int, function: str) -> None:
        super().__init__()
        self.function = getattr(nn.functional, function)
        self.embed = nn.Linear(5, width, bias=False)
        nn.init.normal_(self.embed.weight)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(depth)])
        self.branches = nn.ModuleList([Scaled(width, width) for _ in range(depth)])
        self.readout = Scaled(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of a batch of inputs."""
        h = self.embed(x)
        for norm, branch in zip(self.norms, self.branches, strict=True):
            h = h + self.function(branch(norm(h)))
        out: torch.Tensor = self.readout(h)
        return out


def script(depth: int, function: str = "gelu") -> Callable[[int], None]:
    """Its training by SGD."""

    def train(width: int) -> None:
        data = torch.Generator().manual_seed(0)
        x, y = torch.randn(4, 5, generator=data), torch.randn(4, 3, generator=data)
        model = Residual(width, depth, function)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        while True:
            optimizer.zero_grad()
            (model(x) - y).square().mean().backward()
            optimizer.step()

    return train


def main(largest: int) -> None:
    torch.set_num_threads(1)
    print("blocks  statements  regime            predict    a statement")
    for depth in (depth for depth in DEPTHS if depth <= largest):
        program = tpdyn.record(script(depth), widths=(16, 24, 40), steps=3)
        start = time.perf_counter()
        regime = predict(program, remedy=False).regime
        taken = time.perf_counter() - start
        print(f"{depth:>6}{len(program):>12}  {regime:<16}{taken:>8.2f} s{1e3 * taken / len(program):>12.2f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else max(DEPTHS))
