"""What does a log folder hold, in one document? The data from which the tab, the report and `verdict.json` are made.

A document is plain JSON. `schema` names its version ("tpdyn.board/1"), `kind` what it is about: "check" (a prediction, and runs
if there were any), "phases", "transfer", "limit", or "monitor" (made by `tpdyn.board.watched`). Orders are strings such as
"-1/2", null for identically zero. Numbers have five digits; one that is not finite is null. The fields are described in
docs/reference/verdict.md, and `SCHEMA` changes when one of them changes its meaning or leaves.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tpdyn.claims.outcome import ReportRow
from tpdyn.claims.report import Report, expected_rows, row_to_dict
from tpdyn.claims.statistics import CROSSOVER, FLOOR, GROWING_CROSSOVER, OrderEstimate, estimate_order
from tpdyn.exponents import Order, direction
from tpdyn.limits.comparison import Approach
from tpdyn.limits.limit import Estimate, Limit
from tpdyn.measuring.measurement import SPLIT, Measurement
from tpdyn.parametrizing.maps.diagram import PhaseDiagram
from tpdyn.program.program import Program, Source
from tpdyn.program.show import show_statement
from tpdyn.regimes.prediction import COMPARED, Prediction, Reason, Row
from tpdyn.reporting.tags import SCHEMA
from tpdyn.reporting.transfer import verdict as transfer_verdict
from tpdyn.reporting.transfer import word_of
from tpdyn.reporting.words import advice, evidence, headline, missing
from tpdyn.tuning.optimum import CONFIDENCE, Transfer

DIGITS = 5
ROWS, ENTRIES = 3, 6
"""Rows of kernels and distributions, and entries of outputs, whose values at each width are kept."""

IDENTITY = ("statements", "parameters", "marks")
"""What a program is, whatever the widths at which it was recorded."""

Document = dict[str, Any]

NO_RUNS: Document = {"size": [], "change": [], "split": None, "fits": []}


def of_report(report: Report, *, title: str = "", script: str = "", runs: tuple[int, int] | None = None) -> Document:
    """Make the document of a check. runs: (made, in all) while further runs are being made."""
    measurement = report.measurement
    return {
        **_head("check", title, script),
        **report.to_dict(),
        **_predicted(report.prediction),
        "says": evidence(report),
        "missing": missing(report),
        "advice": advice(report),
        "notes": [*report.prediction.program.notes, *report.notes],
        "confidence": report.confidence,
        "margin": report.margin,
        "widths": list(measurement.widths),
        "seeds": list(measurement.seeds),
        "steps": measurement.steps,
        "device": measurement.device,
        "runs": None if runs is None else list(runs),
        "loss": _listed(measurement.loss),
        "modules": [_module(report.prediction, row, report) for row in report.rows()],
    }


def of_prediction(
    prediction: Prediction, *, title: str = "", script: str = "", runs: tuple[int, int] | None = None
) -> Document:
    """Make the document of a prediction without runs; fields of measurements are null or empty. runs: see `of_report`."""
    rows = [row for row in prediction.rows() if row.kind in COMPARED]
    return {
        **_head("check", title, script),
        "regime": prediction.regime.value,
        "outcome": None,
        "agrees": None,
        "counts": None,
        "claims": [],
        "step": max((row.step for row in rows), default=0),
        "reasons": [reason.told() for reason in (*prediction.reasons, *prediction.outside)],
        **_predicted(prediction),
        "says": "",
        "missing": [],
        "advice": [],
        "notes": list(prediction.program.notes),
        "confidence": None,
        "margin": None,
        "widths": [],
        "seeds": [],
        "steps": max((row.step + 1 for row in rows), default=0),
        "device": None,
        "runs": None if runs is None else list(runs),
        "loss": [],
        "limit": None,
        "modules": [_module(prediction, row) for row in expected_rows(prediction)],
    }


def of_refusal(message: str, *, title: str = "", script: str = "") -> Document:
    """Make the document of a script whose prediction is refused; the message says why."""
    none = {"regime": None, "outcome": None, "agrees": None, "modules": [], "reasons": [message]}
    return {**_head("refusal", title, script), **none}


def of_phases(diagram: PhaseDiagram, *, title: str = "", script: str = "") -> Document:
    """Make the document of a phase diagram; numbers of its plane are exact, and therefore strings."""
    return {**_head("phases", title, script), "phases": diagram.to_dict(), "words": diagram.show()}


def of_transfers(transfers: Sequence[Transfer], *, title: str = "", script: str = "") -> Document:
    """Make the document of a sweep of a hyperparameter."""
    sweeps = [
        {**transfer.to_dict(), "says": transfer_verdict(transfer).plain, "word": word_of(transfer)}
        for transfer in transfers
    ]
    return {**_head("transfer", title, script), "confidence": CONFIDENCE, "transfers": _plain(sweeps)}


def of_limit(
    limit: Limit,
    measurement: Measurement | None = None,
    approach: Approach | None = None,
    *,
    title: str = "",
    script: str = "",
    program: Program | None = None,
) -> Document:
    """Make the document of a limit, with the losses of real runs at growing widths if there are any."""
    return {
        **_head("limit", title, script),
        **numbers_of(limit, _listed),
        "sizes": [named(key, each, _listed) for key, each in limit.sizes.items()],
        "widths": [] if measurement is None else list(measurement.widths),
        "seeds": [] if measurement is None else list(measurement.seeds),
        "measured_losses": [] if measurement is None else _listed(measurement.loss),
        "program": "" if program is None else identity(program),
        "approach": None if approach is None else _approach(approach),
    }


def identity(program: Program) -> str:
    """Name a program by its content: two logs with the same name are about the same computation, at any width."""
    content = {key: value for key, value in json.loads(program.to_json()).items() if key in IDENTITY}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for name, array in sorted(program.arrays.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _approach(approach: Approach) -> Document:
    """Tell how runs come to the limit: distances, and mean and spread of some entries at each width."""
    rows = []
    for row, told in zip(approach.rows, approach.to_dict()["rows"], strict=True):
        samples = approach.samples[row.kind, row.name, row.step]
        entries = _entries(row.kind, tuple(samples[0].shape[1:]))
        picked = [[each.movedim(0, -1)[entry] for entry in entries] for each in samples]
        rows.append(
            _plain(told)
            | {
                "entries": [list(entry) for entry in entries],
                "mean": [[_listed(each.mean(-1)) for each in some] for some in picked],
                "spread": [[_listed(each.std(-1)) for each in some] for some in picked],
            }
        )
    return {"widths": list(approach.widths), "seeds": approach.seeds, "rows": rows}


def _entries(kind: str, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Pick the entries whose values are kept at each width: single ones of values and kernels, whole rows of quantiles."""
    if kind == "distribution":
        return [(row,) for row in range(min(shape[0], ROWS))]
    if kind == "kernel":
        return [(i, j) for j in range(min(shape[0], ROWS)) for i in range(j + 1)]
    return [tuple(int(k) for k in np.unravel_index(at, shape)) for at in range(min(math.prod(shape), ENTRIES))]


