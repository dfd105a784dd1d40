"""How is a log made again from the finished runs alone? From a note of what it was made of: runs, and the recorded program.

The script is not run, nor does it have to be there. The prediction is made anew from the program, and the measurement
is assembled from its runs. Both are compared as before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, final

import numpy as np

from tpdyn.claims.report import compare
from tpdyn.commands.check import Checked
from tpdyn.commands.failures import BadInput, translated
from tpdyn.measuring.assembled import assembled
from tpdyn.measuring.kept import observation_of
from tpdyn.measuring.measurement import Measurement
from tpdyn.program.program import Program
from tpdyn.regimes.predict import predict
from tpdyn.regimes.prediction import Regime
from tpdyn.reporting import tensorboard, transfer_log
from tpdyn.store.means import Means
from tpdyn.store.store import Run, Store
from tpdyn.tuning.optimum import Transfer, locate
from tpdyn.tuning.sweep import FINAL, Sweep, run_key

CHECK, TRANSFER = "check", "transfer"


@final
@dataclass(frozen=True)
class Rebuilt:
    """A log that can be written again: its name, the script that it is about, and a check or sweeps."""

    name: str
    script: str
    checked: Checked | None = None
    transfers: tuple[Transfer, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return what the command wrote with `--json`."""
        if self.checked is not None:
            return self.checked.to_dict(title=self.name, script=self.script)
        return {"transfers": [each.to_dict() for each in self.transfers]}


def write(log: Rebuilt, logdir: Path) -> Path:
    """Write a log, as its command did, into a folder of logs; an earlier one of that name is replaced."""
    folder = logdir / log.name
    if log.checked is not None and log.checked.report is not None:
        return tensorboard.log(log.checked.report, folder, script=log.script)
    return transfer_log.log_transfers(log.transfers, folder, script=log.script)


def note_check(checked: Checked, means: Means, name: str, script: str) -> None:
    """Note what the log of a check is made of. Nothing is noted where runs are not kept, or none were made."""
    report = checked.report
    if report is None or means.store is None or not means.keeps:
        return
    measurement = report.measurement
    by_program: dict[int, tuple[Measurement, list[str]]] = {}
    for row, runs in report.by_program.items():
        by_program.setdefault(id(runs), (runs, []))[1].append(row)
    made_of = {
        "kind": CHECK,
        "script": script,
        "program": checked.prediction.program.to_json(),
        "required": None if checked.required is None else checked.required.value,
        "confidence": report.confidence,
        "margin": report.margin,
        "widths": measurement.widths,
        "seeds": measurement.seeds,
        "steps": measurement.steps,
        "device": measurement.device,
        "notes": measurement.notes,
        "report_notes": report.notes,
        "runs": measurement.runs,
        "by_program": [
            {
                "names": names, "widths": runs.widths, "seeds": runs.seeds, "device": runs.device, "notes": runs.notes,
                "runs": runs.runs,
            }
            for runs, names in by_program.values()
        ],
    }  # fmt: skip
    means.store.put_log(name, made_of)


def note_transfers(swept: Sequence[Transfer], means: Sequence[Means], name: str, script: str) -> None:
    """Note what the log of these sweeps is made of; means: by which each was made."""
    store = means[0].store if means else None
    if store is None or not all(each.keeps for each in means):
        return
    sweeps = [
        {
            "name": each.sweep.name, "hyperparameter": each.sweep.hyperparameter, "steps": each.sweep.steps,
            "widths": each.sweep.widths, "factors": each.sweep.factors, "seeds": each.sweep.seeds,
            "stable": None if each.stable is None else str(each.stable), "runs": list(_cells(each.sweep, by)),
        }
        for each, by in zip(swept, means, strict=True)
    ]  # fmt: skip
    store.put_log(name, {"kind": TRANSFER, "script": script, "sweeps": sweeps})


def rebuilt(logdir: Path, name: str = "") -> list[Rebuilt]:
    """Make logs again from the finished runs under a folder of logs: of that name, or all.

    Raises BadInput where nothing is noted under that name, or a run is gone.
    """
    store = Store.of_logs(logdir)
    known = store.logs()
    if name and name not in known:
        raise BadInput(
            f"{name}: of no such log it is known what it was made of; expected one of: {', '.join(known) or 'none'}"
        )
    if not known:
        raise BadInput(f"{store.folder} holds no note of a log; `tpdyn check` and `tpdyn transfer` write one")
    with translated():
        return [_rebuilt(store, each, known[each]) for each in ([name] if name else known)]


def _rebuilt(store: Store, name: str, made_of: dict[str, Any]) -> Rebuilt:
    if made_of["kind"] == TRANSFER:
        return Rebuilt(
            name, made_of["script"], transfers=tuple(_transfer(store, name, each) for each in made_of["sweeps"])
        )
    measurement = _measurement(store, name, made_of, made_of["steps"])
    by_program = {
        row: runs
        for each in made_of.get("by_program", ())
        for runs in [_measurement(store, name, each, made_of["steps"])]
        for row in each["names"]
    }
    prediction = predict(Program.from_json(made_of["program"]))
    report = compare(
        prediction, measurement, confidence=made_of["confidence"], margin=made_of["margin"], by_program=by_program
    )
    report = replace(report, notes=tuple(made_of["report_notes"]))
    required = None if made_of["required"] is None else Regime(made_of["required"])
    return Rebuilt(name, made_of["script"], Checked(prediction, report, required))


def _measurement(store: Store, name: str, made_of: dict[str, Any], steps: int) -> Measurement:
    widths, seeds = tuple(made_of["widths"]), tuple(made_of["seeds"])
    runs = {(width, seed): observation_of(_run(store, name, key)) for width, seed, key in made_of["runs"]}
    return replace(assembled(widths, seeds, steps, runs, made_of["device"], []), notes=tuple(made_of["notes"]))


def _transfer(store: Store, name: str, made_of: dict[str, Any]) -> Transfer:
    widths, factors, seeds = (tuple(made_of[each]) for each in ("widths", "factors", "seeds"))
    losses = np.full((len(widths), len(factors), len(seeds)), np.nan)
    for i, k, s, key in made_of["runs"]:
        losses[i, k, s] = next(each.value for each in _run(store, name, key).values if each.what == FINAL)
    sweep = Sweep(made_of["name"], widths, factors, seeds, made_of["steps"], losses, made_of["hyperparameter"])
    return replace(locate(sweep), stable=None if made_of["stable"] is None else Fraction(made_of["stable"]))


def _run(store: Store, name: str, key: str) -> Run:
    run = store.get(key)
    if run is None:
        raise BadInput(f"{name}: the run {key} is gone, of which the log was made; repeat the command that made it")
    return run


def _cells(sweep: Sweep, means: Means) -> Iterator[tuple[int, int, int, str]]:
    """Yield the position and key of each run of a sweep."""
    for i, k, s in np.ndindex(*sweep.losses.shape):
        if not math.isnan(sweep.losses[i, k, s]):
            asked = sweep.widths[i], sweep.factors[k], sweep.seeds[s]
            yield i, k, s, run_key(means, asked, sweep.hyperparameter, sweep.steps)
