"""How often is a claim that holds called failed, and how often is a wrong one caught? Measured, not promised.

    python -m tpdyn.claims.rates 400

draws numbers that follow a claim, and numbers of a named wrong theory, and checks both. The page on CI
has the counts of 40 trials. Its last line lets Hypothesis hunt for an alarm (`hunted`). Regimes: `tpdyn.claims.deciding.ALPHA`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import norm

from tpdyn.claims.checking import ALPHA, check, transferred
from tpdyn.claims.claim import Claim, kernel, law, limit
from tpdyn.claims.deciding import confidence_of
from tpdyn.claims.statistics import estimate_order, judge
from tpdyn.tuning.optimum import locate
from tpdyn.tuning.sweep import Sweep

KERNEL = np.array([[1.0, 0.5], [0.5, 2.0]])
ROOT = np.linalg.cholesky(KERNEL)
WIDTHS = (64, 128, 256, 512)


def order(trial: int, wrong: bool) -> str:
    """Try an order: sizes n^-1/2 with 10 % noise and a finite-width term, claimed right or off by 1/2. Up to three looks."""
    rng = np.random.default_rng([trial, 1])
    n = np.array(WIDTHS, dtype=np.float64)[:, None]
    term = rng.standard_normal() / n**0.5
    values = n**-0.5 * np.exp(term + 0.1 * rng.standard_normal((len(n), 32)))
    for look in (1, 2, 3):
        estimate = estimate_order(WIDTHS, values[:, : 4 * 2**look], confidence=confidence_of(look))
        verdict = judge(0 if wrong else -0.5, estimate)  # type: ignore[arg-type]
        if verdict != "inconclusive":
            return {"agrees": "holds", "disagrees": "fails"}[verdict]
    return "undecided"


def transfer(trial: int, wrong: bool) -> str:
    """Try a transfer: optima that stay (or move as n^-1/2), each seed's scattered by 10 % at each width. The claim: they stay."""
    rng, seeds = np.random.default_rng([trial, 2]), 8
    n, factors = np.array(WIDTHS, dtype=np.float64)[:, None, None], 2.0 ** np.arange(-4, 5)
    where = -0.5 * wrong * np.log(n / WIDTHS[0]) + 0.1 * rng.standard_normal((len(WIDTHS), 1, seeds))
    losses = 1 + (np.log(factors)[None, :, None] - where) ** 2
    swept = Sweep("", WIDTHS, tuple(factors.tolist()), tuple(range(seeds)), 10, losses)
    return transferred(locate(swept, confidence=1 - ALPHA), False)


def _draws(trial: int, kind: str) -> Callable[[int, int], Any]:
    def draw(width: int, seed: int) -> Any:
        rng = np.random.default_rng([trial, width, seed])
        if kind == "limit":  # W^T W x beside x: x . W^T W x / n is 1 with its dot, 0 without
            return 1 + 1 / width + rng.standard_normal() / 2
        if kind == "kernel":
            return ROOT @ rng.standard_normal((2, 64)) * (1 + 1 / width) ** 0.5
        return ROOT @ rng.standard_normal(2)

    return draw


def claimed(kind: str, trial: int, wrong: bool) -> Claim:
    """Make a claim of a kind, right or wrong."""
    draw = _draws(trial, kind)
    if kind == "limit":
        return limit(draw, 0.0 if wrong else 1.0, looks=6)
    if kind == "kernel":
        return kernel(draw, (1.1 if wrong else 1.0) * KERNEL, looks=6)
    return law(draw, covariance=(1.3 if wrong else 1.0) * KERNEL, margin=0.15, looks=7, seeds=128)


WRONG = {
    "order": "off by 1/2",
    "limit": "the dot term dropped",
    "kernel": "off by 10 %",
    "law": "covariance off by 30 %, margin 15 %",
    "transfer": "moves as n^-1/2",
}


def measured(kind: str, trials: int) -> tuple[str, int, int, int, int]:
    """Count for a kind of claim.

    Returns the wrong theory, trials, right claims that fail, wrong ones that hold, wrong ones that fail.
    """
    counts, alone = {}, {"order": order, "transfer": transfer}
    for wrong in (False, True):
        verdicts = (
            alone[kind](trial, wrong) if kind in alone else check(claimed(kind, trial, wrong)).verdict
            for trial in range(trials)
        )
        counts[wrong] = Counter(verdicts)
    return WRONG[kind], trials, counts[False]["fails"], counts[True]["holds"], counts[True]["fails"]


def hunted(runs: int, examples: int = 100, alpha: float = ALPHA) -> tuple[int, int]:
    """Count the runs in which Hypothesis refutes a true statement: a Gaussian of mean zero is near zero.

    Returns (with a limit that `examples` numbers exceed with probability alpha, with 3 standard errors for each example).
    Hypothesis reports the worst of what it tries, so the limit must count the examples. Shrinking is free: it starts from
    an example that failed already. Needs hypothesis.
    """
    from hypothesis import Phase, given, seed, settings
    from hypothesis import strategies as st

    def fails(number: int, limit: float) -> bool:
        @seed(number)
        @settings(max_examples=examples, database=None, phases=[Phase.generate, Phase.shrink], deadline=None)
        @given(st.integers(0, 2**64 - 1))
        def near_zero(drawn: int) -> None:
            assert abs(np.random.default_rng([number, drawn]).standard_normal()) < limit

        try:
            near_zero()
        except AssertionError:
            return True
        return False

    corrected = float(norm.isf(alpha / (2 * examples)))
    return sum(fails(k, corrected) for k in range(runs)), sum(fails(k, 3.0) for k in range(runs))


def main(arguments: list[str]) -> None:
    """Print one line a kind."""
    trials = int(arguments[0]) if arguments else 400
    for kind in WRONG:
        print(f"{kind}: {measured(kind, trials)}", flush=True)
    corrected, plain = hunted(trials)
    print(f"under Hypothesis, {trials} runs of 100 examples: {corrected} false alarms, {plain} without the correction")


if __name__ == "__main__":
    main(sys.argv[1:])
