"""Is a part of a linear layer's change seen that leads later, and no other?"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from tpdyn.claims.split import leading_later
from tpdyn.claims.statistics import CONFIDENCE, MARGIN
from tpdyn.measuring.measurement import Measurement

WIDTHS, SHAPE, ZERO = (64, 128, 256, 512), (4, 6, 1, 1), Fraction(0)
N = np.array(WIDTHS, dtype=float)

Power = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def measured(by_input: Power, by_weight: Power) -> Measurement:
    """A layer whose change is the sum of two parts, with 5 % of noise."""
    noise = np.exp(0.05 * np.random.default_rng(0).standard_normal((2, *SHAPE)))
    first, second = (
        part(N)[:, None, None, None] * each for part, each in zip((by_input, by_weight), noise, strict=True)
    )
    split = np.stack([first, second, np.zeros(SHAPE), np.full(SHAPE, np.nan)], -1)
    ones, none = np.ones(SHAPE), np.full((*SHAPE[:3], 0), np.nan)
    return Measurement(
        widths=WIDTHS, seeds=tuple(range(6)), steps=1, names=("b",), parameters=(),
        size=ones, rms=ones, change=first + second, change_rms=first + second, nonfinite=np.zeros(SHAPE),
        epsilon=np.full(SHAPE, 2.0**-23), split=split, parameter_size=none, parameter_change=none, gradient_size=none,
        loss=np.ones(SHAPE[:3]), diverged=np.zeros(SHAPE[:3], dtype=bool), completed=np.ones(SHAPE[:2], dtype=bool),
    )  # fmt: skip


def falling(n: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 * n**-0.5


def test_a_part_that_stays_leads_later_behind_one_that_falls() -> None:
    """The numbers are those of a selective scan in double precision, seen up to width 2048: 0.019 stays."""
    runs = measured(falling, lambda n: 0.019 * n**0)
    said = leading_later(runs, "b", 0, ZERO, CONFIDENCE, MARGIN)
    assert "its part dW x0 measures" in said and "theory says 0" in said


@pytest.mark.parametrize(
    "by_weight",
    [falling, lambda n: 1e-4 * n**0],
    ids=["both parts fall: the planted order is wrong", "what stays is a hundredth of the change"],
)
def test_no_other_part_excuses_a_wrong_order(by_weight: Power) -> None:
    assert leading_later(measured(falling, by_weight), "b", 0, ZERO, CONFIDENCE, MARGIN) == ""


def test_nothing_is_said_while_the_largest_width_is_not_run() -> None:
    runs = measured(falling, lambda n: 0.019 * n**0)
    runs.completed[-1] = False
    assert leading_later(runs, "b", 0, ZERO, CONFIDENCE, MARGIN) == ""
