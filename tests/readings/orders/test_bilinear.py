"""Do linear instructions act on a value and its change as the product rule says?"""

from __future__ import annotations

from fractions import Fraction

from tpdyn.exact.affine import Chart
from tpdyn.exponents import Order, Scaling
from tpdyn.facts.layouts import Layout
from tpdyn.program.instructions import Combine, Operand
from tpdyn.readings.orders.bilinear import combined, contracted, joined, moved, sum_of_products
from tpdyn.readings.orders.contraction import contract
from tpdyn.readings.orders.parity import EVEN, Sources, odd_in
from tpdyn.readings.orders.terms import Gaussian, Term, Terms, Value, leading_order

HALF, ZERO, ONE = Fraction(1, 2), Fraction(0), Fraction(1)
DOT = Layout(((0,), (0,)), ((0, ONE),), 0)
ENTRIES = Layout(((0,), (0,)), (), 1)
SAME = Layout(((0,),), (), 1)


def terms(order: Order) -> Terms:
    return () if order is None else (Term(order),)


def value(base: Order, change: Order = None, whole: Order | str = "", *, at_most: bool = False) -> Value:
    """A vector without symmetry; whole: its size after training, where that is known."""
    return Value(terms(base), terms(change), None if whole == "" else terms(whole), 1, at_most)  # type: ignore[arg-type]


def sizes(made: Value) -> tuple[Order, Order]:
    return made.size, made.moved


# -- products -----------------------------------------------------------------------------------------------------------


def test_the_change_of_a_product_is_dx_y_plus_x_dy_plus_dx_dy() -> None:
    sources = Sources()
    for x, y, expected in (
        (value(ZERO, -ONE), value(HALF, -ONE), -HALF),  # dx y
        (value(HALF, -ONE), value(ZERO, -ONE), -HALF),  # x dy
        (value(None, ONE), value(None, ONE), 2 * ONE),  # dx dy alone
        (value(ZERO), value(ZERO), None),
    ):
        assert contracted((x, y), ENTRIES, ZERO, sources).moved == expected


def test_a_sum_of_products_is_summed_in_base_and_change_alike() -> None:
    """`<x, y>` of aligned vectors, times n^-1."""
    made = contracted((value(ZERO, -HALF), value(ZERO)), DOT, -ONE, Sources())
    assert sizes(made) == (ZERO, -HALF) and made.wide == 0


def test_the_base_of_a_product_is_that_of_the_base_program() -> None:
    """v^T x with v zero at first: no size at initialisation, though it moves."""
    made = contracted((value(None, ZERO), value(ZERO, ONE)), DOT, ZERO, Sources())
    assert sizes(made) == (None, 2 * ONE)


def test_a_product_times_nothing_is_nothing() -> None:
    assert contracted((value(ZERO, ZERO), value(ZERO)), DOT, None, Sources()) == Value((), (), None, 0)


def test_a_sum_of_one_value_keeps_what_is_known_of_the_whole() -> None:
    made = contracted((value(ZERO, ONE, -ONE, at_most=True),), Layout(((0,),), ((0, ONE),), 0), ZERO, Sources())
    assert (made.size, made.moved, leading_order(made.total), made.at_most) == (ONE, 2 * ONE, ZERO, True)


def test_a_change_is_never_larger_than_value_and_base_together() -> None:
    """A reciprocal that has become small after its argument grew. Here `x` is n^-1 in training, while the product rule has
    1 for dx.
    """
    small = value(ZERO, ONE, -ONE)
    made = contracted((small, value(ZERO)), ENTRIES, ZERO, Sources())
    assert leading_order(made.total) == -ONE
    assert made.moved == ZERO  # value and base together are of order 0


def test_an_upper_bound_stays_one_through_a_product() -> None:
    assert contracted((value(ZERO), value(ZERO, at_most=True)), ENTRIES, ZERO, Sources()).at_most
    assert not contracted((value(ZERO), value(ZERO)), ENTRIES, ZERO, Sources()).at_most


def test_one_factor_is_summed_with_the_constant_one() -> None:
    sources = Sources()
    assert leading_order(sum_of_products([terms(ZERO)], Layout(((0,),), ((0, ONE),), 0), HALF, sources)) == ONE + HALF
    assert leading_order(sum_of_products([terms(ZERO), terms(ZERO)], DOT, HALF, sources)) == ONE + HALF


# -- sums -----------------------------------------------------------------------------------------------------------------


def sum_of(*scales: Fraction | None, constant: Fraction | None = None, epsilon: bool = False) -> Combine:
    """Values times n^scale (None: times nothing), and a constant of this order."""
    written = tuple(
        (Scaling(()) if scale is None else Scaling.of(1, scale), Operand(k, (0,))) for k, scale in enumerate(scales)
    )
    return Combine(written, Scaling(()) if constant is None else Scaling.of(1, constant), epsilon)


def test_a_sum_is_as_large_as_its_largest_term_and_so_is_its_change() -> None:
    made = combined(sum_of(ZERO, -HALF), (value(-ONE, -ONE), value(ZERO, ONE)), ENTRIES, False)
    assert sizes(made) == (-HALF, HALF)


def test_a_term_times_zero_is_none() -> None:
    made = combined(sum_of(ZERO, None), (value(-ONE, -ONE), value(ONE, ONE)), ENTRIES, False)
    assert sizes(made) == (-ONE, -ONE)


