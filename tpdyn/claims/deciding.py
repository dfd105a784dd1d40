"""Undecided is not the end: what would decide it, and how often may one look?

What would decide. Let sigma be the spread of one log size around its width and seed; the runs tell it. With it, the
interval that more runs will give is known before they are made (`statistics.expected`). A plan is the cheapest set of
widths and seeds that confirms every row in the way. This holds if the theory is right. It confirms each with probability
`POWER`.

Looking again. Whoever looks until it fits is wrong more often than he says. So the chance of error is spent over the looks.
Look k has confidence 1 - alpha / 2^k. The errors sum to alpha at most, however the looks depend on each other (Bonferroni).

Its errors and its power are measured: see `ALPHA`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import final

import numpy as np
from scipy import stats

from tpdyn.claims.outcome import Claim, Outcome, ReportRow
from tpdyn.claims.report import Report, compare
from tpdyn.claims.statistics import OrderEstimate, expected, judge
from tpdyn.claims.unseen import ALONE, ProgramRuns, far_widths
from tpdyn.exponents import Order
from tpdyn.measuring.measure import further
from tpdyn.measuring.measurement import Measurement

ALPHA = 0.01
"""The chance of error over all looks.

Measured with `HYPOTHESIS_PROFILE=thorough python -m pytest -s
proofs_checks/test_until_decided.py`: sizes drawn from the model of `statistics`, noises 0.05, 0.15 and 0.4. At the deciding
row theories are right or off by 1/2 either way.

* Feature learning and kernel, 2,000 scripts for each of 18 combinations. False contradictions: 0 in 12,000. False
  confirmations: 0 in 24,000. Of right theories 0.3 % stay undecided (0.7 % at most), of wrong ones 2 % (10 % at most); the
  others are decided. At noise 0.4 nearly all right ones need a second look, at 0.15 one in ten.