def summary(document: Mapping[str, Any]) -> Document:
    """Summarise a document for a list of logs: its kind, and the result in one line."""
    says = document.get("regime") or document.get("says") or ""
    if document.get("kind") == "transfer":
        says = "; ".join(str(each.get("says", "")) for each in document.get("transfers", ()))
    return {
        "schema": document.get("schema"),
        "kind": document.get("kind"),
        "title": document.get("title"),
        "script": document.get("script"),
        "says": says,
        "outcome": document.get("outcome"),
        "runs": document.get("runs"),
    }


def _head(kind: str, title: str, script: str) -> Document:
    from tpdyn import __version__

    return {"schema": SCHEMA, "kind": kind, "tpdyn": __version__, "title": title, "script": script}


def _predicted(prediction: Prediction) -> Document:
    name, meaning = headline(prediction)
    program = prediction.program
    return {
        "headline": name.lower(),
        "meaning": meaning,
        "entrywise": prediction.entrywise,
        "because": [_reason(prediction, reason) for reason in prediction.reasons],
        "outside": [_reason(prediction, reason) for reason in prediction.outside],
        "settles": prediction.settles,
        "read": prediction.read,
        "recorded": {"widths": list(program.widths), "verified": program.verified, "steps": program.steps},
        "statements": len(program),
        "program": identity(program),
        "epsilon": {name: _number(width) for name, width in prediction.epsilon.items()},
    }


def _reason(prediction: Prediction, reason: Reason) -> Document:
    names = {statement.name: position for position, statement in enumerate(prediction.program.statements)}
    position = names.get(reason.statement)
    return {
        "text": reason.text,
        "module": reason.module,
        "statement": reason.statement,
        "position": position,
        "formula": "" if position is None else show_statement(prediction.program, position),
        "place": _location(reason.source),
        "fix": reason.fix,
    }


def _location(source: Source) -> Document | None:
    return {"file": source.file, "line": source.line, "text": source.text.strip()} if source.file else None


def _module(prediction: Prediction, row: ReportRow, report: Report | None = None) -> Document:
    """Describe a module of a report: what `Report.to_dict` says of it, and its runs. Of a prediction: without runs."""
    rows = [each for each in prediction.rows() if each.name == row.name and each.kind in COMPARED]
    described = row_to_dict(row) | _from_rows(prediction, rows, row.step)
    if report is None:
        return described | {"verdict": None, "by": None, **NO_RUNS}
    runs = report.measured(row.name)
    drawn = (
        runs if runs.widths == report.measurement.widths else report.measurement
    )  # curves have the widths of live runs
    return described | _runs(drawn, rows, row.name, report.confidence)


