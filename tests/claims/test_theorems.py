"""Mirrors tpdyn/claims/theorems.py: the textbook parametrizations have the regimes and exponents that the papers give them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tpdyn.claims.theorems import (
    Abc,
    Conclusion,
    entrywise,
    faithful,
    maximal_update,
    maximal_update_adam,
    neural_tangent,
    sgd,
    standard,
)
from tpdyn.regimes.prediction import Regime

HALF, ZERO, ONE = Fraction(1, 2), Fraction(0), Fraction(1)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_parametrizations_of_tensor_programs_iv_have_their_regimes(layers: int) -> None:
    """Table 1 of arXiv 2011.14522: SP with rate 1 explodes, with rate 1/n is a kernel, as NTP (r = 1/2); muP has r = 0."""
    assert sgd(standard(layers)).regime is Regime.UNSTABLE
    assert sgd(standard(layers, 1)).regime is Regime.KERNEL
    assert sgd(neural_tangent(layers)).changes == (-HALF,) * layers
    assert sgd(neural_tangent(layers)).regime is Regime.KERNEL
    assert sgd(maximal_update(layers)).changes == (ZERO,) * layers
    assert sgd(maximal_update(layers)).regime is Regime.FEATURE_LEARNING
    assert sgd(standard(layers, 3)).regime is Regime.TRIVIAL


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_mup_for_adam_learns_in_every_layer(layers: int) -> None:
    point = maximal_update_adam(layers)
    assert entrywise(point).changes == (ZERO,) * layers and faithful(point) is (point.b[-1] <= point.c[-1])
    assert entrywise(point).regime is Regime.FEATURE_LEARNING
    assert entrywise(standard(layers)).regime is Regime.UNSTABLE


def test_what_vanishes_is_named_and_is_not_well_initialised() -> None:
    small = Abc((ZERO,) * 3, (HALF, ONE, HALF), (ZERO,) * 3)
    assert small.vanishing == (0, 1) and not small.well_initialised
    assert maximal_update(2).vanishing == () and maximal_update(2).well_initialised


def test_a_later_layer_changes_at_least_as_much_as_those_before() -> None:
    """r_l is a minimum over the layers up to l."""
    point = Abc((ONE, ZERO, HALF), (-ONE, HALF, HALF), (ONE,) * 3)
    changes = sgd(point).changes
    assert list(changes) == sorted(changes)


def test_a_point_needs_one_rate_for_sgd_and_as_many_of_each_letter() -> None:
    with pytest.raises(ValueError, match="this theorem has one for all layers"):
        sgd(standard(1, (0, 1)))
    with pytest.raises(ValueError, match="exponents for 1, 1 and 1 layers; expected as many of a, b and c"):
        Abc((ZERO,), (ZERO,), (ZERO,))


def test_the_regime_is_read_off_stability_first() -> None:
    assert Conclusion(False, True, (ZERO,)).regime is Regime.UNSTABLE
    assert Conclusion(True, False, (ZERO,)).regime is Regime.TRIVIAL
    assert Conclusion(True, True, (-HALF, ZERO)).regime is Regime.FEATURE_LEARNING
    assert Conclusion(True, True, (-ONE, -HALF)).regime is Regime.KERNEL
