"""Why does muP divide attention logits by d and not by its root? The logits of a head before training and after.

python examples/gallery_attention.py docs/pictures
"""

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

WIDTHS, SEEDS, STEPS = (64, 128, 256, 512, 1024), 6, 3


def products(width, seed):
    """The size of q.k before training, and its change after three steps of sign descent, like Adam's under muP."""
    torch.manual_seed(seed)
    x = torch.randn(8, width)
    query, key = (torch.randn(width, width) * width**-0.5 for _ in range(2))
    before = ((x @ query.T) * (x @ key.T)).sum(1)
    for _ in range(STEPS):  # along the gradient of q.k; entries move by 1/width, so that q and k move by 1
        q, k = x @ query.T, x @ key.T
        query, key = query + 0.3 / width * (k.T @ x).sign(), key + 0.3 / width * (q.T @ x).sign()
    after = ((x @ query.T) * (x @ key.T)).sum(1)
    return float(before.abs().mean()), float((after - before).abs().mean())


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    folder.mkdir(parents=True, exist_ok=True)
    seen = np.array([np.mean([products(width, seed) for seed in range(SEEDS)], axis=0) for width in WIDTHS])
    figure = Figure(figsize=(7.4, 3.2), layout="constrained")
    for axes, power, title in zip(figure.subplots(1, 2), (0.5, 1), ("divided by sqrt(d)", "divided by d"), strict=True):
        scale = np.array(WIDTHS, float) ** -power
        axes.plot(WIDTHS, seen[:, 0] * scale, "o-", color="#5b9bd5", label="before training")
        axes.plot(WIDTHS, seen[:, 1] * scale, "o-", color="#c0504d", label=f"change after {STEPS} steps")
        axes.set(xscale="log", yscale="log", xlabel="size d of the head", title=f"logits {title}")
        axes.set_xticks(WIDTHS, map(str, WIDTHS))
        axes.minorticks_off()
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(folder / "attention.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