* Unstable, 2,000 scripts for each of 9 combinations. False contradictions: 0 in 6,000. False confirmations: 0 in 12,000. Of
  right theories 0.3 % stay undecided (0.7 % at most), of those that are too small by 1/2 at most 8 %. Those too large by
  1/2 stay undecided in 83 %, 51 % and 7 % at noise 0.05, 0.15 and 0.4.
  """

LOOKS = 5
POWER = 0.9
MOST_SEEDS = 64
OTHER_SEEDS = 8
DOUBLINGS = 4
"""Widths are doubled at most so often beyond the largest."""

More = Callable[[tuple[int, ...], tuple[int, ...]], Measurement]
"""Makes the runs of further widths and seeds that are missing, and returns all runs."""


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """Widths and a number of seeds that decide, with that power, the rows named."""

    widths: tuple[int, ...]
    seeds: int
    rows: tuple[str, ...]
    power: float = POWER


def confidence_of(look: int, alpha: float = ALPHA) -> float:
    """Return the confidence of look number 1, 2, ...: the errors alpha / 2^look sum to less than alpha."""
    return 1.0 - alpha / float(2**look)


def what_would_decide(report: Report, confidence: float | None = None, others: Container[str] = ()) -> Plan | None:
    """Find the cheapest plan for an undecided report; None if more runs cannot decide it, or if it is decided.

    confidence: of the intervals then; that of the report unless given. others: rows for which other runs are made.
    """
    if report.outcome is not Outcome.UNDECIDED or len(report.measurement.seeds) < 2:
        return None
    unmet = _unmet(report, others)
    if not unmet or any(not claim.names for claim in unmet):
        return None
    confidence = confidence or report.confidence
    for widths, seeds in _candidates(report.measurement):
        deciding: list[str] = []
        for claim in unmet:
            names = [name for name in claim.names if _decides(report, name, widths, seeds, confidence)]
            if claim.some and names:
                deciding.append(names[0])
            elif not claim.some and set(claim.open) <= set(names):
                deciding += claim.open
            else:
                break
        else:
            return Plan(widths, seeds, tuple(dict.fromkeys(deciding)))
    return None


def shows_from(report: Report, name: str) -> float | None:
    """Return the width from which predicted growth shows: where a module's local slope is half of its order.

    Fitted to B + A n^p. None for a row that is not predicted to grow by a power, or that shows none of n.
    """
    row = next((row for row in report.rows() if row.name == name), None)
    if row is None or row.change_order is None or not 0 < row.change_order < math.inf:
        return None
    measurement = report.measured(name)
    if name not in measurement.names:
        return None
    order = float(row.change_order)
    values = measurement.change[:, :, report.step, measurement.index(name)]
    values = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    some = np.isfinite(values).any(axis=1)
    if some.sum() < 3:
        return None
    n = np.asarray(measurement.widths, dtype=np.float64)[some]
    logs = np.nanmean(np.log(values[some]), axis=1)
    starts = np.geomspace(1.0, 1e3 * n[-1], 400)
    shapes = np.log(starts[:, None] ** order + n[None, :] ** order)
    rest = logs[None, :] - shapes
    best = int(((rest - rest.mean(axis=1, keepdims=True)) ** 2).sum(axis=1).argmin())
    return float(starts[best]) if best < len(starts) - 1 else None


def until_decided(
    report: Report, more: More, *, on: Callable[[], bool] = lambda: True, looks: int = LOOKS, alpha: float = ALPHA,
    program: ProgramRuns | None = None,
) -> Report:  # fmt: skip
    """Look at more runs until the report is decided, looks are used up, plans do not help, or `on()` declines.

    report: the first look. It is judged anew at the confidence of look 1. `more` makes the runs that a plan asks for.
    alpha: the chance of error over all looks. program: makes runs of the recorded program. It measures rows that it measured
    before, and at far larger widths rows that are off so far. Which rows it measures is chosen before it runs.
    """
    prediction, margin, start = report.prediction, report.margin, report.measurement.widths[-1]

    def judged(look: int, runs: Measurement, by: Mapping[str, Measurement]) -> Report:
        return compare(prediction, runs, confidence=confidence_of(look, alpha), margin=margin, by_program=by)

    report, look = judged(1, report.measurement, report.by_program), 1
    while report.outcome is Outcome.UNDECIDED and look < looks and on():
        others = {} if program is None else _other_runs(report, start, program)
        plan = what_would_decide(report, confidence_of(look + 1, alpha), others) or _larger(report, others)
        if plan is None and not others:
            break
        look += 1
        runs, by = (
            (report.measurement, report.by_program) if plan is None else _further_runs(report, plan, more, program)
        )
        report = judged(look, runs, {**by, **others})
    last, all_of_them = 100 * report.confidence, 100 * (1 - alpha)
    note = f"looked {look} times, the last time at {last:.4g} % confidence: {all_of_them:g} % over all looks"
    return replace(report, notes=(*report.notes, note)) if look > 1 else report


def _further_runs(
    report: Report, plan: Plan, more: More, program: ProgramRuns | None
) -> tuple[Measurement, Mapping[str, Measurement]]:
    """Make the runs of a plan: live ones, and those of the program for the rows that it measures."""
    runs, by, seeds = report.measurement, report.by_program, report.measurement.seeds
    theirs = [name for name in plan.rows if name in by and not _is_far(report, name) and not _is_part(report, name)]
    found = program.beside(plan.widths, plan.seeds) if theirs and program is not None else None
    if found is not None:
        by = {**by, **dict.fromkeys(theirs, found)}
    if set(plan.rows) - set(by):
        runs = more(plan.widths, (*seeds, *further(seeds, plan.seeds - len(seeds))))
    return runs, by


def _is_far(report: Report, name: str) -> bool:
    """Tell whether a row is judged at widths that are all larger than those of live runs."""
    return report.measured(name).widths[0] >= report.measurement.widths[-1] and name in report.by_program


def _is_part(report: Report, name: str) -> bool:
    """Tell whether a row is judged by its leading part."""
    return name in report.by_program and any(note.startswith(ALONE) for note in report.by_program[name].notes)


def _off(report: Report, name: str) -> bool:
    """Tell whether a row lies outside of its order, or has it by chance, where parts cross late. More of the same does not help."""
    row = next(row for row in report.rows() if row.name == name)
    order, estimate = _value(row)
    found = judge(order, estimate, at_most=row.at_most, margin=report.margin)
    behind = row.by == "program" and row.change_verdict == "inconclusive" and found == "agrees"
    return found == "disagrees" or behind


def _other_runs(report: Report, start: int, program: ProgramRuns) -> Mapping[str, Measurement]:
    """Judge rows that are off by their leading parts, or else at far larger widths. Empty if neither can be run.

    Far only if widths beyond `start` were run.
    """
    open_ = [name for claim in report.claims if not claim.met for name in claim.open]
    parts: dict[str, Measurement] = {}
    for name in open_:
        if _is_part(report, name) or (_off(report, name) and not _is_far(report, name)):
            found = program.part(name, report.step, _twice(report, name, _is_part))
            parts |= {} if found is None else {name: found}
    if parts:
        return parts
    names = [
        name
        for name in open_
        if _is_far(report, name) or (_off(report, name) and report.measured(name).widths[-1] > start)
    ]
    widths = far_widths(report.measurement.widths, report.prediction.epsilon)
    if not names or len(widths) < 3:
        return {}
    far = program.at(widths, max(_twice(report, name, _is_far) for name in names))
    return {} if far is None else dict.fromkeys(names, far)


def _twice(report: Report, name: str, already: Callable[[Report, str], bool]) -> int:
    """Return how many seeds come next: twice those that there are."""
    return 2 * len(report.measured(name).seeds) if already(report, name) else OTHER_SEEDS


def _unmet(report: Report, others: Container[str]) -> list[Claim]:
    """List the claims that are open, but for those of which other runs may decide a row."""
    return [claim for claim in report.claims if not claim.met and not any(name in others for name in claim.open)]


def _larger(report: Report, others: Container[str] = ()) -> Plan | None:
    """Return the most that one look adds, where plans are not sure to decide; None if that was made already."""
    measurement = report.measurement
    claims = [claim for claim in _unmet(report, others) if claim.names]
    if not claims or len(measurement.seeds) < 2:
        return None
    names = tuple(name for claim in claims for name in claim.open)
    if not any(_open(report, name) for claim in claims for name in claim.names):
        return None
    widths = (*measurement.widths, 2 * measurement.widths[-1])
    return Plan(widths, min(MOST_SEEDS, 2 * len(measurement.seeds)), names, 0.0)


def _candidates(measurement: Measurement) -> list[tuple[tuple[int, ...], int]]:
    """List widths and seeds that add to what was run, cheapest first. A run at width n costs 1 + (n / 256)^2."""
    now = len(measurement.seeds)
    counts = sorted({now, *(round(now * factor) for factor in (1.5, 2, 3, 4, 6, 8)), MOST_SEEDS})
    largest = measurement.widths[-1]
    ladders = [(*measurement.widths, *(largest * 2**k for k in range(1, more + 1))) for more in range(DOUBLINGS + 1)]
    plans = [
        (widths, seeds)
        for widths, seeds in product(ladders, counts)
        if now <= seeds <= max(MOST_SEEDS, now) and (widths, seeds) != (measurement.widths, now)
    ]
    return sorted(plans, key=lambda each: each[1] * sum(1 + (width / 256) ** 2 for width in each[0]))


def _open(report: Report, name: str) -> OrderEstimate | None:
    """Return the measured order that leaves a row open: of its size if that grows, else of its change. None without a spread."""
    order, estimate = _value(next(row for row in report.rows() if row.name == name))
    return None if order is None or estimate is None or not math.isfinite(estimate.spread) else estimate


def _value(row: ReportRow) -> tuple[Order, OrderEstimate | None]:
    if row.size_order is not None and row.size_order > 0:
        return row.size_order, row.measured_size_order
    return row.change_order, row.measured_change_order


def _decides(report: Report, name: str, widths: tuple[int, ...], seeds: int, confidence: float) -> bool:
    """Tell whether that many runs confirm a row with probability `POWER`, if its order is as predicted.

    Of a row that more of the same cannot decide, they do not.
    """
    assumed = _open(report, name)
    if assumed is None or _off(report, name) or _is_far(report, name) or _is_part(report, name):
        return False
    half, deviation = expected(
        widths, seeds, spread=assumed.spread, confidence=confidence, crossover=assumed.crossover, part=assumed.part
    )
    return half + float(stats.norm.ppf(0.5 + POWER / 2)) * deviation <= report.margin
