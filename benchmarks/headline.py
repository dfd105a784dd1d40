"""How often is the headline wrong on real scripts, end to end? `python benchmarks/headline.py [trials] [seconds]`

A trial runs one of the example scripts at widths 64 to 512 with 8 seeds of its own, and compares as `tpdyn check` does. The
prediction is right, so *contradicted* is false. Then a wrong theory is planted: the changes of the rows of one claim are
multiplied by n^(1/2) or n^(-1/2), which is the same as a theory that is off by 1/2 there. Then *confirmed* is false.

trials: for each script (default 2). seconds: how long each trial may go on as with `--until-decided` (default 0: not at all).
With none seen in N trials the rate is below 3/N, with 95 % confidence: the last lines say so.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

import tpdyn
from tpdyn.claims.deciding import until_decided
from tpdyn.claims.outcome import Outcome
from tpdyn.claims.report import Report, compare
from tpdyn.measuring.measure import measure, measure_more
from tpdyn.measuring.measurement import Measurement
from tpdyn.scripts.script import load

ROOT = Path(__file__).resolve().parents[1] / "examples"
SCRIPTS = (
    *(f"digits_mlp.py:{name}" for name in ("train", "train_ntk", "train_mup")),
    *(
        f"told_apart.py:{name}"
        for name in ("sp_sgd", "sp_adam", "mup_sgd", "mup_adam", "ntk_sgd", "readout_forgotten", "hidden_bias")
    ),
)
WIDTHS, SEEDS, STEPS = (64, 128, 256, 512), 8, 3


def off(measurement: Measurement, names: tuple[str, ...], by: float) -> Measurement:
    """The measurement that a theory off by `-by` would have to explain: changes of these rows times (n / 64)^by."""
    factor = (np.array(measurement.widths) / WIDTHS[0])[:, None, None] ** by
    columns = [measurement.names.index(name) for name in names if name in measurement.names]
    change, rms = measurement.change.copy(), measurement.change_rms.copy()
    for column in columns:
        change[..., column] *= factor
        rms[..., column] *= factor
    return replace(measurement, change=change, change_rms=rms)


def planted(report: Report) -> list[Outcome]:
    """What the same runs say of theories that are wrong by 1/2 at the rows of one claim; "every" is wrong in one row."""
    found = []
    for claim in report.claims:
        names = claim.names if claim.some else claim.names[:1]
        if names:
            found += [compare(report.prediction, off(report.measurement, names, by)).outcome for by in (0.5, -0.5)]
    return found


def main() -> None:
    """Print the outcomes of every script, and their sums."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    right: Counter[Outcome] = Counter()
    wrong: Counter[Outcome] = Counter()
    for target in SCRIPTS:
        train = load(f"{ROOT}/{target}")
        prediction = tpdyn.predict(tpdyn.record(train, steps=STEPS))
        here: Counter[Outcome] = Counter()
        start = time.process_time()
        for trial in range(trials):
            first = 1000 * trial  # seeds of its own, and room for more
            seeds = tuple(range(first, first + SEEDS))
            report = compare(prediction, measure(train, widths=WIDTHS, seeds=seeds, steps=STEPS))
            wrong.update(planted(report))
            if seconds and report.outcome is Outcome.UNDECIDED:
                report = further(train, report, first, seconds)
            here[report.outcome] += 1
        right.update(here)
        print(
            f"{target:34} {prediction.regime.value:17}"
            + "  ".join(f"{outcome.value} {here[outcome]}" for outcome in Outcome)
            + f"   {time.process_time() - start:.0f} s",
            flush=True,
        )
    summed("the theory is right", right, Outcome.CONTRADICTED)
    summed("the theory is off by 1/2", wrong, Outcome.CONFIRMED)


def further(train, report: Report, first: int, seconds: float) -> Report:
    """As `--until-decided --budget SECONDS`."""
    end, known = time.monotonic() + seconds, report.measurement

    def on() -> bool:
        return time.monotonic() < end

    def more(widths: tuple[int, ...], seeds: tuple[int, ...]) -> Measurement:
        nonlocal known
        known = measure_more(
            train, known, widths, tuple(seed if seed >= first else first + seed for seed in seeds), on=on
        )
        return known

    return until_decided(report, more, on=on)


def summed(what: str, counts: Counter[Outcome], error: Outcome) -> None:
    """One line: the counts, the rate of the error, and what is known of it."""
    total = counts.total()
    most = f" (below {3 / total:.2g} with 95 % confidence)" if total and not counts[error] else ""
    shown = ", ".join(f"{outcome.value} {counts[outcome]}" for outcome in Outcome)
    print(f"{what}, {total} trials: {shown}; falsely {error.value}: {counts[error]}{most}")


if __name__ == "__main__":
    main()
