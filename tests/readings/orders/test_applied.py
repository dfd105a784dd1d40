"""Mirrors tpdyn/readings/orders/applied.py: which rule reads a function, and what it makes of base and change together."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tpdyn.exponents import Order, Scaling
from tpdyn.facts.facts import Facts
from tpdyn.program.builder import Builder
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.instructions import Apply
from tpdyn.readings.orders.applied import applied
from tpdyn.readings.orders.parity import EVEN, odd_in
from tpdyn.readings.orders.terms import Term, Terms, Value, leading_order

HALF, ZERO, ONE = Fraction(1, 2), Fraction(0), Fraction(1)
n = Builder.n


def terms(order: Order, source: int | None = None) -> Terms:
    return () if order is None else (Term(order, EVEN if source is None else odd_in(source)),)


def value(base: Order, change: Order = None, source: int | None = None) -> Value:
    return Value(terms(base, source), terms(change, source))


def made(function: str, *values: Value, along: int | None = None, parameters: tuple[Scaling, ...] = ()) -> Value:
    """A function of vectors of length n."""
    b = Builder()
    vectors = [b.data(f"x{k}", (n,)) for k in range(len(values))]
    position = b.apply(function, *vectors, parameters=parameters, along=along)
    program = b.build()
    instruction = program.statements[position].instruction
    assert isinstance(instruction, Apply)
    return applied(Facts.of(program), position, instruction, values, {})


def sizes(result: Value) -> tuple[Order, Order]:
    return result.size, result.moved


# -- one argument ---------------------------------------------------------------------------------------------------------


def test_a_function_without_change_has_none() -> None:
    assert sizes(made("tanh", value(ZERO))) == (ZERO, None)
    assert sizes(made("tanh", value(-HALF, -ONE))) == (-HALF, -ONE)


def test_the_reciprocal_of_what_was_zero_has_no_base_and_is_all_change() -> None:
    """A momentum that starts at zero: its reciprocal is that of what it has become."""
    result = made("reciprocal", value(None, ONE))
    assert sizes(result) == (None, -ONE) and leading_order(result.total) == -ONE


def test_an_upper_bound_stays_one() -> None:
    b = Builder()
    position = b.apply("tanh", b.data("x", (n,)))
    program = b.build()
    instruction = program.statements[position].instruction
    assert isinstance(instruction, Apply)
    assert applied(Facts.of(program), position, instruction, [Value(terms(ZERO), at_most=True)], {}).at_most


# -- softmax ------------------------------------------------------------------------------------------------------------


def test_the_entries_of_a_softmax_over_a_wide_dim_sum_to_one() -> None:
    """n entries of one sign: each is of order -1, and so is its change."""
    assert sizes(made("softmax", value(ZERO, ZERO), along=0)) == (-ONE, -ONE)


def test_a_softmax_over_a_wide_dim_of_growing_logits_is_refused() -> None:
    with pytest.raises(OutsideTheory, match="logits that grow with the width"):
        made("softmax", value(ZERO, HALF), along=0)


# -- choices --------------------------------------------------------------------------------------------------------------


def test_a_choice_whose_mask_does_not_change_changes_as_what_it_chooses_from() -> None:
    assert sizes(made("where", value(ZERO), value(HALF, -HALF), value(ZERO, -ONE))) == (HALF, -HALF)


def test_a_choice_whose_mask_changes_changes_by_all_that_it_chooses_from() -> None:
    """x where it was y, and y where it was x. That is as large as the larger, before or after."""
    assert sizes(made("where", value(ZERO, ZERO), value(HALF), value(ZERO))) == (HALF, HALF)
    assert sizes(made("where", value(ZERO, -HALF), value(ZERO), value(ZERO, ONE))) == (ZERO, ONE)


def test_a_choice_between_changes_by_a_mask_that_changes_has_the_symmetry_of_their_product() -> None:
    """dx is odd in one source, the mask's change odd in it, too: what dm dx is, is even."""
    choice = made("where", value(ZERO, ZERO, source=1), value(None, ZERO, source=1), value(None))
    assert EVEN in [term.parity for term in choice.change]


