"""Does each law of summing give its power of the width? Rule by rule, with parities and rarities written by hand."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpdyn.exact.affine import Chart
from tpdyn.exact.compare import key
from tpdyn.facts.layouts import Layout
from tpdyn.program.errors import OutsideTheory
from tpdyn.rationals import quick
from tpdyn.readings.orders import contraction
from tpdyn.readings.orders import terms as terms_of_values
from tpdyn.readings.orders.contraction import contract, on_axes, total_sum
from tpdyn.readings.orders.parity import ANY, EVEN, Parity, Sources, aligned, hull, odd_in, product
from tpdyn.readings.orders.terms import Gaussian, Term, leading_order

HALF, ZERO, ONE = Fraction(1, 2), Fraction(0), Fraction(1)

DOT = Layout(((0,), (0,)), ((0, ONE),), 0)
"""`sum_i x_i y_i`, a number."""

SUM = Layout(((0,),), ((0, ONE),), 0)
"""`sum_i x_i`."""

APPLY = Layout(((0, 1), (1,)), ((1, ONE),), 1)
"""`sum_j W_ij x_j`."""

TRACE = Layout(((0, 1), (0, 1)), ((0, ONE), (1, ONE)), 0)
"""`sum_ij W_ij V_ij`."""

ROWS = Layout(((0, 1),), ((1, ONE),), 1)
"""`sum_j X_ij`."""


class Two:
    """Two Gaussian vectors v and w, and two untrained matrices."""

    def __init__(self) -> None:
        self.sources = Sources()
        self.v, self.w = odd_in(self.sources.leaf(0)), odd_in(self.sources.leaf(1))
        self.matrix, self.other = (Term(ZERO, gaussian=Gaussian(k, (0, 1))) for k in (10, 11))

    def dot(self, x: Term, y: Term, plan: Layout = DOT, shift: Fraction = ZERO) -> Fraction | None:
        return leading_order(contract((x,), (y,), plan, shift, self.sources))

    def sum(self, x: Term, plan: Layout = SUM) -> Fraction | None:
        return leading_order(total_sum((x,), plan, ZERO, self.sources))


# -- the law of large numbers and the central limit theorem -----------------------------------------------------------


def test_a_sum_of_what_has_a_mean_is_larger_by_n_and_of_what_has_none_by_root_n() -> None:
    two = Two()
    assert two.sum(Term(ZERO, EVEN)) == ONE
    assert two.sum(Term(ZERO, two.v)) == HALF


def test_vectors_of_one_source_are_aligned_and_of_two_sources_are_not() -> None:
    two = Two()
    assert two.dot(Term(ZERO, two.v), Term(ZERO, two.v)) == ONE
    assert two.dot(Term(ZERO, two.v), Term(ZERO, two.w)) == HALF


def test_orders_and_the_multiplier_of_the_product_add_up() -> None:
    two = Two()
    assert two.dot(Term(HALF, two.v), Term(-ONE, two.v), shift=-HALF) == ZERO


def test_every_pair_of_terms_is_summed_and_the_largest_leads() -> None:
    """`<v, v + n w>`: n from the first, n^(1 + 1/2) from the second."""
    two = Two()
    both = (Term(ZERO, two.v), Term(ONE, two.w))
    assert leading_order(contract((Term(ZERO, two.v),), both, DOT, ZERO, two.sources)) == ONE + HALF


def test_an_overflow_that_meets_an_underflow_counts_as_an_overflow() -> None:
    two = Two()
    assert two.dot(Term(float("inf")), Term(float("-inf"))) == float("inf")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [ONE, 2 * ONE])
def test_the_size_of_the_dim_that_is_summed_counts(size: Fraction) -> None:
    two = Two()
    plan = Layout(((0,),), ((0, size),), 0)
    assert (two.sum(Term(ZERO, EVEN), plan), two.sum(Term(ZERO, two.v), plan)) == (size, size / 2)


# -- rarity: entries of size n^order on a fraction n^-rarity of all entries ------------------------------------------


def test_a_law_of_large_numbers_goes_by_the_mean_size_of_rare_entries() -> None:
    """n entries of size 1, one in n of them not zero: their sum is of order 0."""
    two = Two()
    assert two.sum(Term(ZERO, EVEN, ONE)) == ZERO


def test_a_central_limit_goes_by_the_root_mean_square_of_rare_entries() -> None:
    """n^1/2 of n entries, with random signs: their sum is of order 1/4."""
    two = Two()
    assert two.sum(Term(ZERO, two.v, HALF)) == HALF / 2


def test_of_two_rare_factors_the_product_is_as_rare_as_the_rarer() -> None:
    two = Two()
    assert two.dot(Term(ZERO, EVEN, HALF), Term(ZERO, EVEN, ONE)) == ZERO
    assert two.dot(Term(ZERO, EVEN, ONE), Term(ZERO, EVEN, HALF)) == ZERO


def test_a_gaussian_matrix_meets_the_root_mean_square_of_a_rare_vector() -> None:
    """`W x` with n^1/2 entries of x not zero: a sum of n^1/2 random terms, of order 1/4, on every row."""
    two = Two()
    (made,) = contract((two.matrix,), (Term(ZERO, EVEN, HALF),), APPLY, ZERO, two.sources)
    assert (made.order, made.rarity) == (HALF / 2, ZERO)


# -- what is left after a sum -------------------------------------------------------------------------------------------


def character(*sources: tuple[int, int]) -> Parity:
    """The product of sources, each on an axis."""
    found = EVEN
    for source, axis in sources:
        found = product(found, odd_in(source, axis))
    return found


def fluctuating(sources: Sources) -> Term:
    """Entries with two characters: one has a mean along axis 1, the other has other signs along axis 0."""
    one = character((sources.leaf(0), 0))
    other = character((sources.leaf(1), 0), (sources.leaf(2), 1))
    return Term(ZERO, hull(one, other))


def test_the_mean_and_the_fluctuation_of_a_mixed_value_are_two_terms() -> None:
    """Along axis 1 only its first character has a mean: `sum_j` leaves n of it, and n^1/2 of the other."""
    sources = Sources()
    term = fluctuating(sources)
    found = total_sum((term,), ROWS, ZERO, sources)
    assert {t.order for t in found} == {ONE, HALF}
    mean = next(t for t in found if t.order == ONE)
    rest = next(t for t in found if t.order == HALF)
    assert mean.parity == aligned(term.parity, 1)
    assert mean.parity != rest.parity


def test_the_fluctuation_of_one_sum_can_win_in_the_next() -> None:
    """`sum_i w_i sum_j X_ij`, w with the signs of the fluctuation. What is aligned with w is n^1/2 by the first sum, and n
    more by the second. The mean over j has other signs: n, and n^1/2.
    """
    sources = Sources()
    term = fluctuating(sources)
    summed = total_sum((term,), ROWS, ZERO, sources)
    w = Term(ZERO, character((sources.leaf(1), 0)))
    assert leading_order(contract(summed, (w,), DOT, ZERO, sources)) == ONE + HALF
    only_mean = tuple(t for t in summed if t.order == ONE)
    aligned_with_mean = Term(ZERO, character((sources.leaf(0), 0)))
    assert leading_order(contract(only_mean, (aligned_with_mean,), DOT, ZERO, sources)) == 2 * ONE


def test_over_two_dims_at_once_the_fluctuation_of_the_first_counts_for_the_second() -> None:
    """All sums of a number. After the sum over j the fluctuation may have a mean over i, where the mean over j has none.

    Take n values of j and n^2 of i. The mean over j, random over i, gives n n, and the rest n^1/2 n^2.
    """
    sources = Sources()
    no_mean_over_rows = character((sources.leaf(0), 0))
    mean_over_rows = character((sources.leaf(2), 1))
    term = Term(ZERO, hull(no_mean_over_rows, mean_over_rows))
    whole = Layout(((0, 1),), ((1, ONE), (0, 2 * ONE)), 0)
    assert leading_order(total_sum((term,), whole, ZERO, sources)) == 2 * ONE + HALF


# -- Gaussian matrices --------------------------------------------------------------------------------------------------


def test_an_untrained_matrix_acts_by_the_central_limit_theorem_whatever_it_meets() -> None:
    two = Two()
    for parity in (EVEN, two.v, ANY):
        assert two.dot(two.matrix, Term(ZERO, parity), APPLY) == HALF


def test_a_matrix_times_a_vector_is_odd_in_a_source_of_its_own() -> None:
    """Its hat: two matrices make two sources, one matrix and two unaligned vectors, too."""
    two = Two()
    x, y = Term(ZERO, two.v), Term(ZERO, two.w)
    wx, wy, vx = (
        contract((matrix,), (vector,), APPLY, ZERO, two.sources)
        for matrix, vector in ((two.matrix, x), (two.matrix, y), (two.other, x))
    )
    dots = [leading_order(contract(wx, other, DOT, ZERO, two.sources)) for other in (wx, wy, vx)]
    assert dots == [2 * ONE, ONE + HALF, ONE + HALF]


def test_a_vector_that_depends_on_the_transpose_has_a_dot() -> None:
    """`<y, W W^T y>`: aligned, although the hat of W is not (the Master Theorem's dot)."""
    two = Two()
    y = Term(ZERO, two.v)
    back = Layout(((1, 0), (1,)), ((1, ONE),), 1)
    x = contract((two.matrix,), (y,), back, ZERO, two.sources)
    wx = contract((two.matrix,), x, APPLY, ZERO, two.sources)
    assert leading_order(contract((y,), wx, DOT, ZERO, two.sources)) == 2 * ONE
    fresh = contract((two.other,), x, APPLY, ZERO, two.sources)
    assert leading_order(contract((y,), fresh, DOT, ZERO, two.sources)) == ONE + HALF


def test_the_square_of_a_matrix_has_a_mean_and_the_product_with_another_has_none() -> None:
    """`sum_ij W_ij W_ij` is n^2, `sum_ij W_ij V_ij` is n."""
    two = Two()
    assert two.dot(two.matrix, two.matrix, TRACE) == 2 * ONE
    assert two.dot(two.matrix, two.other, TRACE) == ONE


def test_a_matrix_and_its_transpose_entry_by_entry_have_no_mean_but_on_the_diagonal() -> None:
    """`sum_ij W_ij W_ji` is n: n^2 products of random signs, and n squares."""
    two = Two()
    turned = Layout(((0, 1), (1, 0)), ((0, ONE), (1, ONE)), 0)
    assert two.dot(two.matrix, two.matrix, turned) == ONE


def test_a_product_of_two_untrained_matrices_is_refused() -> None:
    two = Two()
    plan = Layout(((0, 2), (2, 1)), ((2, ONE),), 2)
    with pytest.raises(OutsideTheory, match="two untrained Gaussian matrices"):
        contract((two.matrix,), (two.other,), plan, ZERO, two.sources)


def test_entry_by_entry_two_matrices_make_one_that_acts_as_either() -> None:
    """Its entries are independent and have no mean (dropped weights, say)."""
    two = Two()
    plan = Layout(((0, 1), (0, 1)), (), 2)
    made = contract((two.matrix,), (two.other,), plan, ZERO, two.sources)
    assert {term.gaussian for term in made} == {two.matrix.gaussian, two.other.gaussian}
    (row,) = {
        term.order
        for term in contract((two.matrix,), (two.other,), Layout(((0, 1), (0, 1)), ((1, ONE),), 1), ZERO, two.sources)
    }
    assert row == HALF


# -- renamed axes -------------------------------------------------------------------------------------------------------------


def test_axes_are_renamed_and_a_transpose_turns_the_sides_of_a_matrix() -> None:
    two = Two()
    assert on_axes(two.matrix, (1, 0)).gaussian == Gaussian(10, (1, 0))
    moved = on_axes(Term(ZERO, two.v), (1,))
    assert aligned(moved.parity, 1) is None and aligned(moved.parity, 0) is not None
    assert on_axes(two.matrix, (0, 1)) is two.matrix


def test_the_diagonal_of_a_matrix_is_a_vector_without_symmetry_and_as_rare_as_before() -> None:
    rare = Term(HALF, EVEN, ONE, Gaussian(10, (0, 1)))
    assert on_axes(rare, (0, 0)) == Term(HALF, ANY, ONE)


def test_the_same_factors_are_looked_up() -> None:
    """The base program says the same in every step."""
    two = Two()
    x = (Term(ZERO, two.v),)
    first = contract(x, x, DOT, ZERO, two.sources)
    assert contract(x, x, DOT, ZERO, two.sources) is first
    assert leading_order(contract(x, x, DOT, HALF, two.sources)) == ONE + HALF


def test_a_product_that_is_known_notes_its_conditions_at_each_use() -> None:
    chart = Chart({"x": ONE}, {})
    x, sources = (Term(chart.symbol("x")), Term(ZERO)), Sources()
    sources.chart = chart
    first = chart.recorded(lambda: contract(x, x, DOT, ZERO, sources))
    assert chart.recorded(lambda: contract(x, x, DOT, ZERO, sources)) == first
    assert first[0].not_below


def test_a_product_with_a_matrix_is_found_anew_when_the_matrix_has_met_more() -> None:
    """Let nothing be known of a vector. What a matrix gives back of it is all that its transpose met so far."""
    two = Two()
    unknown = (Term(ZERO, ANY),)
    transposed = Layout(((1, 0), (1,)), ((1, ONE),), 1)
    before = contract((two.matrix,), unknown, transposed, ZERO, two.sources)
    contract((two.matrix,), (Term(ZERO, odd_in(two.sources.leaf(5), 0)),), APPLY, ZERO, two.sources)
    after = contract((two.matrix,), unknown, transposed, ZERO, two.sources)
    assert contract((two.matrix,), unknown, transposed, ZERO, two.sources) is after
    assert before != after


def test_the_dot_of_a_rare_vector_goes_by_its_mean() -> None:
    """`W x` with x on n^-1/2 of the entries of W^T y. The hat has the root mean square of x, the dot its average."""
    two = Two()
    back = Layout(((1, 0), (1,)), ((1, ONE),), 1)
    (x,) = contract((two.matrix,), (Term(ZERO, two.v),), back, ZERO, two.sources)
    rare = Term(ZERO, x.parity, HALF)
    assert sorted(term.order for term in contract((two.matrix,), (rare,), APPLY, ZERO, two.sources)) == [ZERO, HALF / 2]


@given(seed=st.integers(0, 10**9), sizes=st.tuples(st.integers(1, 4), st.integers(1, 4)), summed=st.integers(0, 2))
@settings(max_examples=200, deadline=None)
def test_the_quick_way_for_dense_terms_has_the_terms_and_conditions_of_the_slow_one(
    seed: int, sizes: tuple[int, int], summed: int
) -> None:
    draw = random.Random(seed)
    point = {name: Fraction(draw.randint(-2, 2), 2) for name in "xy"}
    sources = [odd_in(source, axis) for source in range(3) for axis in range(2)]
    parities = [EVEN, ANY, *sources, *(hull(p, q) for p in sources for q in sources), product(sources[0], sources[3])]
    drawn = [[([draw.randint(-2, 2) for _ in "1xy"], draw.choice(parities)) for _ in range(size)] for size in sizes]
    axes = tuple((axis, draw.choice([Fraction(1), Fraction(1, 2)])) for axis in range(2 - summed, 2))
    plan, shift = Layout(((0, 1), (0, 1)), axes, 2 - summed), [draw.randint(-2, 2) for _ in "1xy"]
    said = []
    for quickly in (True, False):
        chart = Chart(point)

        def order(form: list[int], chart: Chart = chart) -> Fraction:
            parts = [HALF * c * chart.symbol(name) for c, name in zip(form[1:], "xy", strict=True) if c]
            return sum(parts, quick(HALF * form[0]))

        x, y = ([Term(order(form), parity) for form, parity in terms] for terms in drawn)
        with pytest.MonkeyPatch.context() as patch:
            if not quickly:
                patch.setattr(contraction, "dense", lambda chart, terms: None)
                patch.setattr(terms_of_values, "dense", lambda chart, terms: None)
            made = contract(tuple(x), tuple(y), plan, order(shift), Sources())
        kept = [(key(term.order), term.parity, term.rarity, term.gaussian) for term in made]
        said.append((kept, chart.equal, chart.above, chart.not_below))
    assert said[0] == said[1]
