"""How does a limit get into TensorBoard? `log_limit(found, "logs/my-limit")`: the tab's document, losses as scalars, words.

The run "limit" has the losses at infinite width over the steps. Runs "width=64", ... have those of real runs, if there were any.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from tpdyn.claims.report import Report
from tpdyn.limits.comparison import Approach
from tpdyn.limits.limit import Limit
from tpdyn.measuring.measurement import Measurement
from tpdyn.program.program import Program
from tpdyn.reporting import board
from tpdyn.reporting.document import Document, of_limit
from tpdyn.reporting.events import Run
from tpdyn.reporting.folders import folder_of, write_folder
from tpdyn.reporting.markdown import page
from tpdyn.reporting.tags import HIGH, LIMIT_RUN, LOSS_TAG, LOW, VERDICT_RUN, VERDICT_TAG, run_of_width


def log_limit(
    limit: Limit,
    logdir: str | os.PathLike[str],
    measurement: Measurement | None = None,
    approach: Approach | None = None,
    *,
    script: str = "",
    program: Program | None = None,
) -> Path:
    """Write a limit for `tensorboard --logdir`; an earlier one in the same folder is replaced. script: see `log`.

    measurement: real runs at growing widths, to be shown beside it. approach: runs of the recorded program, with their outputs,
    kernels and distributions. program: the recorded one, by which a check of it is found. Returns the folder; raises
    `CannotLog` as `log` does.
    """
    document = of_limit(limit, measurement, approach, title=Path(logdir).name, script=script, program=program)
    return write_folder(logdir, lambda folder: _write(limit, measurement, folder, document), script)


def log_beside(report: Report, logdir: str | os.PathLike[str], *, script: str = "") -> Path | None:
    """Write the limit of a check beside its folder, as "<folder>-limit"; None where the check has none. See `log_limit`."""
    if report.approach is None:
        return None
    folder = folder_of(Path(logdir).parent, f"{Path(logdir).name}-limit", script)
    found = report.approach
    return log_limit(found.limit, folder, report.measurement, found, script=script, program=report.prediction.program)


def _write(limit: Limit, measurement: Measurement | None, folder: Path, document: Document) -> None:
    with Run(folder / VERDICT_RUN) as run:
        board.write(run, folder, document)
        run.text(VERDICT_TAG, page(document))
    with Run(folder / LIMIT_RUN) as run:
        for step, estimate in enumerate(limit.losses):
            value, error = float(estimate.value), float(estimate.error)
            for tag, number in (
                (LOSS_TAG, value),
                (f"{LOSS_TAG} {LOW}", value - error),
                (f"{LOSS_TAG} {HIGH}", value + error),
            ):
                run.scalar(tag, step, number)
    if measurement is not None:
        with np.errstate(invalid="ignore", over="ignore"):
            means = measurement.loss.mean(axis=1)
        for index, width in enumerate(measurement.widths):
            with Run(folder / run_of_width(width)) as run:
                for step in range(means.shape[1]):
                    run.scalar(LOSS_TAG, step, float(means[index, step]))
