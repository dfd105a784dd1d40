"""How often is the headline wrong on real scripts, end to end? `python benchmarks/headline.py [reports] [first] [part] [again]`

Every report has runs of its own: other initial weights, and other noise. The recorded program makes them, which costs little. First
a permutation test compares it with live runs of the script (`tpdyn.measuring.one_law`). Reports are compared by the code of `tpdyn
check`. They have 4 or 6 seeds at widths 32 to 256. One report in forty has the widths of the command, 64 to 512. It looks again
where it is undecided, as with `--until-decided`.

The prediction is right, so *contradicted* is false. Then wrong theories are planted. The changes of the rows of one claim are
multiplied by n^(1/2) or n^(-1/2). So are sizes that grow from the start. That is the same as a theory that is off by 1/2 there.
Then *confirmed* is false. Planted theories of one report share its runs. So they count once: a report has an error if any of them
is confirmed.

reports: for each script (default 212; slow ones get a twelfth). first: the number of the first, to go on with others. part: of a
script's name. again: one of so many looks again (default 40).

Let none of N independent reports err. Then the mean of their rates of error is below r at 95 %, where (1 - r)^N = 0.05. Rates may
differ between reports, since the product of all 1 - r_i is at most the power of their mean. It is a statement about these scripts,
and about no other.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats

import tpdyn
from tpdyn.claims.deciding import until_decided
from tpdyn.claims.outcome import Outcome
from tpdyn.claims.report import Report, compare
from tpdyn.claims.unseen import ProgramRuns, marked
from tpdyn.measuring.assembled import assembled, joined
from tpdyn.measuring.measure import measure
from tpdyn.measuring.measurement import Measurement
from tpdyn.measuring.one_law import difference
from tpdyn.measuring.runs import program_runs
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
SMALL, DEFAULT, STEPS = (32, 64, 128, 256), (64, 128, 256, 512), 3
SLOW = ("attention_mup", "attention_sqrt", "convolution")
"""A run of these takes ten times as long: they get a twelfth of the reports."""
COUNTS = (4, 4, 4, 6)
"""Seeds of reports, in turn."""
AGAIN, GROUP = 40, 40
"""One report in so many has the widths of the command, and looks again. Runs of so many others are made together."""
LARGEST = 1024
"""A look at larger widths ends the report undecided: `--until-decided` would ask for more than its time here."""


def main() -> None:
    """Print the outcomes of every script, and their sums."""
    reports = int(sys.argv[1]) if len(sys.argv) > 1 else 212
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    part = sys.argv[3] if len(sys.argv) > 3 else ""
    again = int(sys.argv[4]) if len(sys.argv) > 4 else AGAIN
    torch.set_num_threads(1)
    sums: dict[str, Counter[Outcome]] = {what: Counter() for what in KINDS}
    tried = 0
    for target in SCRIPTS:
        if part not in target:
            continue
        start = time.monotonic()
        train = load(Target(f"{HERE.parent}/{target}").target)
        prediction = tpdyn.predict(tpdyn.record(train, steps=STEPS))
        live = measure(train, SMALL, 4, STEPS)
        other = difference(live, made(prediction, SMALL, tuple(range(100, 116))))
        law = "one law with live runs" if other is None else f"NOT of one law with live runs: {other.told()}"
        few = max(1, reports // 12) if target.endswith(SLOW) else reports
        found = drawn(prediction, range(first, first + few), again)
        print(f"{target.partition('/')[2]}: {prediction.regime.value}; {law}; {time.monotonic() - start:.0f} s")
        for what, counts in found.items():
            print(f"    {line(what, counts)}", flush=True)
            sums[what].update(counts)
        tried += 1
    print(f"together; if none of {tried} scripts errs, fewer than {bound(tried):.3f} of scripts do")
    for what, counts in sums.items():
        print(f"    {line(what, counts)}")


KINDS = ("right", "planted", "right again", "planted again")
"""Reports of right and of planted theories, and what became of those that may look again."""


def drawn(prediction: tpdyn.Prediction, reports: range, again: int = AGAIN) -> dict[str, Counter[Outcome]]:
    """Draw reports with runs of their own; count the outcomes under the right theory and under planted ones."""
    found: dict[str, Counter[Outcome]] = {what: Counter() for what in KINDS}
    for number, runs in reported(prediction, reports, again):
        program = ProgramRuns(prediction, runs)
        report = compare(prediction, runs, by_program=program.of_values())
        found["right"][report.outcome] += 1
        wrong = [(plant, against(report, plant)) for plant in plants(report)]
        found["planted"].update(together([each.outcome for _, each in wrong]))
        if number % again == 0:
            found["right again"][further(report, program).outcome] += 1
            plant, each = wrong[number // again % len(wrong)] if wrong else (None, None)
            if plant is not None and each is not None:
                found["planted again"][further(each, program, plant).outcome] += 1
    return found


def reported(prediction: tpdyn.Prediction, reports: range, again: int) -> Iterator[tuple[int, Measurement]]:
    """Yield the runs of each report with its number. Those of many reports are made in one go."""
    seeds = {
        number: tuple(range(100 * (number + 1), 100 * (number + 1) + COUNTS[number % len(COUNTS)]))
        for number in reports
    }
    for number in [each for each in reports if each % again == 0]:
        yield number, made(prediction, DEFAULT, seeds.pop(number))
    while seeds:
        group = [seeds.popitem() for _ in range(min(GROUP, len(seeds)))]
        runs = made(prediction, SMALL, tuple(seed for _, each in group for seed in each))
        for number, each in group:
            yield number, chosen(runs, each)


def chosen(runs: Measurement, seeds: tuple[int, ...]) -> Measurement:
    """Return the measurement that has only these seeds."""
    columns = [runs.seeds.index(seed) for seed in seeds]
    arrays = {
        each.name: getattr(runs, each.name)[:, columns]
        for each in fields(runs)
        if isinstance(getattr(runs, each.name), np.ndarray)
    }
    return replace(runs, seeds=seeds, **arrays)


def together(outcomes: list[Outcome]) -> list[Outcome]:
    """Count planted theories of one report once: confirmed if any is, else undecided if any is."""
    worst = (Outcome.CONFIRMED, Outcome.UNDECIDED, Outcome.CONTRADICTED)
    return [next(each for each in worst if each in outcomes)] if outcomes else []


def made(prediction: tpdyn.Prediction, widths: tuple[int, ...], seeds: tuple[int, ...]) -> Measurement:
    """Make runs of the program."""
    program = marked(prediction)
    runs = {
        (width, seed): seen
        for width in widths
        for seed, seen in program_runs(program, width, seeds, STEPS, dtype=torch.float32)
    }
    return assembled(widths, seeds, STEPS, runs, "cpu", [])


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
    """Return the measurement that the wrong theory would have to explain: these values times (n / 32)^by."""
    factor = (np.array(measurement.widths) / SMALL[0])[:, None, None] ** plant.by
    made = {}
    for names, fields_ in ((plant.names, ("change", "change_rms")), (plant.growing, ("size", "rms"))):
        columns = [measurement.names.index(name) for name in names if name in measurement.names]
        for field in fields_:
            made[field] = getattr(measurement, field).copy()
            for column in columns:
                made[field][..., column] *= factor
    return replace(measurement, **made)


def against(report: Report, plant: Plant) -> Report:
    """Compare the same runs with a wrong theory."""
    by = {name: off(runs, plant) for name, runs in report.by_program.items()}
    return compare(report.prediction, off(report.measurement, plant), by_program=by)


class Planted:
    """The program's runs as a wrong theory would have to explain them. plant: None for the right one."""

    def __init__(self, program: ProgramRuns, plant: Plant | None) -> None:
        self.program, self.plant = program, plant

    def beside(self, widths: tuple[int, ...], seeds: int) -> Measurement | None:
        """Run the program at further widths and seeds."""
        return self._off(self.program.beside(widths, seeds) if widths[-1] <= LARGEST else None)

    def at(self, widths: tuple[int, ...], seeds: int) -> Measurement | None:
        """Run it no farther: simulations take minutes."""
        return None

    def part(self, name: str, step: int, seeds: int) -> Measurement | None:
        """Measure a change by its leading part."""
        return self._off(self.program.part(name, step, seeds))

    def _off(self, runs: Measurement | None) -> Measurement | None:
        return runs if runs is None or self.plant is None else off(runs, self.plant)


