"""Does a linear model at infinite width learn word vectors? As in Tensor Programs IV (arXiv 2011.14522), but in small.

Words come from a made-up language of analogies. A word is a pair (country, role), and words appear together if they share
the country or the role. A linear network with one hidden layer predicts the neighbour of a word, as word2vec does without
negative sampling. In the neural tangent parametrization its word vectors stay as they were drawn: no analogy holds. In muP
they are learned, at infinite width as well.

python examples/gallery_words.py docs/pictures
"""

import sys
from fractions import Fraction
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional as F

import tpdyn

COUNTRIES, ROLES, STEPS, WIDTH, POINTS = 5, 3, 12, 1024, 2**11
WORDS = COUNTRIES * ROLES
LINE = {"NTP": Fraction(0), "muP": Fraction(1)}


def language():
    """How often each word follows each: words of one country, and words of one role."""
    country, role = torch.arange(WORDS) // ROLES, torch.arange(WORDS) % ROLES
    together = (country[:, None] == country) * 1.0 + (role[:, None] == role) * 0.7
    return together / together.sum(1, keepdim=True)


NEIGHBOURS = language()


class Words(nn.Module):
    """Word vectors of entries of size 1 and a readout with a multiplier."""

    def __init__(self, width, s):
        super().__init__()
        self.vectors = nn.Embedding(WORDS, width)
        self.readout = nn.Linear(width, WORDS, bias=False)
        self.multiplier = width ** (-float(1 + s) / 2)
        for layer in (self.vectors, self.readout):
            nn.init.normal_(layer.weight)

    def forward(self, words):
        return self.multiplier * self.readout(self.vectors(words))


def training(s, nets=None):
    """Train on all words at once; s: 0 is NTP, 1 is muP."""

    def train(width):
        net = Words(width, s)
        optimizer = torch.optim.SGD(net.parameters(), lr=12.0 * width ** float(s))
        words = torch.arange(WORDS)
        for _ in range(STEPS):
            loss = -(NEIGHBOURS * F.log_softmax(net(words), -1)).sum(-1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        net(words)
        if nets is not None:
            nets.append(net)

    return train


def solved(kernel):
    """The share of analogies a : b = c : ? that are solved. The nearest other word, by inner products of word vectors, must
    be the right one.
    """
    right, asked = 0, 0
    norms = kernel.diagonal().sqrt()
    for a in range(WORDS):
        for b in range(WORDS):
            for c in range(WORDS):
                row, column = (b // ROLES == a // ROLES), (c % ROLES == a % ROLES)
                if len({a, b, c}) < 3 or not (row and column):
                    continue
                target = (c // ROLES) * ROLES + b % ROLES
                score = (kernel[b] - kernel[a] + kernel[c]) / norms
                score[[a, b, c]] = -torch.inf
                right, asked = right + int(score.argmax() == target), asked + 1
    return right / asked


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(7.4, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (label, s), color in zip(LINE.items(), ("#8d8d8d", "#c0504d"), strict=True):
        limit = tpdyn.limit(tpdyn.record(training(s), steps=STEPS), POINTS, 2)
        kernels = [limit.kernels["vectors", step].value for step in range(STEPS)]
        left.plot([solved(kernel) for kernel in kernels], "o-", ms=3, color=color, label=f"{label}, infinite width")
        right.plot([float(loss.value) for loss in limit.losses], color=color, label=f"{label}, infinite width")
        nets = []
        torch.manual_seed(0)
        training(s, nets)(WIDTH)
        vectors = nets[0].vectors.weight.detach()
        share = solved(vectors @ vectors.T / WIDTH)
        left.plot([STEPS], [share], "s", mfc="none", color=color, label=f"{label}, width {WIDTH}")
        print(f"{label}: {solved(kernels[-1]):.0%} of the analogies at infinite width, {share:.0%} at width {WIDTH}")
    left.set(xlabel="step", title="analogies solved by word vectors", ylim=(-0.03, 1.03))
    right.set(xlabel="step", title="loss")
    left.legend(frameon=False, fontsize=8)
    figure.savefig(folder / "words.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