def _from_rows(prediction: Prediction, rows: Sequence[Row], step: int) -> Document:
    row = next((each for each in rows if each.step == step), rows[-1])
    return {
        "direction": direction(row.change),
        "learns": row.learns,
        "wide": row.wide,
        "mixed": row.mixed,
        "place": _location(row.source),
        "position": row.position,
        "formula": show_statement(prediction.program, row.position),
        "predicted": [
            {"step": each.step, "size": _order(each.size), "change": _order(each.change), "at_most": each.at_most}
            for each in rows
        ],
    }


def _runs(measurement: Measurement, rows: Sequence[Row], name: str, confidence: float) -> Document:
    """Collect the sizes and changes [width, seed, step] of a module, and the slope of each step."""
    if name not in measurement.names:
        return NO_RUNS
    k, wide = measurement.index(name), rows[0].wide
    sizes, changes = (measurement.size, measurement.change) if wide else (measurement.rms, measurement.change_rms)
    size, change = (np.where(measurement.completed[:, :, None], each[..., k], np.nan) for each in (sizes, changes))
    floor = FLOOR * measurement.epsilon[..., k] * size
    split = measurement.split[..., k, :]
    with np.errstate(invalid="ignore"):
        parts = _mean(split, 1) if np.isfinite(split).any() else None
    by_step = {row.step: row for row in rows}
    return {
        "size": _listed(size),
        "change": _listed(change),
        "split": None if parts is None else {"parts": list(SPLIT), "means": _listed(parts)},
        "fits": [
            {
                "step": step,
                "size": _fit(measurement, size[:, :, step], 0.0, by_step.get(step), "size", confidence),
                "change": _fit(measurement, change[:, :, step], floor[:, :, step], by_step.get(step), "change", confidence),
            }
            for step in range(measurement.steps)
        ],
    }  # fmt: skip


def _fit(
    measurement: Measurement, values: NDArray[Any], floor: Any, row: Row | None, what: str, confidence: float
) -> Document | None:
    """Measure the order of one step, with the crossover by which the verdict judges it."""
    predicted = None if row is None else row.size if what == "size" else row.change
    crossover = GROWING_CROSSOVER if predicted is not None and predicted > 0 else CROSSOVER
    estimate = estimate_order(measurement.widths, values, floor=floor, confidence=confidence, crossover=crossover)
    return _interval(estimate)


def _interval(estimate: OrderEstimate | None) -> Document | None:
    if estimate is None:
        return None
    return {"estimate": _number(estimate.estimate), "low": _number(estimate.low), "high": _number(estimate.high)}


def _mean(values: NDArray[Any], axis: int) -> NDArray[Any]:
    """Average the finite entries; NaN where there are none."""
    finite = np.isfinite(values)
    counts = finite.sum(axis=axis)
    return np.where(counts > 0, np.where(finite, values, 0.0).sum(axis=axis) / np.maximum(counts, 1), np.nan)


def numbers_of(limit: Limit, listed: Callable[[Any], Any]) -> Document:
    """Write the estimates of a limit, and by what effort they were made; listed: writes its tensors as nested lists."""
    return {
        "losses": [_estimated(each, listed) for each in limit.losses],
        "outputs": [_estimated(each, listed) for each in limit.outputs],
        "kernels": [named(key, each, listed) for key, each in limit.kernels.items()],
        "distributions": [named(key, each, listed) for key, each in limit.distributions.items()],
        "levels": list(limit.levels),
        "random": list(limit.random),
        "notes": list(limit.notes),
        "points": limit.points,
        "scrambles": limit.scrambles,
        "seconds": limit.seconds,
    }


def _estimated(estimate: Estimate, listed: Callable[[Any], Any]) -> Document:
    numbers = {name: listed(getattr(estimate, name)) for name in ("value", "error", "spread")}
    return {**numbers, "random": estimate.random}


def named(key: tuple[str, int], estimate: Estimate, listed: Callable[[Any], Any]) -> Document:
    """Write the estimate of a value that has a name and a step."""
    return {"name": key[0], "step": key[1], **_estimated(estimate, listed)}


def _order(order: Order) -> str | None:
    return None if order is None else str(order)


def _number(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def _listed(values: Any) -> Any:
    """Convert an array or a tensor to nested lists of short numbers."""
    return _plain(np.asarray(values, dtype=np.float64).tolist())


def _plain(value: Any) -> Any:
    """Convert data to short, finite numbers."""
    match value:
        case bool() | int() | str() | None:
            return value
        case float():
            return _number(value)
        case Mapping():
            return {key: _plain(each) for key, each in value.items()}
        case _:  # a sequence; what is none raises TypeError
            return [_plain(each) for each in value]
