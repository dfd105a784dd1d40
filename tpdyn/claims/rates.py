"""How often is a claim that holds called failed, and how often is a wrong one caught? Measured, not promised.

    python -m tpdyn.claims.rates 400

draws numbers that follow a claim, and numbers of a named wrong theory, and checks both. The counts are kept in `RATES`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tpdyn.claims.checking import check
from tpdyn.claims.claim import Claim, kernel, law, limit
from tpdyn.claims.deciding import confidence_of
from tpdyn.claims.statistics import estimate_order, judge

KERNEL = np.array([[1.0, 0.5], [0.5, 2.0]])
ROOT = np.linalg.cholesky(KERNEL)
WIDTHS = (64, 128, 256, 512)

RATES: Mapping[str, tuple[str, int, int, int, int]] = {
    "order": ("off by 1/2", 40, 0, 0, 40),
    "limit": ("the dot term dropped", 40, 0, 0, 40),
    "kernel": ("off by 10 %", 40, 0, 0, 40),
    "law": ("covariance off by 30 %, margin 15 %", 40, 0, 0, 13),
}
"""By kind of claim: the wrong theory, trials, right ones called failed, wrong ones that hold, wrong ones that fail.

From `python -m tpdyn.claims.rates 40`. Regimes: `tpdyn.claims.deciding.ALPHA`."""


def order(trial: int, wrong: bool) -> str:
    """Try an order: sizes n^-1/2 with 10 % noise and a finite-width term, claimed right or off by 1/2; up to three looks."""
    rng = np.random.default_rng([trial, 1])
    n = np.array(WIDTHS, dtype=np.float64)[:, None]
    term = rng.standard_normal() / n**0.5
    values = n**-0.5 * np.exp(term + 0.1 * rng.standard_normal((len(n), 32)))
    for look in (1, 2, 3):
        found = estimate_order(WIDTHS, values[:, : 4 * 2**look], confidence=confidence_of(look))
        verdict = judge(0 if wrong else -0.5, found)  # type: ignore[arg-type]
        if verdict != "inconclusive":
            return {"agrees": "holds", "disagrees": "fails"}[verdict]
    return "undecided"


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
    return law(draw, covariance=(1.3 if wrong else 1.0) * KERNEL, margin=0.15, looks=5, seeds=128)


WRONG = {
    "order": "off by 1/2",
    "limit": "the dot term dropped",
    "kernel": "off by 10 %",
    "law": "covariance off by 30 %, margin 15 %",
}


def measured(kind: str, trials: int) -> tuple[str, int, int, int, int]:
    """Measure one row of `RATES`."""
    counts = {}
    for wrong in (False, True):
        verdicts = (
            order(trial, wrong) if kind == "order" else check(claimed(kind, trial, wrong)).verdict
            for trial in range(trials)
        )
        counts[wrong] = Counter(verdicts)
    return WRONG[kind], trials, counts[False]["fails"], counts[True]["holds"], counts[True]["fails"]


def main(arguments: list[str]) -> None:
    """Print what `RATES` is to be."""
    trials = int(arguments[0]) if arguments else 400
    for kind in WRONG:
        print(f"    {kind!r}: {measured(kind, trials)},", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
