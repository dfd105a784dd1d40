"""Intervals are judged as equivalences: within the margin, outside of it, or neither."""

import numpy as np

from tpdyn.claims.numbers import limit, shape


def draws(seed: int, level: float, seeds: int) -> np.ndarray:
    """Widths 64 and 128: level * (1 + 1/n) plus noise of a tenth."""
    rng = np.random.default_rng(seed)
    return np.stack([level * (1 + 1 / n) + 0.1 * rng.standard_normal((seeds, 1)) for n in (64, 128)])


def test_a_limit_is_extrapolated_and_too_few_seeds_leave_it_open() -> None:
    one = np.ones(1)
    assert limit((64, 128), draws(0, 1.0, 400), one, 0.05, 0.99).verdict == "holds"
    assert limit((64, 128), draws(0, 1.15, 400), one, 0.05, 0.99).verdict == "fails"
    assert limit((64, 128), draws(0, 1.0, 3), one, 0.05, 0.99).verdict == "undecided"


def test_finite_widths_leave_open_what_no_seed_can_decide() -> None:
    one, quiet = np.ones(1), np.ones((2, 1000, 1))
    assert limit((16, 32), quiet, one, 0.05, 0.99).verdict == "undecided"
    assert limit((1024, 4096), quiet, one, 0.05, 0.99).verdict == "holds"


def test_the_shape_of_a_uniform_number_is_not_gaussian() -> None:
    rng = np.random.default_rng(0)
    one = np.ones((1, 1))
    assert shape(rng.standard_normal((8000, 1)), np.zeros(1), one, 0.05, 0.99).verdict == "holds"
    assert shape(rng.uniform(-(3**0.5), 3**0.5, (40000, 1)), np.zeros(1), one, 0.04, 0.99).verdict == "fails"
