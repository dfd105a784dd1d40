"""Look at a script until it is decided. How often is a right one called wrong, or a wrong one right?

Sizes are drawn from the model of `tpdyn.claims.statistics` (finite-width terms with its prior, noise, what a seed has in
common). A script has one hidden representation and its output. It starts at widths 64 to 512 and 8 seeds and is looked at as
`tpdyn check --until-decided` does. *False contradiction*: the theory is right and called contradicted. *False confirmation*:
the deciding row is wrong by 1/2 and the regime is confirmed. Power: how often it is decided.

The numbers: `HYPOTHESIS_PROFILE=thorough python -m pytest -s proofs_checks/test_until_decided.py`
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import settings
from scipy import stats

from tpdyn.claims.deciding import ALPHA, until_decided
from tpdyn.claims.outcome import Outcome
from tpdyn.claims.report import compare
from tpdyn.claims.statistics import CROSSOVER, GROWING_CROSSOVER, TERMS
from tpdyn.measuring.measurement import Measurement
from tpdyn.program.program import Program, Source
from tpdyn.regimes.prediction import Prediction, Reason, Regime, Row

HALF, ZERO = Fraction(1, 2), Fraction(0)
EXAMPLES = settings.default.max_examples if settings.default is not None else 100
QUICK = EXAMPLES == 25
SCRIPTS = 30 if QUICK else 4 * EXAMPLES
WIDTHS, SEEDS = (64, 128, 256, 512), tuple(range(8))
NOISES = (0.05, 0.4) if QUICK else (0.05, 0.15, 0.4)
NAMES = ("h", "output")


@dataclass(frozen=True)
class Script:
    """A script whose changes have those true orders."""

    number: int
    orders: tuple[float, float]
    noise: float

    def run(self, widths: tuple[int, ...], seeds: tuple[int, ...]) -> Measurement:
        """The same numbers for a width and seed whenever it is asked."""
        shape = (len(widths), len(seeds), 3, 2)
        change, size = np.zeros(shape), np.zeros(shape)
        terms = np.random.default_rng((self.number, 1)).standard_normal((2, 2, TERMS))
        for s, seed in enumerate(seeds):
            common = 0.3 * np.random.default_rng((self.number, 2, seed)).standard_normal((2, 2))
            for w, n in enumerate(widths):
                draws = np.random.default_rng((self.number, 3, seed, n)).standard_normal((2, 2))
                for k, order in enumerate(self.orders):
                    scale = GROWING_CROSSOVER if order > 0 else CROSSOVER
                    powers = (scale / n) ** (np.arange(1, TERMS + 1) / 2)
                    change[w, s, 1:, k] = np.exp(
                        order * np.log(n) + powers @ terms[0, k] + common[0, k] + self.noise * draws[0, k]
                    )
                    size[w, s, :, k] = np.exp((CROSSOVER / n) ** 0.5 * terms[1, k, 0] + 0.05 * draws[1, k])
        none = np.full((*shape[:3], 0), np.nan)
        return Measurement(
            widths=widths, seeds=seeds, steps=3, names=NAMES, parameters=(), size=size, rms=size, change=change,
            change_rms=change, nonfinite=np.zeros(shape), epsilon=np.full(shape, 1e-16), split=np.full((*shape, 4), np.nan),
            parameter_size=none, parameter_change=none, gradient_size=none, loss=np.ones(shape[:3]),
            diverged=np.zeros(shape[:3], dtype=bool), completed=np.ones(shape[:2], dtype=bool),
        )  # fmt: skip


def claim(regime: Regime, order: Fraction) -> Prediction:
    """That the hidden representation changes with that order, and the output at order 0."""
    place = Source("net.py", 7, "x")
    rows = tuple(
        Row(kind, name, step, ZERO, None if step == 0 else change, place, 0, learns=True if name == "h" else None)  # type: ignore[arg-type]
        for kind, name, change in (("module", "h", order), ("output", "output", ZERO))
        for step in range(3)
    )
    return Prediction(Program(()), regime, (Reason("because", "h", "h", place),), rows, (), ())


REGIMES = {Regime.FEATURE_LEARNING: ZERO, Regime.KERNEL: -HALF, Regime.UNSTABLE: HALF}


def outcomes(regime: Regime, noise: float, wrong: Fraction) -> Counter[tuple[Outcome, bool]]:
    """(outcome, whether it took more than one look) of many scripts; the deciding row is wrong by `wrong`."""
    found: Counter[tuple[Outcome, bool]] = Counter()
    order = REGIMES[regime]
    for number in range(SCRIPTS):
        script = Script(number, (float(order + wrong), 0.0), noise)
        first = compare(claim(regime, order), script.run(WIDTHS, SEEDS))
        last = until_decided(first, script.run)
        found[last.outcome, len(last.measurement.seeds) > 8 or len(last.measurement.widths) > 4] += 1
    return found


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("regime", list(REGIMES), ids=lambda regime: regime.value)
def test_looking_until_it_is_decided_errs_no_more_often_than_promised(regime: Regime, noise: float) -> None:
    allowed = int(stats.binom.ppf(1 - 1e-4, SCRIPTS, ALPHA))
    for wrong in (ZERO, HALF, -HALF):
        seen = outcomes(regime, noise, wrong)
        count = {outcome: seen[outcome, False] + seen[outcome, True] for outcome in Outcome}
        shown = {outcome.value: round(number / SCRIPTS, 4) for outcome, number in count.items()}
        later = sum(number for (_, more), number in seen.items() if more) / SCRIPTS
        print(f"\n{regime.value}, noise {noise}, off by {wrong}: {shown}, {later:.3f} looked again", end="")
        error = Outcome.CONTRADICTED if wrong == 0 else Outcome.CONFIRMED
        assert count[error] <= allowed
        if wrong == 0:
            assert count[Outcome.UNDECIDED] < 0.1 * SCRIPTS
