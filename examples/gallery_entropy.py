"""What does a head of attention look at in the limit of infinite width? Its entropy in training, logits divided by d or its root.

Divided by d, attention starts uniform and learns. Divided by the root, it starts random, and the trained logits have no
limit. They grow as the root of d, so the entropy of wide heads collapses. The curves are runs at growing widths, and the
limit.

python examples/gallery_entropy.py docs/pictures
"""

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn

import tpdyn

STEPS, WIDTHS, SEEDS = 5, (32, 128, 512), 4
TOKENS = torch.tensor([[0, 1, 2, 3, 4, 5], [3, 0, 5, 1, 4, 2], [2, 2, 1, 0, 5, 3]])


class Attention(nn.Module):
    """The weights of one causal head, logits divided by width^power."""

    def __init__(self, width, power):
        super().__init__()
        self.query, self.key = (nn.Parameter(torch.randn(width, width) * width**-0.5) for _ in range(2))
        self.scale = width**-power

    def forward(self, x):
        logits = self.scale * (x @ self.query.T) @ (x @ self.key.T).transpose(-1, -2)
        hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        return logits.masked_fill(hidden, float("-inf")).softmax(-1)


def training(power):
    """A head that predicts the next token, with Adam in muP."""

    def train(width):
        table, place = (nn.Parameter(torch.randn(6, width)) for _ in range(2))
        value = nn.Parameter(torch.randn(width, width) * width**-0.5)
        out, attention = nn.Parameter(torch.randn(6, width) / width), Attention(width, power)
        hidden = [attention.query, attention.key, value, out]
        groups = [{"params": [table, place], "lr": 0.05}, {"params": hidden, "lr": 0.3 / width}]
        optimizer = torch.optim.Adam(groups)
        for _ in range(STEPS):
            x = table[TOKENS] + place
            mixed = x + attention(x) @ (x @ value.T)
            logits = mixed @ out.T
            loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return train


def entropy(weights):
    """Mean entropy of the rows of the last three tokens, in nats."""
    return float(-(weights * weights.clamp_min(1e-30).log()).sum(-1)[..., -3:].mean())


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(7.4, 3.2), layout="constrained")
    for axes, power, title in zip(figure.subplots(1, 2, sharey=True), (0.5, 1), ("1/sqrt(d)", "1/d"), strict=True):
        program = tpdyn.record(training(power), steps=STEPS)
        for width, color in zip(WIDTHS, ("#c6dbef", "#9ecae1", "#1f5a99"), strict=True):
            runs = [tpdyn.simulate(program, width, seed) for seed in range(SEEDS)]
            means = [sum(entropy(run.value("output", step)) for run in runs) / SEEDS for step in range(STEPS)]
            axes.plot(means, color=color, label=f"n = {width}")
        if power == 1:
            found = tpdyn.limit(program, 2**11, 2)
            axes.plot(
                [entropy(found.value("output", step).value) for step in range(STEPS)],
                "o-",
                color="#c0504d",
                label="limit",
            )
        axes.set(xlabel="step", title=f"entropy of attention, logits times {title}")
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(folder / "entropy.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
