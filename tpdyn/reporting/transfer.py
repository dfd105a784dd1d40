"""What does a sweep show? A verdict a line, a table, and the picture of Tensor Programs V (arXiv 2203.03466, Figure 1).

In the picture each width is one curve. It shows the training loss over the factor of the learning rate (or another
hyperparameter). If the curves' minima lie above each other, the best factor of a small width serves a large one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tpdyn.exponents import show_power
from tpdyn.pictures import blank
from tpdyn.reporting import terminal
from tpdyn.tuning.optimum import CONFIDENCE, Interval, Transfer

WORDS = {"lr": "learning rate", "init": "initial scale", "output": "output multiplier"}
COLOURS = {True: "#b2182b", False: "#1b7837", None: "#8c6d00"}  # moves, stays, undecided
DECADE = 10.0
"""Losses that span more than this are drawn on a logarithmic axis."""


def word_of(transfer: Transfer) -> str:
    """Name the swept hyperparameter in words."""
    name = transfer.sweep.hyperparameter
    return WORDS.get(name, name.replace("_", " "))


def show(transfers: Sequence[Transfer], to: Console | None = None) -> None:
    """Print the verdict of each sweep and its optima."""
    out = to or terminal.console()
    for transfer in transfers:
        out.print(verdict(transfer))
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
        for heading in ("width", "best factor", f"{CONFIDENCE:.0%} interval", "loss there"):
            table.add_column(heading, justify="right")
        for width, best, loss in zip(transfer.sweep.widths, transfer.best, transfer.loss, strict=True):
            edge = " (end of the grid)" if width in transfer.edges else ""
            table.add_row(str(width), f"{best.estimate:.3g}{edge}", f"[{best.low:.3g}, {best.high:.3g}]", f"{loss:.4g}")
        out.print()
        out.print(table)
        out.print()


def verdict(transfer: Transfer) -> Text:
    """Tell whether the optimum moves, its exponent, and the theory's word."""
    word = word_of(transfer)
    words, style = {
        True: (f"the best {word} MOVES with the width", "bold red"),
        False: (f"the best {word} stays", "bold green"),
        None: (f"undecided whether the best {word} moves", "bold yellow"),
    }[transfer.moves]
    text = Text(f"{transfer.sweep.name}: " if transfer.sweep.name else "")
    text.append(words, style)
    text.append(f": exponent {_numbers(transfer.exponent)} over these widths")
    if transfer.sweep.hyperparameter == "lr":
        text.append(
            "; theory: unstable at any rate as the width grows"
            if transfer.stable is None
            else f"; theory: the largest stable rate goes like {show_power(transfer.stable)}"
            if transfer.stable
            else "; theory: the largest stable rate does not depend on the width"
        )
    if transfer.moves is None:
        text.append("; try more seeds, or factors further out" if transfer.edges else "; try more seeds")
    return text


def _numbers(interval: Interval) -> str:
    return f"{interval.estimate:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"


def draw(transfers: Sequence[Transfer]) -> Any:
    """Draw the picture as a matplotlib figure. Raises ImportError with advice when matplotlib is missing."""
    figure = blank(1.0 + 4.0 * len(transfers), 3.9)
    import matplotlib as mpl

    panels = np.atleast_1d(figure.subplots(1, len(transfers), sharey=True))
    colours = mpl.colormaps["viridis"]
    lowest = min(float(t.sweep.losses[np.isfinite(t.sweep.losses)].min()) for t in transfers)
    start = max(float(np.median(t.sweep.losses[:, 0])) for t in transfers)
    start = start if math.isfinite(start) and start > lowest else lowest + 1.0
    first = panels[0]
    if lowest > 0 and start / lowest > DECADE:
        first.set_yscale("log")
        reach = start / lowest
        first.set_ylim(lowest / reach**0.08, start * reach**0.15)
    else:
        first.set_ylim(lowest - 0.06 * (start - lowest), start + 0.15 * (start - lowest))
    first.set_ylabel("training loss")
    for axes, transfer in zip(panels, transfers, strict=True):
        _panel(axes, transfer, colours)
        shown = (transfer.sweep.losses < first.get_ylim()[1]).any(axis=(0, 2)).nonzero()[0]
        last = min(shown[-1] + 1, len(transfer.sweep.factors) - 1)  # beyond, every run diverges
        axes.set_xlim(*np.log2([transfer.sweep.factors[0], transfer.sweep.factors[last]]))
    panels[-1].legend(title="width", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _panel(axes: Any, transfer: Transfer, colours: Any) -> None:
    """Draw one parametrization: a curve a width, with the spread of its seeds, and the optimum with its interval."""
    sweep = transfer.sweep
    powers = np.log2(sweep.factors)
    shades = np.linspace(0.9, 0.0, len(sweep.widths))
    for width, losses, best, shade in zip(sweep.widths, sweep.losses, transfer.best, shades, strict=True):
        colour = colours(shade)
        finite = np.isfinite(losses).all(axis=-1)
        mean = np.where(finite, losses.mean(axis=-1), np.nan)
        low = np.where(finite, losses.min(axis=-1), np.nan)
        high = np.where(finite, losses.max(axis=-1), np.nan)
        axes.fill_between(powers, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(powers, mean, "-", color=colour, linewidth=1.6, label=f"{width}")
        at, left, right = (math.log2(value) for value in (best.estimate, best.low, best.high))
        if finite.any():
            height = float(np.interp(at, powers[finite], mean[finite]))
            spread = [[at - left], [right - at]]
            axes.errorbar(
                at,
                height,
                xerr=spread,
                fmt="o",
                color=colour,
                markeredgecolor="white",
                markersize=7,
                capsize=3,
                zorder=3,
            )
    word = "moves" if transfer.moves else "stays" if transfer.moves is False else "undecided"
    axes.set_title(sweep.name, fontsize="medium", pad=20)
    axes.text(
        0.5, 1.02, f"optimum {word}: exponent {_numbers(transfer.exponent)}", transform=axes.transAxes, ha="center",
        va="bottom", fontsize="small", color=COLOURS[transfer.moves],
    )  # fmt: skip
    axes.set_xlabel(f"log\N{SUBSCRIPT TWO} ({word_of(transfer)} / the script's own)")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
