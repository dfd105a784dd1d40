"""How do networks of width 64 to 4096 come to their limit? Loss curves in muP beside the limit's, and distances from it.

python examples/gallery_widths.py docs/pictures
"""

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn

import tpdyn

STEPS, SEEDS, WIDTHS = 10, 8, (64, 256, 1024, 4096)
X = torch.tensor([[1.0, 0.2, -0.5], [0.2, 1.0, 0.6], [-0.7, 0.4, 1.0], [0.9, -0.8, 0.3]])
Y = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])


def train(width):
    """A network with two hidden layers in muP, on four inputs."""
    layers = [nn.Linear(a, b, bias=False) for a, b in ((3, width), (width, width), (width, 1))]
    for layer, std in zip(layers, (1.0, width**-0.5, 1 / width), strict=True):
        nn.init.normal_(layer.weight, 0, std)
    net = nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])
    rates = (0.5 * width, 0.5, 0.5 / width)
    optimizer = torch.optim.SGD([{"params": [w.weight], "lr": lr} for w, lr in zip(layers, rates, strict=True)])
    for _ in range(STEPS):
        loss = (net(X) - Y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    folder.mkdir(parents=True, exist_ok=True)
    program = tpdyn.record(train, steps=STEPS)
    found = tpdyn.approach(program, WIDTHS, SEEDS, beside=tpdyn.limit(program, 2**13, 4))
    figure = Figure(figsize=(7.4, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for width, color in zip(WIDTHS, ("#c6dbef", "#9ecae1", "#5b9bd5", "#1f5a99"), strict=True):
        for seed in range(3):
            run = tpdyn.simulate(program, width, seed)
            left.plot(run.losses, color=color, lw=1, label=f"n = {width}" if not seed else None)
    left.plot([float(loss.value) for loss in found.limit.losses], color="#c0504d", lw=2, label="limit")
    left.set(xlabel="step", title="loss of three runs at each width", ylim=(0, None))
    for step in (1, 4, STEPS - 1):
        right.plot(WIDTHS, [100 * d for d in found.row("loss", step).distance], "o-", ms=3, label=f"step {step}")
    first = 100 * found.row("loss", 1).distance[0]
    right.plot(WIDTHS, [first * (w / WIDTHS[0]) ** -0.5 for w in WIDTHS], "k:", lw=1, label="$n^{-1/2}$")
    right.set(xscale="log", yscale="log", xlabel="width", title="distance of a run's loss from the limit, %")
    right.set_xticks(WIDTHS, map(str, WIDTHS))
    right.minorticks_off()
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(folder / "widths.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
