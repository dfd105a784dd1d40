"""Do the recorded program and the live script make runs of one law? A permutation test, exact at any number of runs.

If they do, the runs of a pool do not show which are live. Any other choice of as many seeds could be. So the largest
distance between both groups, over all values, is compared with its distances for other choices. Seeds are exchanged whole,
with all their widths, since data of one seed are the same at every width. For each value two numbers are compared: its
level and its slope over log width. The level is log size at step 0, log change later.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from tpdyn.measuring.measurement import Measurement

ALPHA = 0.01
"""The chance that runs of one law are told apart. They then cost the live runs, but the verdict stays right.

Measured with `HYPOTHESIS_PROFILE=thorough python -m pytest -s proofs_checks/test_one_law.py` (3 live runs, 16 of the program,
widths 64 ... 512, one value of ten off, spread 0.1 of the logs): 11 of 1,000 of one law are told apart. Of 1,000 with a slope off
by 1/2 all are noticed, by 1/4 939, with a factor of 1.5 all."""

LIVE = 3
"""Live runs at each width."""

BESIDE = 16
"""Runs of the program at each width, at least: C(19, 3) = 969 choices, so that `ALPHA` can be reached."""

CHOICES = 4000
FLOOR = 100.0
"""Changes of less than so many units of round-off are noise."""


@final
@dataclass(frozen=True, slots=True)
class Difference:
    """What differs: the value (module, step), in what, by how much (a factor or slope), and with what chance."""

    name: str
    step: int
    what: str
    by: float
    chance: float

    def told(self) -> str:
        """Tell it in words."""
        amount = f"a factor {math.exp(self.by):.2g}" if self.what == "level" else f"{self.by:+.2f} in its slope"
        return f"{self.name or '(root)'} at step {self.step} by {amount} (chance {self.chance:.1g})"


def difference(live: Measurement, program: Measurement, alpha: float = ALPHA) -> Difference | None:
    """Find the largest difference between runs of the script and of its program. None if both may come from one law.

    Both at the same widths. Values that are zero, not finite or below round-off in some run are not compared. A run
    that diverged in one group only is a difference.
    """
    names = [name for name in live.names if name in program.names]
    labels: list[tuple[str, int]] = []
    rows: list[NDArray[np.float64]] = []
    for name in names:
        for step in range(live.steps):
            pooled = np.concatenate([_values(live, name, step), _values(program, name, step)], axis=1)
            if np.isfinite(pooled).all():
                labels.append((name, step))
                rows.append(pooled)
    here, there = live.diverged.any(), program.diverged.any()
    if here != there:
        return Difference("the loss", 0, "level", math.inf if here else -math.inf, 0.0)
    if not rows:
        return None
    logs = np.asarray(live.widths, dtype=np.float64)
    centred = np.log(logs) - np.log(logs).mean()
    values = np.stack(rows)  # value, width, seed
    profiles = np.stack([values.mean(1), np.einsum("w,vws->vs", centred / (centred**2).sum(), values)], 1)
    profiles = profiles.reshape(-1, values.shape[2])  # (value, level or slope), seed
    spread = profiles.std(axis=1)
    told = spread > 1e-9
    if not told.any():
        return None
    scaled = (profiles - profiles.mean(1, keepdims=True))[told] / spread[told, None]
    chosen = _choices(scaled.shape[1], len(live.seeds))
    distances = np.abs(scaled @ chosen.T)  # of the sum over the chosen seeds from its mean, which is 0
    largest = distances.max(axis=0)
    chance = float((largest >= largest[0] - 1e-9).mean())
    if chance > alpha:
        return None
    at = int(np.flatnonzero(told)[int(distances[:, 0].argmax())])
    mine = len(live.seeds)
    by = float(profiles[at, :mine].mean() - profiles[at, mine:].mean())
    return Difference(*labels[at // 2], "level" if at % 2 == 0 else "slope", by, chance)


def _values(measurement: Measurement, name: str, step: int) -> NDArray[np.float64]:
    """Log sizes or changes [width, seed]; NaN where there is none that counts."""
    k = measurement.index(name)
    size = measurement.rms[:, :, step, k]
    value = size if step == 0 else measurement.change_rms[:, :, step, k]
    lowest = FLOOR * measurement.epsilon[:, :, step, k] * size if step else 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        logs: NDArray[np.float64] = np.log(np.where(value > lowest, value, np.nan))
    return logs


def _choices(runs: int, live: int) -> NDArray[np.float64]:
    """Choose which seeds might have been the live ones: rows of zeros and ones, the real choice first. All, or many at random."""
    if math.comb(runs, live) <= CHOICES:
        every = list(itertools.combinations(range(runs), live))
    else:
        random = np.random.default_rng(0)
        every = [tuple(range(live)), *(tuple(random.choice(runs, live, replace=False)) for _ in range(CHOICES))]
    chosen = np.zeros((len(every), runs))
    for row, seeds in enumerate(every):
        chosen[row, list(seeds)] = 1.0
    return chosen