def test_a_mask_that_changes_in_few_entries_changes_the_choice_in_these_alone() -> None:
    mask = Value(terms(ZERO), (Term(ZERO, EVEN, HALF),))
    choice = made("where", mask, value(ZERO, -ONE), value(ZERO))
    assert [(term.order, term.rarity) for term in choice.change] == [(ZERO, HALF)]


def test_what_an_odd_mask_chooses_keeps_the_symmetry_of_both_only() -> None:
    plain = made("where", value(ZERO), value(ZERO, source=1), value(ZERO, source=1))
    assert plain.base[0].parity == odd_in(1)
    masked = made("where", Value(terms(ZERO, 1)), value(ZERO, source=1), value(ZERO, source=1))
    assert masked.base[0].parity != odd_in(1)


@pytest.mark.parametrize(("function", "expected"), [("maximum", HALF), ("minimum", HALF)])
def test_the_maximum_with_a_constant_is_a_clamp(function: str, expected: Fraction) -> None:
    """max(x, 1) changes where x is above: as x does, not as a function without a slope."""
    b = Builder()
    x, one = b.data("x", (n,)), b.constant("one", 1)
    for operands in ((x, one), (one, x)):
        position = b.apply(function, *operands)
        program = b.build()
        instruction = program.statements[position].instruction
        assert isinstance(instruction, Apply)
        values = [value(ZERO, -HALF) if operand == x else value(ZERO) for operand in operands]
        result = applied(Facts.of(program), position, instruction, values, {})
        assert sizes(result) == (ZERO, -expected)


# -- several arguments ----------------------------------------------------------------------------------------------------


def test_a_homogeneous_function_of_several_arguments_changes_by_its_slope() -> None:
    """A maximum has degree 1, so its slope is of order 0 however large its arguments are."""
    assert sizes(made("maximum", value(HALF, ZERO), value(HALF))) == (HALF, ZERO)


def test_a_function_of_several_arguments_is_as_large_as_the_largest_makes_it() -> None:
    assert sizes(made("maximum", value(ZERO), value(HALF))) == (HALF, None)


def test_a_change_as_large_as_the_arguments_leaves_nothing_but_the_two_sizes() -> None:
    assert sizes(made("maximum", value(ZERO, ONE), value(ZERO))) == (ZERO, ONE)


def test_a_comparison_changes_on_the_entries_that_cross() -> None:
    """x < y with a change of order -1/2: that fraction of the entries flips, each by 1."""
    result = made("less", value(ZERO, -HALF), value(ZERO))
    assert (result.change[0].order, result.change[0].rarity) == (ZERO, HALF)


def test_a_parameter_that_depends_on_the_width_is_outside_the_theory() -> None:
    with pytest.raises(OutsideTheory, match="with a parameter that depends on the width"):
        made("clamp", value(ZERO), parameters=(Scaling.of(-1, 1), Scaling.of(1, 1)))


def test_a_comparison_that_moves_by_more_than_what_is_compared_changes_everywhere() -> None:
    result = made("less", value(ZERO, ONE), value(ZERO))
    assert {(term.order, term.rarity) for term in result.change} == {(ZERO, ZERO)}


def test_the_reciprocal_of_what_is_known_to_have_shrunk_is_larger_than_base_and_slope_say() -> None:
    """Base and change are bounds, the whole is known: 1/x is then of order 1, not of order 0 with a change of -1/2."""
    shrunk = Value(terms(ZERO), terms(-HALF), terms(-ONE))
    assert made("reciprocal", shrunk).moved == ONE
    assert made("reciprocal", value(ZERO, -HALF)).moved == -HALF


@pytest.mark.parametrize(("function", "expected"), [("maximum", ZERO), ("minimum", -HALF)])
def test_a_maximum_with_one_is_at_least_one_and_a_minimum_as_small_as_the_other(
    function: str, expected: Fraction
) -> None:
    b = Builder()
    position = b.apply(function, b.data("x", (n,)), b.constant("one", 1))
    program = b.build()
    instruction = program.statements[position].instruction
    assert isinstance(instruction, Apply)
    assert applied(Facts.of(program), position, instruction, [value(-HALF), value(ZERO)], {}).size == expected
