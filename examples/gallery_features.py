"""Can an infinitely wide network learn representations? In the neural tangent parametrization (NTP) no, in muP yes.

The cosine between the features of two inputs in the limit of infinite width, step by step. It goes along Yaida's line from
NTP (s = 0) to muP (s = 1). There the output is divided by n^((1 + s) / 2), and rates grow as n^s (arXiv 2210.04909).

python examples/gallery_features.py docs/pictures
"""

import sys
from fractions import Fraction
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn

import tpdyn

STEPS, POINTS = 8, 2**12
LINE = {"NTP (s = 0)": Fraction(0), "s = 1/2": Fraction(1, 2), "muP (s = 1)": Fraction(1)}
X = torch.tensor([[1.0, 0.2, -0.5], [0.2, 1.0, 0.6], [-0.7, 0.4, 1.0], [0.9, -0.8, 0.3]])
Y = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])


class Scaled(nn.Module):
    """A linear layer with entries of size 1 and a multiplier."""

    def __init__(self, inputs, outputs, multiplier):
        super().__init__()
        self.weight, self.multiplier = nn.Parameter(torch.randn(outputs, inputs)), multiplier

    def forward(self, x):
        return self.multiplier * (x @ self.weight.T)


def training(s):
    """Train a network with two hidden layers on four inputs; s: where on the line."""

    def train(width):
        net = nn.Sequential(
            Scaled(3, width, 1.0), nn.Tanh(),
            Scaled(width, width, width**-0.5), nn.Tanh(),
            Scaled(width, 1, width ** (-float(1 + s) / 2)),
        )  # fmt: skip
        optimizer = torch.optim.SGD(net.parameters(), lr=0.5 * width ** float(s))
        for _ in range(STEPS):
            loss = (net(X) - Y).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return train


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(7.4, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (label, s), color in zip(LINE.items(), ("#8d8d8d", "#5b9bd5", "#c0504d"), strict=True):
        found = tpdyn.limit(tpdyn.record(training(s), steps=STEPS), POINTS, 4)
        kernels = [found.kernels["3", step].value for step in range(STEPS)]  # "3" is the second tanh
        left.plot([float(k[0, 1] / (k[0, 0] * k[1, 1]).sqrt()) for k in kernels], "o-", ms=3, color=color, label=label)
        losses = torch.stack([loss.draws for loss in found.losses])
        right.plot(losses.mean(1), color=color, label=label)
        right.fill_between(range(STEPS), losses.amin(1), losses.amax(1), color=color, alpha=0.2, lw=0)
    left.set(xlabel="step", title="cosine of the features of two inputs")
    right.set(xlabel="step", title="loss (NTP: of four draws)", ylim=(0, None))
    left.legend(frameon=False, fontsize=8)
    figure.savefig(folder / "features.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
