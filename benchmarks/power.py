"""How often are right theories contradicted, wrong ones caught, on random scripts? `python benchmarks/power.py [scripts] [first]`

Scripts are drawn as the tests draw them (`tpdyn.testing.models`). Each has an embedding, up to four layers (linear, norms,
residual blocks, attention, functions), a readout, an optimizer. Each is run at widths 32 to 256 with 4 seeds: small widths,
where parts of lower order still matter. Planted theories are those of `headline.py`: off by 1/2, too small or too large, in
the rows of one claim.
"""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
from headline import against, plants

import tpdyn
from tpdyn.claims.outcome import Outcome
from tpdyn.claims.report import compare
from tpdyn.claims.unseen import ProgramRuns
from tpdyn.measuring.measure import measure
from tpdyn.testing.models import LAYERS, OPTIMIZERS, Model

WIDTHS, SEEDS, STEPS = (32, 64, 128, 256), 4, 3


def drawn(number: int) -> Model:
    """Draw a script by its number."""
    rng = np.random.default_rng(number)
    layers = tuple(str(each) for each in rng.choice(LAYERS, int(rng.integers(1, 5))))
    optimizer = str(rng.choice(list(OPTIMIZERS)))
    return Model(layers, bool(rng.integers(2)), bool(rng.integers(4) == 0), optimizer, 1, number)


def main() -> None:
    """Print the outcome of every script, under its theory and under planted ones, and their sums."""
    scripts = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    start = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    sums: dict[str, Counter[Outcome]] = {what: Counter() for what in ("right", "too small", "too large")}
    for number in range(start, start + scripts):
        model = drawn(number)
        prediction = tpdyn.predict(tpdyn.record(model.train, steps=STEPS, widths=(16, 24, 32)))
        runs = measure(model.train, WIDTHS, SEEDS, STEPS)
        report = compare(prediction, runs, by_program=ProgramRuns(prediction, runs).of_values())
        here = {"right": [report.outcome], "too small": [], "too large": []}
        for plant in plants(report):
            wrong = against(report, plant).outcome
            here["too small" if plant.by > 0 else "too large"].append(wrong)
        for what, outcomes in here.items():
            sums[what].update(outcomes)
        told = "; ".join(f"{what}: {', '.join(each.value for each in outcomes)}" for what, outcomes in here.items())
        print(
            f"{number} {', '.join(model.layers)}; {model.optimizer}; {prediction.regime.value}\n    {told}", flush=True
        )
    for what, counts in sums.items():
        print(f"{what:10} {counts.total():4}: {', '.join(f'{each.value} {counts[each]}' for each in Outcome)}")


if __name__ == "__main__":
    main()
