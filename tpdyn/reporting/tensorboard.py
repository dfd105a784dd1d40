"""How does the evidence get into TensorBoard? `log(report, "logs/my-run")` writes what its ordinary dashboards show.

One run per width holds every module's measured size and change over the steps. The prediction stands beside each change:
the change at the smallest width, carried along by the predicted order. A run with the width on the x axis holds the changes
of the verdict's step. It shows their band over the seeds. One run holds the verdict as a table, one the tensor program.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tpdyn.claims.report import Report
from tpdyn.exponents import Order
from tpdyn.measuring.measurement import Measurement
from tpdyn.parametrizing.maps.diagram import PhaseDiagram
from tpdyn.parametrizing.maps.picture import draw
from tpdyn.pictures import png
from tpdyn.program.program import Program
from tpdyn.regimes.predict import predict
from tpdyn.regimes.prediction import Prediction
from tpdyn.reporting import board, coordinates
from tpdyn.reporting.document import Document, of_phases, of_prediction, of_report
from tpdyn.reporting.events import Run, Setting, band, lines
from tpdyn.reporting.folders import write_folder
from tpdyn.reporting.graph import graph_of
from tpdyn.reporting.markdown import page
from tpdyn.reporting.tags import (
    CHANGE,
    CHANGE_OVER_WIDTHS,
    COORDINATES_TAG,
    HIGH,
    LOSS_TAG,
    LOW,
    PHASES_RUN,
    PHASES_TAG,
    PHASES_TEXT_TAG,
    PREDICTED,
    PROGRAM_RUN,
    SIZE,
    VERDICT_RUN,
    VERDICT_TAG,
    WIDTH_AXIS_RUN,
    run_of_width,
    tag_of,
)

PHASES_JSON = "phases.json"


def log(
    report: Report | Prediction | Program | PhaseDiagram, logdir: str | os.PathLike[str], *, script: str = ""
) -> Path:
    """Write a report for `tensorboard --logdir`; an earlier one in the same folder is replaced.

    A prediction, or a program (which is predicted first), becomes a graph. A phase diagram becomes a picture (Images), its
    phases in words (Text), and `phases.json` with its exact corners. script: the file that it is about, to tell logs apart.

    Returns the folder. Raises `CannotLog` when the folder cannot be written, or holds no log of ours; TypeError for anything
    else.
    """
    title = Path(logdir).name
    match report:
        case PhaseDiagram():
            document = of_phases(report, title=title, script=script)
            return write_folder(logdir, lambda folder: _write_phases(report, folder, document), script)
        case Report():
            document = of_report(report, title=title, script=script)
            return write_folder(logdir, lambda folder: _write(report, folder, document), script)
        case Prediction():
            document = of_prediction(report, title=title, script=script)
            return write_folder(logdir, lambda folder: _write_prediction(report, folder, document), script)
        case Program():
            return log(predict(report, remedy=False), logdir, script=script)
        case _:
            raise TypeError(
                f"{type(report).__name__} cannot be logged; expected a report (tpdyn.compare), a prediction, a program or a "
                "phase diagram"
            )


def _write(report: Report, folder: Path, document: Document) -> None:
    prediction, measurement = report.prediction, report.measurement
    with Run(folder / VERDICT_RUN) as run:
        board.write(run, folder, document, prediction)
        run.text(VERDICT_TAG, page(document))
        if importlib.util.find_spec("matplotlib") is not None:
            run.image(COORDINATES_TAG, png(coordinates.draw(report)))
        run.layout(_charts(measurement))
        run.experiment(_settings(report, 0), [tag_of(CHANGE, name) for name in measurement.names])
    _write_program(prediction, folder)
    for index, width in enumerate(measurement.widths):
        with Run(folder / run_of_width(width)) as run:
            run.session(_settings(report, index))
            _write_steps(run, prediction, measurement, index)
    with Run(folder / WIDTH_AXIS_RUN) as run:
        _write_widths(run, report)


def _write_prediction(prediction: Prediction, folder: Path, document: Document) -> None:
    with Run(folder / VERDICT_RUN) as run:
        board.write(run, folder, document, prediction)
    _write_program(prediction, folder)


def _write_program(prediction: Prediction, folder: Path) -> None:
    with Run(folder / PROGRAM_RUN) as run:
        run.graph(graph_of(prediction.program, prediction.sizes, prediction.changes))


def _write_phases(diagram: PhaseDiagram, folder: Path, document: Document) -> None:
    picture = png(draw(diagram))
    with Run(folder / PHASES_RUN) as run:
        board.write(run, folder, document)
        run.image(PHASES_TAG, picture)
        run.text(PHASES_TEXT_TAG, "\n".join(f"    {line}" for line in diagram.show().splitlines()))
    (folder / PHASES_JSON).write_text(json.dumps(diagram.to_dict(), indent=2) + "\n", encoding="utf-8")


def _write_steps(run: Run, prediction: Prediction, measurement: Measurement, index: int) -> None:
    """Write the steps of one width: size, change, predicted change of every module; the loss."""
    sizes, changes = _mean(measurement.size), _mean(measurement.change)
    losses = _mean(measurement.loss)
    ratio = measurement.widths[index] / measurement.widths[0]
    for column, name in enumerate(measurement.names):
        for step in range(sizes.shape[1]):
            order = _order(prediction, name, step)
            run.scalar(tag_of(SIZE, name), step, sizes[index, step, column])
            run.scalar(tag_of(CHANGE, name), step, changes[index, step, column])
            if order is not None:
                predicted = changes[0, step, column] * ratio ** float(order)
                run.scalar(tag_of(CHANGE, name, PREDICTED), step, predicted)
    for step in range(losses.shape[1]):
        run.scalar(LOSS_TAG, step, losses[index, step])


def _write_widths(run: Run, report: Report) -> None:
    """Write the changes at the step of the verdict against the width (TensorBoard's "step"): mean, band, prediction."""
    prediction, measurement, step = report.prediction, report.measurement, report.step
    means = _mean(measurement.change)[:, step]
    spread = _standard_error(measurement.change)[:, step]
    for column, name in enumerate(measurement.names):
        order = _order(prediction, name, step)
        for index, width in sorted(enumerate(measurement.widths), key=lambda pair: pair[1]):
            mean, reach = means[index, column], 2.6 * spread[index, column]  # 99 % of a normal law
            run.scalar(tag_of(CHANGE_OVER_WIDTHS, name), width, mean)
            run.scalar(tag_of(CHANGE_OVER_WIDTHS, name, LOW), width, mean - reach)
            run.scalar(tag_of(CHANGE_OVER_WIDTHS, name, HIGH), width, mean + reach)
            if order is not None:
                ratio = width / measurement.widths[0]
                run.scalar(tag_of(CHANGE_OVER_WIDTHS, name, PREDICTED), width, means[0, column] * ratio ** float(order))


def _charts(measurement: Measurement) -> dict[str, list[Any]]:
    names = measurement.names
    return {
        "change of each module: measured and predicted": [
            lines(name, [tag_of(CHANGE, name), tag_of(CHANGE, name, PREDICTED)]) for name in names
        ],
        f"change against width (run '{WIDTH_AXIS_RUN}', width as step)": [
            band(name, *(tag_of(CHANGE_OVER_WIDTHS, name, kind) for kind in ("", LOW, HIGH))) for name in names
        ],
    }


def _settings(report: Report, index: int) -> list[tuple[str, Setting]]:
    measurement = report.measurement
    return [
        ("width", measurement.widths[index]),
        ("steps", measurement.steps),
        ("seeds", len(measurement.seeds)),
        ("regime", report.prediction.regime.value),
    ]


def _order(prediction: Prediction, name: str, step: int) -> Order:
    """Look up the predicted order of the change in one step. None also where the program has no such module or step."""
    try:
        return prediction.order(name, "change", step=step)
    except KeyError:
        return None


def _mean(values: NDArray[Any]) -> NDArray[np.float64]:
    """Average over the seeds (axis 1). A diverged run is data: it makes the mean infinite or NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        mean: NDArray[np.float64] = np.asarray(values, dtype=np.float64).mean(axis=1)
    return mean


def _standard_error(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the standard error of the mean over the seeds; 0 for a single seed."""
    seeds = values.shape[1]
    if seeds < 2:
        return np.zeros((values.shape[0], *values.shape[2:]))
    with np.errstate(invalid="ignore", over="ignore"):
        error: NDArray[np.float64] = np.asarray(values, dtype=np.float64).std(axis=1, ddof=1) / np.sqrt(seeds)
    return error
