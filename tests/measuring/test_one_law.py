"""Mirrors tpdyn/measuring/one_law.py; error rate and power are measured in proofs_checks/test_one_law.py."""

from __future__ import annotations

import numpy as np

from tpdyn.measuring.assembled import assembled
from tpdyn.measuring.measurement import Measurement
from tpdyn.measuring.observe import FIELDS, Observation
from tpdyn.measuring.one_law import BESIDE, LIVE, difference

WIDTHS = (64, 128, 256, 512)


def runs(random: np.random.Generator, count: int, slope: float = 0.0, level: float = 0.0) -> Measurement:
    """Ten values with a spread of 0.1; the last one has another slope and level."""
    made = {}
    for width in WIDTHS:
        for seed in range(count):
            run = Observation(steps=2, shapes={"w": (width,)})
            for number in range(10):
                off = level + slope * np.log(width / 181) if number == 9 else 0.0
                for step in range(2):
                    size = float(np.exp(0.1 * random.standard_normal() + off))
                    numbers = [size] * 4 if step else [size, size, 0.0, 0.0]
                    for what, value in zip(FIELDS, [*numbers, 0.0, 0.0, 1e-7], strict=True):
                        run.values[step, f"m{number}", what] = value
            made[width, seed] = run
    return assembled(WIDTHS, tuple(range(count)), 2, made, "cpu", [])


def test_one_law_is_not_told_apart_and_a_slope_or_level_is_named() -> None:
    random = np.random.default_rng(0)
    assert difference(runs(random, LIVE), runs(random, BESIDE)) is None
    found = difference(runs(random, LIVE, slope=0.5), runs(random, BESIDE))
    assert found is not None
    assert (found.name, found.what) == ("m9", "slope")
    assert 0.3 < found.by < 0.7
    found = difference(runs(random, LIVE, level=0.7), runs(random, BESIDE))
    assert found is not None
    assert (found.name, found.what) == ("m9", "level")
    assert "m9 at step" in found.told()


def test_a_run_that_diverged_in_one_group_only_is_a_difference() -> None:
    random = np.random.default_rng(1)
    live, program = runs(random, LIVE), runs(random, BESIDE)
    live.diverged[-1, 0, 1] = True
    assert difference(live, program) is not None
