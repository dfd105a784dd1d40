"""Is the best learning rate found, and its motion with the width, with honest intervals?"""

from __future__ import annotations

import math

import numpy as np
import pytest

from tpdyn.tuning.optimum import locate, vertex
from tpdyn.tuning.sweep import Sweep

WIDTHS = (64, 128, 256, 512)
FACTORS = tuple(2.0**k for k in range(-8, 9))


def parabolas(exponent: float, *, noise: float = 0.0, seeds: int = 4, draw: int = 0, shift: float = 0.0) -> Sweep:
    """Losses 1 + (log factor - optimum)^2 whose optimum moves with the given power of the width."""
    rng = np.random.default_rng(draw)
    where = shift + exponent * np.log(np.array(WIDTHS) / WIDTHS[0])[:, None] + noise * rng.standard_normal((4, seeds))
    losses = 1 + (np.log(np.array(FACTORS))[None, :, None] - where[:, None, :]) ** 2
    return Sweep("", WIDTHS, FACTORS, tuple(range(seeds)), 10, losses)


@pytest.mark.parametrize("exponent", [-1.0, -0.5, 0.0, 0.5])
def test_the_optimum_and_its_exponent_are_found(exponent: float) -> None:
    found = locate(parabolas(exponent, noise=0.02, draw=1))
    assert found.exponent.low < exponent < found.exponent.high
    assert found.exponent.estimate == pytest.approx(exponent, abs=0.05)
    assert found.moves is (exponent != 0)
    assert found.best[0].estimate == pytest.approx(1, rel=0.1)
    assert found.best[-1].estimate == pytest.approx(8**exponent, rel=0.1)


def test_intervals_hold_the_truth_as_often_as_they_promise() -> None:
    """400 draws at 95 %: the number outside is binomial(400, 0.05), below 33 but for one draw in a thousand."""
    outside = 0
    for draw in range(400):
        found = locate(parabolas(-0.5, noise=0.1, draw=draw)).exponent
        outside += not found.low <= -0.5 <= found.high
    assert 8 <= outside < 33


def test_an_optimum_at_the_end_of_the_grid_is_no_proof_that_nothing_moves() -> None:
    found = locate(parabolas(0.0, noise=0.01, shift=9.0))
    assert found.edges == WIDTHS
    assert found.moves is None


def test_much_noise_leaves_the_question_open() -> None:
    assert locate(parabolas(0.1, noise=1.0, seeds=3)).moves is None


def test_beside_a_cliff_the_lowest_point_is_the_optimum_give_or_take_half_the_spacing() -> None:
    x = np.log(np.array([1.0, 2.0, 4.0, 8.0]))
    half = math.log(2) / 2
    assert vertex(x, np.array([3.0, 2.0, math.inf, math.inf])) == (x[1], pytest.approx(half), False)
    assert vertex(x, np.array([3.0, 2.0, 1e4, 1e4])) == (x[1], pytest.approx(half), False)
    assert vertex(x, np.array([3.0, 2.0, 1.0, 0.5])) == (x[3], pytest.approx(half), True)
    assert vertex(x, np.array([np.nan, 2.0, 1.0, np.nan])) == (x[2], pytest.approx(half), False)
    assert vertex(x, np.array([3.0, 2.0, 2.5, 9.0])).left_open == 0
    sweep = parabolas(0.0)
    sweep.losses[1, :, 2] = math.inf
    with pytest.raises(ValueError, match="every run at width 128, seed 2 diverged"):
        locate(sweep)


@pytest.mark.parametrize(("per_power", "moves"), [(1, None), (4, False)])
def test_a_coarse_grid_at_a_cliff_is_no_proof_that_nothing_moves(per_power: int, moves: bool | None) -> None:
    """All seeds and widths have the same lowest point, without any noise: the grid's spacing decides what is known."""
    factors = tuple(2.0 ** (k / per_power) for k in range(-4 * per_power, 4 * per_power + 1))
    losses = np.array([math.inf if factor > 1 else -math.log(factor) for factor in factors])
    found = locate(Sweep("", WIDTHS, factors, (0, 1), 10, np.broadcast_to(losses[None, :, None], (4, len(factors), 2))))
    assert found.exponent.estimate == pytest.approx(0) and found.moves is moves
    assert found.best[0].low == pytest.approx(2 ** (-0.5 / per_power))


def test_optima_at_the_end_of_a_fine_grid_prove_nothing_either() -> None:
    """The true optimum may lie anywhere beyond, at each width another: equal ends are no equal optima."""
    fine = 2.0 ** (np.arange(-8, 9) / 8)
    losses = 1 + (np.log(fine)[None, :, None] - np.full((4, 1, 4), 9.0)) ** 2
    found = locate(Sweep("", WIDTHS, tuple(fine.tolist()), (0, 1, 2, 3), 10, losses))
    assert found.edges == WIDTHS and found.exponent.high < 0.25
    assert found.moves is None
