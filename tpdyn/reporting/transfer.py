"""What does a sweep of learning rates show? A verdict a line, a table, and the picture of Tensor Programs V (2203.03466).

In the picture each width is one curve of the training loss over the learning rate's factor: where the curves' minima lie
above each other, a rate found at a small width serves a large one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tpdyn.exponents import show_power
from tpdyn.reporting import terminal
from tpdyn.tuning.optimum import CONFIDENCE, Interval, Transfer


def show(found: Sequence[Transfer], to: Console | None = None) -> None:
    """Print the verdict of each sweep and its optima."""
    out = to or terminal.console()
    for transfer in found:
        out.print(_verdict(transfer))
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
        for heading in ("width", "best factor", f"{CONFIDENCE:.0%} interval", "loss there"):
            table.add_column(heading, justify="right")
        for width, best, loss in zip(transfer.sweep.widths, transfer.best, transfer.loss, strict=True):
            edge = " (end of the grid)" if width in transfer.edges else ""
            table.add_row(str(width), f"{best.estimate:.3g}{edge}", f"[{best.low:.3g}, {best.high:.3g}]", f"{loss:.4g}")
        out.print()
        out.print(table)
        out.print()


def _verdict(transfer: Transfer) -> Text:
    words, style = {
        True: ("the best learning rate MOVES with the width", "bold red"),
        False: ("the best learning rate stays", "bold green"),
        None: ("undecided whether the best learning rate moves", "bold yellow"),
    }[transfer.moves]
    text = Text(f"{transfer.sweep.name}: " if transfer.sweep.name else "")
    text.append(words, style)
    text.append(f": exponent {_numbers(transfer.exponent)} over these widths; theory: ")
    text.append(
        "unstable at any rate as the width grows"
        if transfer.stable is None
        else f"the largest stable rate goes like {show_power(transfer.stable)}"
        if transfer.stable
        else "the largest stable rate does not depend on the width"
    )
    if transfer.moves is None:
        text.append("; try more seeds, or factors further out" if transfer.edges else "; try more seeds")
    return text


def _numbers(interval: Interval) -> str:
    return f"{interval.estimate:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"


def picture(found: Sequence[Transfer], path: Path) -> None:
    """Write the picture (png, svg or pdf by its name). Raises ImportError with advice when matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'tpdyn[pictures]'") from error
    figure = Figure(figsize=(4.2 * len(found), 3.4), layout="constrained")
    lowest = min(float(t.sweep.losses[np.isfinite(t.sweep.losses)].min()) for t in found)
    start = max(float(np.median(t.sweep.losses[:, 0])) for t in found)
    for axes, transfer in zip(np.atleast_1d(figure.subplots(1, len(found), sharey=True)), found, strict=True):
        sweep = transfer.sweep
        shades = np.linspace(0.85, 0.15, len(sweep.widths))
        for width, losses, best, shade in zip(sweep.widths, sweep.losses, transfer.best, shades, strict=True):
            colour = (0.1, 0.25 + 0.5 * shade, 0.45 + 0.5 * shade)
            mean = losses.mean(axis=-1)
            axes.plot(sweep.factors, mean, "-", color=colour, label=f"{width}")
            if np.isfinite(mean).any():
                axes.plot(best.estimate, np.nanmin(mean), "o", color=colour, markersize=5)
        axes.set(xscale="log", xlabel="learning rate / the script's own", title=sweep.name)
        axes.set_ylim(lowest - 0.05 * (start - lowest), start + 0.15 * abs(start - lowest))
        axes.grid(alpha=0.3)
    first = figure.axes[0]
    first.set_ylabel("training loss")
    first.legend(title="width", fontsize="small")
    figure.savefig(path, dpi=160)
