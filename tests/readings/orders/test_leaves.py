"""Mirrors tpdyn/readings/orders/leaves.py: zeros have no terms, vectors of noise are odd in it, matrices of noise are Gaussian."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tpdyn.exponents import Scaling
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.instructions import Law, Leaf
from tpdyn.readings.orders.leaves import leaf_value
from tpdyn.readings.orders.parity import EVEN, Sources, contains, odd_in
from tpdyn.readings.orders.terms import Gaussian, Term, Terms

ZERO, HALF = Fraction(0), Fraction(1, 2)
NONE, ONE = Scaling(()), Scaling.of(1)


def terms(law: Law, wide: int, power: Fraction = ZERO) -> Terms:
    """Of a leaf that is statement 3."""
    value = leaf_value(Leaf("parameter", "w", law), 3, wide, power, Sources())
    assert value.change == () and value.whole is None
    return value.base


def test_zeros_have_no_terms_and_no_power_changes_that() -> None:
    assert terms(Law("zero"), 1, HALF) == ()


@pytest.mark.parametrize("kind", ["normal", "uniform", "iid"])
def test_noise_is_a_number_a_vector_odd_in_it_or_a_gaussian_matrix(kind: str) -> None:
    law = Law(kind, NONE, Scaling.of(2, "-1/2"))  # type: ignore[arg-type]
    assert terms(law, 0) == (Term(-HALF),)
    (vector,) = terms(law, 1)
    assert vector == Term(-HALF, odd_in(Sources().leaf(3)))
    assert terms(law, 2) == (Term(-HALF, EVEN, ZERO, Gaussian(3, (0, 1))),)
    with pytest.raises(OutsideTheory, match="random entries along 3 wide dims; expected at most two"):
        terms(law, 3)


def test_noise_around_a_mean_is_both_and_times_a_power_both_are() -> None:
    found = terms(Law("normal", ONE, Scaling.of(1, "-1/2")), 1, HALF)
    assert [(term.order, term.parity == EVEN) for term in found] == [(HALF, True), (ZERO, False)]


def test_data_have_no_symmetry_and_the_size_that_was_fitted() -> None:
    """Data may have a mean: their sum over n entries is of order 1."""
    for kind in ("data", "array"):
        assert terms(Law(kind), 1) == (Term(ZERO, EVEN),)  # type: ignore[arg-type]
        assert terms(Law(kind, NONE, Scaling.of(3, "-1/2")), 1) == (Term(-HALF, EVEN),)  # type: ignore[arg-type]
    assert terms(Law("index"), 0) == (Term(ZERO),)


def test_a_constant_has_the_order_of_its_number_and_minus_infinity_marks_what_is_left_out() -> None:
    assert terms(Law("constant", Scaling.of(5, -1)), 1, HALF) == (Term(-HALF),)
    assert terms(Law("constant", Scaling.of(float("-inf"))), 1) == ()


def test_a_mask_of_dropout_is_not_odd_in_its_draws() -> None:
    (mask,) = terms(Law("bernoulli", Scaling.of(0.5)), 1)
    assert mask.order == 0 and contains(mask.parity, EVEN) and mask.parity != EVEN
    assert terms(Law("bernoulli", Scaling.of(0.5)), 2) == (Term(ZERO, EVEN),)
