"""How often are runs of one law told apart? And how often is a new slope or level of one value in ten noticed?

Sizes are log-normal with a spread of 0.1. There are 3 live runs and 16 of the program at widths 64 to 512. More trials, and
the numbers: `HYPOTHESIS_PROFILE=thorough python -m pytest -s proofs_checks/test_one_law.py`
"""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from scipy import stats

from tpdyn.measuring.assembled import assembled
from tpdyn.measuring.measurement import Measurement
from tpdyn.measuring.observe import FIELDS, Observation
from tpdyn.measuring.one_law import ALPHA, BESIDE, LIVE, difference

TRIALS = 2 * (settings.default.max_examples if settings.default is not None else 100)
WIDTHS = (64, 128, 256, 512)


def _runs(random: np.random.Generator, count: int, slope: float = 0.0, level: float = 0.0) -> Measurement:
    made = {}
    for width in WIDTHS:
        for seed in range(count):
            run = Observation(steps=2, shapes={"w": (width,)})
            for number in range(10):
                off = level + slope * np.log(width / 181) if number == 9 else 0.0
                size = float(np.exp(0.1 * random.standard_normal() + off))
                for what, value in zip(FIELDS, (size, size, 0.0, 0.0, 0.0, 0.0, 1e-7), strict=True):
                    run.values[0, f"m{number}", what] = value
            made[width, seed] = run
    return assembled(WIDTHS, tuple(range(count)), 2, made, "cpu", [])


def _noticed(slope: float = 0.0, level: float = 0.0) -> int:
    random = np.random.default_rng(5)
    return sum(difference(_runs(random, LIVE, slope, level), _runs(random, BESIDE)) is not None for _ in range(TRIALS))


def test_one_law_is_told_apart_no_more_often_than_alpha() -> None:
    count = _noticed()
    print(f"one law: {count} of {TRIALS} told apart")
    assert count <= stats.binom.ppf(1 - 1e-6, TRIALS, ALPHA)


def test_another_slope_or_level_of_one_value_is_noticed() -> None:
    for off, least in (({"slope": 0.5}, 0.98), ({"slope": 0.25}, 0.7), ({"level": float(np.log(1.5))}, 0.9)):
        count = _noticed(**off)
        print(f"{off}: {count} of {TRIALS} noticed")
        assert count >= least * TRIALS
