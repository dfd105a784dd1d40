"""What do the four regimes look like? The change of each layer against the width, seen and predicted.

python examples/gallery_regimes.py docs/pictures
"""

import sys
from pathlib import Path

import digits_mlp
import numpy as np
import torch
from matplotlib.figure import Figure

import tpdyn

WIDTHS, SEEDS, STEPS = (64, 128, 256, 512), 8, 3
COLOURS = {"fc1": "#5b9bd5", "fc2": "#1f8a4c", "out": "#c0504d"}


def train_trivial(width):
    """The NTK parametrization with a rate that falls with the width."""
    model = digits_mlp.NTKMLP(width)
    return digits_mlp.fit(model, torch.optim.SGD(model.parameters(), lr=8 / width**0.5))


CASES = {
    "unstable": digits_mlp.train,
    "trivial": train_trivial,
    "kernel": digits_mlp.train_ntk,
    "feature-learning": digits_mlp.train_mup,
}


def draw(train) -> Figure:
    prediction = tpdyn.predict(tpdyn.record(train, widths=(16, 24, 40), steps=STEPS))
    measured = tpdyn.measure(train, widths=WIDTHS, seeds=SEEDS, steps=STEPS)
    report = tpdyn.compare(prediction, measured)
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.subplots()
    for name, colour in COLOURS.items():
        order = max(row.change_order for row in report.rows() if row.name == name)
        changes = np.exp(np.log(measured.change[:, :, report.step, measured.index(name)]).mean(1))
        label = f"{name}: n^{order} predicted" if order else f"{name}: constant predicted"
        axes.plot(WIDTHS, changes, "o", color=colour, label=label)
        line = changes[-1] * (np.array(WIDTHS) / WIDTHS[-1]) ** float(order)
        axes.plot(WIDTHS, line, "--", color=colour, linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="width", ylabel="change by training")
    axes.set_xticks(WIDTHS, map(str, WIDTHS))
    axes.minorticks_off()
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, high / 30), high * 1.5)
    axes.legend(frameon=False, fontsize=8)
    axes.set_title(prediction.regime.value)
    return figure


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    folder.mkdir(parents=True, exist_ok=True)
    for name, train in CASES.items():
        draw(train).savefig(folder / f"regime-{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
