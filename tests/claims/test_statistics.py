"""Mirrors tpdyn/claims/statistics.py."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from tpdyn.claims.statistics import GROWING_CROSSOVER, OrderEstimate, estimate_order, judge

WIDTHS = (64, 128, 256, 512)
HALF = Fraction(1, 2)


def sizes(order: float, *, noise: float = 0.1, seeds: int = 8, seed: int = 0, common: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    n = np.array(WIDTHS, dtype=float)[:, None]
    return n**order * np.exp(noise * rng.standard_normal((4, seeds)) + common * rng.standard_normal(seeds))


@pytest.mark.parametrize("order", [-1.0, -0.5, 0.0, 0.5, 1.5])
def test_the_interval_holds_the_order_of_a_power_law_and_excludes_its_neighbours(order: float) -> None:
    found = estimate_order(WIDTHS, sizes(order))
    assert found is not None
    assert found.low < order < found.high
    assert judge(Fraction(order), found) == "agrees"
    assert judge(Fraction(order) + HALF, found) == "disagrees"
    assert judge(Fraction(order) - HALF, found) == "disagrees"


def test_a_power_law_without_noise_is_found_up_to_what_finite_width_may_hide() -> None:
    found = estimate_order(WIDTHS, sizes(-0.5, noise=0.0))
    assert found is not None
    assert found.estimate == pytest.approx(-0.5, abs=1e-9)
    assert found.noise == pytest.approx(0, abs=1e-6)
    assert 0.01 < found.high - found.low < 0.2


def test_the_unit_of_the_sizes_does_not_matter() -> None:
    first, second = estimate_order(WIDTHS, sizes(0.5)), estimate_order(WIDTHS, 1e-9 * sizes(0.5))
    assert first is not None
    assert second is not None
    assert second.estimate == pytest.approx(first.estimate)
    assert second.high == pytest.approx(first.high)


def test_what_seeds_have_in_common_over_widths_does_not_widen_the_interval() -> None:
    alone, together = estimate_order(WIDTHS, sizes(0.0)), estimate_order(WIDTHS, sizes(0.0, common=2.0))
    assert alone is not None
    assert together is not None
    assert together.high - together.low == pytest.approx(alone.high - alone.low)


def test_few_seeds_and_small_widths_give_wide_intervals_with_the_right_remedy() -> None:
    noisy = estimate_order(WIDTHS, sizes(0.0, noise=0.8, seeds=3))
    assert noisy is not None
    assert judge(Fraction(0), noisy) == "inconclusive"
    assert "seeds" in noisy.remedy()
    narrow = estimate_order((4, 6, 8, 10), np.exp(1e-3 * np.random.default_rng(0).standard_normal((4, 8))))
    assert narrow is not None
    assert judge(Fraction(0), narrow) == "inconclusive"
    assert "widths" in narrow.remedy()


def test_one_seed_gives_no_interval() -> None:
    found = estimate_order(WIDTHS, sizes(0.0, seeds=1))
    assert found is not None
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert judge(Fraction(0), found) == "inconclusive"


def test_a_readout_that_overtakes_its_bias_late_is_not_rejected() -> None:
    """A sum A n + B with B = 100 A: the straight line through it has slope 0.6 over these widths."""
    n = np.array(WIDTHS, dtype=float)[:, None]
    values = (n + 100) * np.exp(0.1 * np.random.default_rng(0).standard_normal((4, 8)))
    found = estimate_order(WIDTHS, values, crossover=GROWING_CROSSOVER)
    assert found is not None
    assert judge(Fraction(1), found) != "disagrees"
    assert judge(Fraction(0), found) == "disagrees"


def test_zeros_nan_and_values_below_the_floor_are_left_out_and_said_so() -> None:
    values = sizes(0.0)
    values[0, 0], values[1, 1], values[2, 2], values[3, 3] = 0, np.nan, np.inf, 1e-9
    found = estimate_order(WIDTHS, values, floor=1e-8)
    assert found is not None
    assert "4 of 32 values left out" in found.note
    assert judge(Fraction(0), found) == "agrees"
    values[1:] = np.nan
    assert estimate_order(WIDTHS, values) is None
    assert estimate_order(WIDTHS, np.zeros((4, 8))) is None


def test_values_that_go_up_and_down_are_data() -> None:
    found = estimate_order(WIDTHS, np.array([[1.0, 1.1], [9.0, 8.8], [0.2, 0.21], [7.0, 7.7]]))
    assert found is not None
    assert math.isfinite(found.estimate)


def test_an_upper_bound_allows_anything_below() -> None:
    found = estimate_order(WIDTHS, sizes(-1.0))
    assert judge(Fraction(0), found) == "disagrees"
    assert judge(Fraction(0), found, at_most=True) == "agrees"
    assert judge(Fraction(-2), found, at_most=True) == "disagrees"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-0.2, 0.2, "agrees"), (-0.3, 0.2, "inconclusive"), (0.26, 0.3, "disagrees"), (0.2, 0.3, "inconclusive"),
     (-9.0, 9.0, "inconclusive"), (-0.9, -0.3, "disagrees")],
)  # fmt: skip
def test_agreement_is_an_equivalence_statement(low: float, high: float, verdict: str) -> None:
    assert judge(Fraction(0), OrderEstimate((low + high) / 2, low, high, 4, 8, 0.1, 0.1)) == verdict


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \[width, seed\] with 3 widths"):
        estimate_order((1, 2, 3), np.ones((4, 8)))
    with pytest.raises(ValueError, match="confidence is 99"):
        estimate_order(WIDTHS, np.ones((4, 8)), confidence=99.0)


def test_a_width_at_which_less_than_half_is_left_is_left_out() -> None:
    values = sizes(0.0)
    values[0, 1:] = np.nan
    found = estimate_order(WIDTHS, values)
    assert found is not None and found.widths == 3
    values = sizes(0.0)
    values[0, 4:] = np.nan
    found = estimate_order(WIDTHS, values)
    assert found is not None and found.widths == 4 and found.seeds == 4


def test_growth_behind_a_constant_of_two_hundred_is_rejected_by_the_crossover_of_what_stays_only() -> None:
    n = np.array(WIDTHS, dtype=float)[:, None]
    values = (n + 200) * np.exp(0.1 * np.random.default_rng(1).standard_normal((4, 8)))
    found = estimate_order(WIDTHS, values, crossover=GROWING_CROSSOVER)
    assert found is not None and judge(Fraction(1), found) != "disagrees"
    short = estimate_order(WIDTHS, values)
    assert short is not None and judge(Fraction(1), short) == "disagrees"
