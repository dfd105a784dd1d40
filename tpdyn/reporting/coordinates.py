"""Do coordinates keep their size as the width grows? The picture of every module's change against the width.

One panel a module: the mean change at the compared step with its seeds. Beside it is the predicted power through the
smallest width. Where theory is right the two run in parallel.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tpdyn.claims.outcome import ReportRow
from tpdyn.claims.report import Report
from tpdyn.exponents import show_order
from tpdyn.pictures import blank
from tpdyn.reporting.table import fold

MOST = 24
"""Panels in one picture; a deep network has more modules than fit, and the first ones are drawn."""

COLUMNS = 4
COLOURS = {"agrees": "tab:green", "disagrees": "tab:red", "diverged": "tab:red"}


def draw(report: Report) -> Any:
    """Draw the picture as a matplotlib figure. Raises ImportError with advice when matplotlib is missing."""
    rows = [row for row in report.rows() if row.name in report.measurement.names][:MOST]
    across = min(COLUMNS, max(1, len(rows)))
    down = max(1, math.ceil(len(rows) / across))
    figure = blank(0.6 + 2.4 * across, 0.8 + 2.1 * down)
    panels = np.atleast_1d(figure.subplots(down, across, sharex=True)).ravel()
    for axes, row in zip(panels, rows, strict=False):
        _panel(axes, report, row)
    for axes in panels[len(rows) :]:
        axes.set_visible(False)
    figure.suptitle(f"change at step {report.step} against the width; dashed: theory", fontsize="medium")
    return figure


def _panel(axes: Any, report: Report, row: ReportRow) -> None:
    measurement = report.measurement
    values = measurement.change[:, :, report.step, measurement.index(row.name)]
    values = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    widths = np.asarray(measurement.widths, dtype=float)
    some = np.isfinite(values).any(axis=1)
    colour = COLOURS.get(row.verdict, "tab:orange")
    axes.set_xscale("log", base=2)
    axes.set_title(f"{fold(row.name or 'root', 26)}: {show_order(row.change_order)}", fontsize="small")
    if some.any():
        axes.set_yscale("log")
        logs = np.log(values[some])
        mean = np.exp(np.nanmean(logs, axis=1))
        axes.plot(
            np.repeat(widths[some], values.shape[1]), values[some].ravel(), ".", color=colour, alpha=0.3, markersize=4
        )
        axes.plot(widths[some], mean, "o-", color=colour, linewidth=1.4, markersize=4)
        if row.change_order is not None:
            theory = mean[0] * (widths / widths[some][0]) ** float(row.change_order)
            axes.plot(widths, theory, "--", color="0.3", linewidth=1.2)
        low, high = axes.get_ylim()
        if high / low < 10:  # a flat line should look flat
            middle = math.sqrt(low * high)
            axes.set_ylim(middle / 10**0.5, middle * 10**0.5)
    axes.set_xticks(widths, [str(width) for width in measurement.widths])
    axes.minorticks_off()
    low, high = axes.get_ylim()
    ticks = [low * (high / low) ** share for share in (0.1, 0.5, 0.9)] if some.any() else [low, high]
    axes.set_yticks(ticks, [f"{tick:.2g}" for tick in ticks])
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize="x-small")
