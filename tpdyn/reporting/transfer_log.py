"""How does a sweep get into TensorBoard? `log_transfers(found, "logs/my-sweep")` writes what its ordinary dashboards show.

One run for each parametrization and width holds its losses. There the axis "step" is the position in the grid of factors.
For the hparams dashboard it has its best factor and the loss there. One run for each parametrization has the best factor,
with its interval, against the width. There the axis "step" is the width. The run "verdict" holds the words (Text) and,
where matplotlib is there, the picture (Images).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tpdyn.pictures import png
from tpdyn.reporting import board
from tpdyn.reporting.document import Document, of_transfers
from tpdyn.reporting.events import Run, Setting, band
from tpdyn.reporting.folders import write_folder
from tpdyn.reporting.markdown import escaped, page
from tpdyn.reporting.tags import (
    BEST_TAG,
    HIGH,
    LOSS_TAG,
    LOW,
    LOWEST_TAG,
    PICTURE_TAG,
    VERDICT_RUN,
    VERDICT_TAG,
    WIDTH_AXIS_RUN,
    run_of_width,
)
from tpdyn.reporting.transfer import draw
from tpdyn.tuning.optimum import Transfer


def log_transfers(transfers: Sequence[Transfer], logdir: str | os.PathLike[str], *, script: str = "") -> Path:
    """Write sweeps for `tensorboard --logdir`; earlier ones in the same folder are replaced. script: see `log`.

    Returns the folder. Raises `CannotLog` when the folder cannot be written, or holds files that are not ours.
    """
    document = of_transfers(transfers, title=Path(logdir).name, script=script)
    return write_folder(logdir, lambda folder: _write(transfers, folder, document), script)


def _write(transfers: Sequence[Transfer], folder: Path, document: Document) -> None:
    with Run(folder / VERDICT_RUN) as run:
        board.write(run, folder, document)
        run.text(VERDICT_TAG, "\n\n".join((page(document), *map(_factors, transfers))))
        charts = [band("best factor against width", BEST_TAG, f"{BEST_TAG} {LOW}", f"{BEST_TAG} {HIGH}")]
        run.layout({f"(runs '{WIDTH_AXIS_RUN}', width as step)": charts})
        run.experiment(_settings(transfers[0], 0), [BEST_TAG, LOWEST_TAG])
        if importlib.util.find_spec("matplotlib") is not None:
            run.image(PICTURE_TAG, png(draw(transfers)))
    for transfer in transfers:
        below = folder / _folder(transfer.sweep.name)
        for index, width in enumerate(transfer.sweep.widths):
            with Run(below / run_of_width(width)) as run:
                run.session(_settings(transfer, index))
                run.scalar(BEST_TAG, 0, transfer.best[index].estimate)
                run.scalar(LOWEST_TAG, 0, transfer.loss[index])
                with np.errstate(invalid="ignore"):
                    means = transfer.sweep.losses[index].mean(axis=-1)
                for step, loss in enumerate(means):
                    run.scalar(LOSS_TAG, step, float(loss))
        with Run(below / WIDTH_AXIS_RUN) as run:
            for width, best in zip(transfer.sweep.widths, transfer.best, strict=True):
                run.scalar(BEST_TAG, width, best.estimate)
                run.scalar(f"{BEST_TAG} {LOW}", width, best.low)
                run.scalar(f"{BEST_TAG} {HIGH}", width, best.high)


def _settings(transfer: Transfer, index: int) -> list[tuple[str, Setting]]:
    sweep = transfer.sweep
    return [
        ("parametrization", sweep.name),
        ("hyperparameter", sweep.hyperparameter),
        ("width", sweep.widths[index]),
        ("steps", sweep.steps),
        ("seeds", len(sweep.seeds)),
    ]


def _factors(transfer: Transfer) -> str:
    """Say which factor a step of the losses is."""
    factors = ", ".join(f"{factor:g}" for factor in transfer.sweep.factors)
    return f"{escaped(transfer.sweep.name or 'the script')}: factors, by step: {factors}."


def _folder(name: str) -> str:
    """Turn a name into that of one folder."""
    return (
        "".join(letter if letter.isalnum() or letter in " ._-=,+" else "_" for letter in name).strip(" .") or "script"
    )