def test_a_constant_does_not_change() -> None:
    made = combined(sum_of(ZERO, constant=ZERO), (value(-ONE, -ONE),), SAME, False)
    assert sizes(made) == (ZERO, -ONE)


def test_a_constant_that_guards_a_division_counts_as_written_or_where_nothing_else_is() -> None:
    """Adam's `sqrt(v) + eps`."""
    guarded = sum_of(ZERO, constant=ZERO, epsilon=True)
    assert combined(guarded, (value(-ONE),), SAME, False).size == -ONE
    assert combined(guarded, (value(-ONE),), SAME, True).size == ZERO
    assert combined(guarded, (value(None),), SAME, False).size == ZERO


def test_what_is_guarded_and_zero_at_first_is_the_guard_in_the_base_and_itself_later() -> None:
    """`sqrt(v) + eps` with v zero in the base program: 1/eps there, and 1/sqrt(v) in training."""
    made = combined(sum_of(ZERO, constant=-2 * ONE, epsilon=True), (value(None, -HALF),), SAME, False)
    assert (made.size, made.moved, leading_order(made.total)) == (-2 * ONE, -HALF, -HALF)
    smaller = combined(sum_of(ZERO, constant=ZERO, epsilon=True), (value(None, -ONE),), SAME, False)
    assert (smaller.size, leading_order(smaller.total)) == (ZERO, -ONE)  # not the guard, which is larger


def test_what_is_known_of_the_whole_is_kept_through_a_sum() -> None:
    made = combined(sum_of(ZERO), (value(ZERO, ONE, -ONE, at_most=True),), SAME, False)
    assert leading_order(made.total) == -ONE and made.at_most
    assert combined(sum_of(ZERO), (value(ZERO, ONE),), SAME, False).whole is None


# -- end to end, and elsewhere --------------------------------------------------------------------------------------------


def test_values_end_to_end_are_as_large_as_the_largest() -> None:
    made = joined((value(-ONE, ZERO), value(HALF, -HALF)), ENTRIES)
    assert sizes(made) == (HALF, ZERO) and made.whole is None
    known = joined((value(ZERO, ONE, -ONE), value(-HALF, at_most=True)), ENTRIES)
    assert leading_order(known.total) == -HALF and known.at_most


def test_entries_that_are_picked_have_the_size_that_they_had() -> None:
    """A row of a matrix with a mean: the axis that is picked from is none any more."""
    row = Layout(((1, 0),), ((1, ONE),), 1)
    sources = Sources()
    made = moved(value(HALF, -HALF), SAME, sources)
    assert sizes(made) == (HALF, -HALF)
    both = Value((Term(ZERO, odd_in(sources.leaf(0), 0)),), (), None, 2)
    (picked,) = moved(both, row, sources).base
    assert (picked.order, picked.parity) == (ZERO, EVEN)


def test_a_row_of_an_untrained_matrix_is_random() -> None:
    """Rows of an embedding that is as tall as wide: `sum_i W_ki` is of order 1/2, and `sum_i W_ki W_ki` of order 1."""
    row, sources = Layout(((1, 0),), ((1, ONE),), 1), Sources()
    matrix = Value((Term(ZERO, gaussian=Gaussian(10, (0, 1))),), (), None, 2)
    picked = moved(matrix, row, sources).base
    assert [term.gaussian for term in picked] == [None]
    assert leading_order(sum_of_products([picked], Layout(((0,),), ((0, ONE),), 0), ZERO, sources)) == HALF
    assert leading_order(contract(picked, picked, DOT, ZERO, sources)) == ONE
    other = moved(Value((Term(ZERO, gaussian=Gaussian(11, (0, 1))),), (), None, 2), row, sources).base
    assert leading_order(contract(picked, other, DOT, ZERO, sources)) == HALF  # of another matrix: other signs


def test_a_single_entry_of_an_untrained_matrix_is_a_number() -> None:
    sources, nothing = Sources(), Layout(((0, 1),), ((0, ONE), (1, ONE)), 0)
    (entry,) = moved(Value((Term(-HALF, gaussian=Gaussian(10, (0, 1))),), (), None, 2), nothing, sources).base
    assert (entry.order, entry.gaussian) == (-HALF, None)


def test_entries_that_are_put_among_zeros_are_rare_and_those_that_data_pick_again_are_not() -> None:
    sources = Sources()
    spread = moved(value(ZERO), SAME, sources, ONE)
    assert [(term.order, term.rarity) for term in spread.base] == [(ZERO, ONE)]
    assert spread.size == -ONE  # the mean over all
    again = moved(spread, SAME, sources, -ONE)
    assert [(term.order, term.rarity) for term in again.base] == [(ZERO, ZERO)]
    assert [term.rarity for term in moved(value(ZERO), SAME, sources, -ONE).base] == [
        ZERO
    ]  # never less than everywhere


def test_a_sum_whose_whole_is_not_known_asks_nothing_of_base_and_change_together() -> None:
    chart = Chart({"x": Fraction(1)})
    x = Value((Term(ZERO),), (Term(chart.symbol("x")),))
    made = combined(Combine(((Scaling.of(1), Operand(0, (0,))),)), (x,), SAME, epsilon=False)
    assert not chart.not_below
    assert leading_order(made.total) == chart.symbol("x") and chart.not_below
