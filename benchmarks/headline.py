"""How often is the headline wrong on real scripts, end to end? `python benchmarks/headline.py [reports] [part of a name]`

Each script is run once, at widths 64 to 1024 with 40 seeds. The runs are kept (logs/headline), so that a second call goes on.
A report is drawn from them: 4, 6 or 8 seeds at 64 to 512, compared by the code of `tpdyn check`. The prediction is right, so
*contradicted* is false. Then a wrong theory is planted. The changes of the rows of one claim are multiplied by n^(1/2) or
n^(-1/2). So are the sizes of those that grow from the start. This is the same as a theory that is off by 1/2 there. Then
*confirmed* is false. Last, an undecided report looks again as with `--until-decided`, at what the pool holds. A plan beyond
the pool leaves the report undecided.

reports: for each script (default 100). Reports of one pool share runs. The intervals (Clopper and Pearson, 95 %) are those
of independent reports, too short for one script. Different scripts are independent.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

import tpdyn
from tpdyn.claims.deciding import until_decided
from tpdyn.claims.outcome import Outcome
from tpdyn.claims.report import Report, compare
from tpdyn.commands.runs import means_of
from tpdyn.measuring.measure import measure
from tpdyn.measuring.measurement import Measurement
from tpdyn.scripts.script import load
from tpdyn.scripts.target import Target

HERE = Path(__file__).resolve().parent
SCRIPTS = (
    *(f"examples/digits_mlp.py:{name}" for name in ("train", "train_ntk", "train_mup")),
    *(
        f"examples/told_apart.py:{name}"
        for name in ("sp_sgd", "sp_adam", "mup_sgd", "mup_adam", "ntk_sgd", "readout_forgotten", "hidden_bias")
    ),
    *(f"examples/told_apart.py:{name}" for name in ("attention_mup", "attention_sqrt")),
    *(
        f"benchmarks/headline_scripts.py:{name}"
        for name in ("one_head", "convolution", "recurrent", "normed", "small_rate")
    ),
)
WIDTHS, SEEDS, STEPS = (64, 128, 256, 512), 40, 3
LARGER = 1024
"""A report may look again at this width, too."""


def main() -> None:
    """Print the outcomes of every script, and their sums."""
    reports = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    part = sys.argv[2] if len(sys.argv) > 2 else ""
    sums: dict[str, Counter[Outcome]] = {what: Counter() for what in ("right", "wrong", "again", "wrong again")}
    for target in SCRIPTS:
        if part not in target:
            continue
        start = time.monotonic()
        prediction, pool = made(target)
        runs = time.monotonic() - start
        found = drawn(prediction, pool, reports)
        print(
            f"{target.partition('/')[2]}: {prediction.regime.value}; {runs:.0f} s for runs, {time.monotonic() - start - runs:.0f} s"
        )
        for what, counts in found.items():
            print(f"    {line(what, counts)}", flush=True)
            sums[what].update(counts)
    print("together")
    for what, counts in sums.items():
        print(f"    {line(what, counts)}")


def made(target: str) -> tuple[tpdyn.Prediction, Measurement]:
    """Predict a script, and make its runs, as far as they are not kept."""
    words = Target(f"{HERE.parent}/{target}")
    train = load(words.target)
    prediction = tpdyn.predict(tpdyn.record(train, steps=STEPS))
    means = means_of(words, HERE.parent / "logs" / "headline")
    return prediction, measure(train, widths=(*WIDTHS, LARGER), seeds=SEEDS, steps=STEPS, means=means)


def part_of(pool: Measurement, widths: tuple[int, ...], seeds: tuple[int, ...]) -> Measurement:
    """Return the measurement that has only these widths and seeds."""
    rows, columns = [pool.widths.index(n) for n in widths], [pool.seeds.index(seed) for seed in seeds]
    arrays = {
        each.name: getattr(pool, each.name)[np.ix_(rows, columns)]
        for each in fields(pool)
        if isinstance(getattr(pool, each.name), np.ndarray)
    }
    return replace(pool, widths=widths, seeds=seeds, **arrays)


def drawn(prediction: tpdyn.Prediction, pool: Measurement, reports: int) -> dict[str, Counter[Outcome]]:
    """Draw reports from a pool. Count the outcomes under the right theory and under planted ones, at once and looking
    again.
    """
    found: dict[str, Counter[Outcome]] = {what: Counter() for what in ("right", "wrong", "again", "wrong again")}
    for number in range(reports):
        rng = np.random.default_rng(number)
        order = tuple(int(seed) for seed in rng.permutation(pool.seeds))
        count = int(rng.choice((4, 6, 8)))
        report = compare(prediction, part_of(pool, WIDTHS, order[:count]))
        found["right"][report.outcome] += 1
        found["again"][further(report, pool, order).outcome] += 1
        for plant in plants(report):
            other = off(pool, plant)
            wrong = compare(prediction, part_of(other, WIDTHS, order[:count]))
            found["wrong"][wrong.outcome] += 1
            if number % 10 == 0:
                found["wrong again"][further(wrong, other, order).outcome] += 1
    return found


class Plant(NamedTuple):
    """A theory that is wrong by 1/2 in these rows: in changes, and in sizes that grow from the start."""

    names: tuple[str, ...]
    growing: tuple[str, ...]
    by: float


def plants(report: Report) -> list[Plant]:
    """List the wrong theories. What is claimed of every row is wrong in one."""
    chosen = [claim.names if claim.some else claim.names[:1] for claim in report.claims]
    grow = {row.name for row in report.rows() if row.size_order is not None and row.size_order > 0}
    return [
        Plant(names, tuple(name for name in names if name in grow), by)
        for names in chosen
        if names
        for by in (0.5, -0.5)
    ]


def off(measurement: Measurement, plant: Plant) -> Measurement:
    """Return the measurement that the wrong theory would have to explain: these values times (n / n0)^by, n0 the smallest width."""
    factor = (np.array(measurement.widths) / measurement.widths[0])[:, None, None] ** plant.by
    made = {}
    for names, fields_ in ((plant.names, ("change", "change_rms")), (plant.growing, ("size", "rms"))):
        columns = [measurement.names.index(name) for name in names if name in measurement.names]
        for field in fields_:
            made[field] = getattr(measurement, field).copy()
            for column in columns:
                made[field][..., column] *= factor
    return replace(measurement, **made)


def further(report: Report, pool: Measurement, order: tuple[int, ...]) -> Report:
    """Look again at what the pool has, as `--until-decided` does; seeds come in the order drawn."""
    enough = True

    def more(widths: tuple[int, ...], seeds: tuple[int, ...]) -> Measurement:
        nonlocal enough
        enough = widths[-1] <= LARGER and len(seeds) <= len(order)
        return part_of(pool, tuple(n for n in widths if n <= LARGER), order[: len(seeds)])

    return until_decided(report, more, on=lambda: enough)


def line(what: str, counts: Counter[Outcome]) -> str:
    """Write the counts, and the rate of the error with its interval."""
    error = Outcome.CONFIRMED if "wrong" in what else Outcome.CONTRADICTED
    total = counts.total()
    if not total:
        return f"{what}: none"
    low, high = stats.binomtest(counts[error], total).proportion_ci(method="exact")
    shown = ", ".join(f"{outcome.value} {counts[outcome]}" for outcome in Outcome)
    return f"{what:12} {total:6}: {shown}; falsely {error.value} {counts[error] / total:.4f} [{low:.4f}, {high:.4f}]"


if __name__ == "__main__":
    main()
