"""What does a GPT's attention look at in the limit of infinite width? Its entropy in training, logits divided by d or its root.

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


class GPT(nn.Module):
    """One block: norm, a causal head, norm, two layers, and a norm before the readout."""

    def __init__(self, width, power):
        super().__init__()
        self.table, self.place = (nn.Parameter(torch.randn(6, width)) for _ in range(2))
        self.value, self.up, self.down = (nn.Parameter(torch.randn(width, width) * width**-0.5) for _ in range(3))
        self.out, self.attention = nn.Parameter(torch.randn(6, width) / width), Attention(width, power)

    def forward(self, tokens):
        width = self.table.shape[1]
        x = self.table[tokens] + self.place
        seen = nn.functional.layer_norm(x, (width,))
        x = x + self.attention(seen) @ (seen @ self.value.T)
        x = x + nn.functional.gelu(nn.functional.layer_norm(x, (width,)) @ self.up.T) @ self.down.T
        return nn.functional.layer_norm(x, (width,)) @ self.out.T


def training(power):
    """A GPT that predicts the next token, with Adam in muP."""

    def train(width):
        model = GPT(width, power)
        embeddings = [model.table, model.place]
        summing = [model.attention.query, model.attention.key, model.value, model.up, model.down, model.out]
        optimizer = torch.optim.Adam([{"params": embeddings, "lr": 0.05}, {"params": summing, "lr": 0.3 / width}])
        for _ in range(STEPS):
            logits = model(TOKENS)
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
            means = [sum(entropy(run.value("attention", step)) for run in runs) / SEEDS for step in range(STEPS)]
            axes.plot(means, color=color, label=f"n = {width}")
        if power == 1:
            found = tpdyn.limit(program, 2**12, 2)
            axes.plot(
                [entropy(found.value("attention", step).value) for step in range(STEPS)],
                "o-",
                color="#c0504d",
                label="limit",
            )
        axes.set(xlabel="step", title=f"entropy of attention, logits times {title}")
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(folder / "entropy.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