def further(report: Report, program: ProgramRuns, plant: Plant | None = None) -> Report:
    """Look again with further runs, as `--until-decided` does; a plan that takes too much leaves the report undecided."""
    known, first, enough = program.live, program.live.seeds[0], True

    def more(widths: tuple[int, ...], seeds: tuple[int, ...]) -> Measurement:
        nonlocal known, enough
        enough = widths[-1] <= LARGEST and sum(width**2 for width in widths) * len(seeds) <= 64 * 1024**2
        if not enough:
            return report.measurement
        wanted = tuple(range(first, first + len(seeds)))
        before = known
        for width in widths:
            have = before.seeds if width in before.widths else ()
            missing = tuple(seed for seed in wanted if seed not in have)
            known = joined(known, made(report.prediction, (width,), missing)) if missing else known
        return known if plant is None else off(known, plant)

    return until_decided(report, more, on=lambda: enough, program=Planted(program, plant))


def bound(reports: int) -> float:
    """Return the rate below which it lies at 95 % if there is no error in so many."""
    return 1 - 0.05 ** (1 / reports)


def line(what: str, counts: Counter[Outcome]) -> str:
    """Write the counts, and the rate of the error with its interval."""
    error = Outcome.CONFIRMED if "planted" in what else Outcome.CONTRADICTED
    total = counts.total()
    if not total:
        return f"{what}: none"
    high = stats.binomtest(counts[error], total, alternative="less").proportion_ci(0.95, method="exact").high
    shown = ", ".join(f"{outcome.value} {counts[outcome]}" for outcome in Outcome)
    return f"{what:12} {total:6}: {shown}; falsely {error.value}: below {high:.5f} at 95 %"


if __name__ == "__main__":
    main()
