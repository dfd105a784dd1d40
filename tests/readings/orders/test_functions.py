"""Orders of pointwise functions, rule by rule: terms in, terms out."""

import math
from fractions import Fraction

import pytest

from tpdyn.exact.affine import Chart
from tpdyn.pointwise import Function, lookup
from tpdyn.readings.orders.functions import change_terms, crossings, larger_than_tiny, least_of, value_terms
from tpdyn.readings.orders.parity import EVEN, contains, hull, odd_in, product
from tpdyn.readings.orders.terms import Gaussian, Term, leading_order

ZERO, HALF = Fraction(0), Fraction(1, 2)
X, V = odd_in(0), odd_in(1)
MATRIX = Gaussian(7, (0, 1))


def chain(name: str, *parameters: float) -> tuple[Function, ...]:
    functions = [lookup(name, parameters)]
    while functions[-1].slope is not None and len(functions) < 4:
        functions.append(lookup(functions[-1].slope, parameters))
    return tuple(functions)


def order(terms: tuple[Term, ...]) -> Fraction | None:
    return max((term.mean_order for term in terms), default=None)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("elu", (1.0, 1.0, 1.0)), ("elu", (1.67, 1.05, 1.0)), ("clamp", (0.0, 6.0)), ("relu", ())],
)
def test_a_kink_at_zero_leaves_small_arguments_small(name: str, parameters: tuple[float, ...]) -> None:
    """ELU and ReLU6 of an argument of order -1/2 were of order 0."""
    assert order(value_terms(chain(name, *parameters), (Term(-HALF, X),), 1)) == -HALF


def test_what_crosses_a_kink_at_zero_is_even_in_the_argument_and_of_second_order_in_the_change() -> None:
    made = change_terms(chain("relu"), (Term(ZERO, X),), (Term(-HALF, V),), (Term(ZERO, X),), 1)
    crossed = [term for term in made if term.rarity]
    assert max(term.mean_order for term in crossed) == -1
    mean = max(crossed, key=lambda term: term.mean_order)
    assert contains(mean.parity, product(V, V))
    assert not contains(mean.parity, V)
    assert not contains(mean.parity, X)


def test_what_crosses_a_jump_at_zero_has_the_sign_of_the_change() -> None:
    (mean, rest) = crossings(lookup("step"), (Term(ZERO, X),), (Term(-HALF, V),), ZERO, ZERO)
    assert (mean.mean_order, mean.rms_order) == (-HALF, -HALF / 2)
    assert mean.parity == V
    assert rest.mean_order < mean.mean_order and rest.parity == hull(X, V)


def test_two_jumps_at_either_side_of_zero_have_the_symmetry_of_the_function() -> None:
    made = crossings(lookup("inside", (-1.0, 1.0)), (Term(ZERO, X),), (Term(-HALF, V),), ZERO, ZERO)
    assert made[0].parity == product(X, V)  # the slope of an even function is odd


def test_no_kink_is_crossed_where_the_argument_is_small_and_the_function_smooth_at_zero() -> None:
    """A clamp that never binds is the identity."""
    made = change_terms(chain("clamp", -1.0, 1.0), (Term(-HALF, X),), (Term(Fraction(-1), V),), (Term(-HALF, X),), 1)
    assert made[0] == Term(Fraction(-1), V) and not any(term.rarity for term in made)


@pytest.mark.parametrize(("name", "mean"), [("tanh", False), ("sign", False), ("abs", True), ("sigmoid", True)])
def test_a_function_of_a_random_matrix_is_a_random_matrix_around_its_mean(name: str, mean: bool) -> None:
    made = value_terms(chain(name), (Term(ZERO, EVEN, ZERO, MATRIX),), 2)
    assert any(term.gaussian == MATRIX and term.order == 0 for term in made)
    assert any(term.gaussian is None for term in made) == mean


def test_a_small_random_matrix_keeps_the_odd_powers_of_an_odd_function_random() -> None:
    made = value_terms(chain("tanh"), (Term(-HALF, EVEN, ZERO, MATRIX),), 2)
    assert made == (Term(-HALF, EVEN, ZERO, MATRIX),)


def test_a_change_of_a_rounded_random_matrix_has_the_mean_of_the_change() -> None:
    made = change_terms(chain("sign"), (Term(ZERO, EVEN, ZERO, MATRIX),), (Term(-HALF, X),), (Term(ZERO),), 2)
    plain = [term for term in made if term.gaussian is None]
    assert (plain[0].order, plain[0].rarity, plain[0].parity) == (-HALF, ZERO, X)
    assert all(term.rms_order < -HALF for term in plain[1:])
    assert any(term.gaussian == MATRIX and (term.order, term.rarity) == (ZERO, HALF) for term in made)


def test_the_exponential_of_what_grows_is_beyond_all_powers() -> None:
    assert order(value_terms(chain("exp"), (Term(HALF, X),), 1)) == math.inf
    assert order(value_terms(chain("tanh"), (Term(HALF, X),), 1)) == 0  # saturated
    assert order(value_terms(chain("relu"), (Term(HALF, X),), 1)) == HALF


def test_a_homogeneous_function_without_a_listed_slope_has_one_of_a_degree_less() -> None:
    """sqrt'' is of degree -3/2: of an argument of order 1, a change of order 0 moves it by n^-5/2."""
    made = change_terms(chain("sqrt''"), (Term(Fraction(1)),), (Term(ZERO),), (Term(Fraction(1)),), 1)
    assert order(made) == Fraction(-5, 2)


def test_a_change_counts_at_second_order_where_its_parity_differs() -> None:
    """tanh(x + v) - tanh(x): v sech^2(x) is odd in v, and -v^2 tanh(x) sech^2(x) is odd in x."""
    made = change_terms(chain("tanh"), (Term(ZERO, X),), (Term(-HALF, V),), (Term(ZERO, X),), 1)
    assert sorted((term.order, term.parity == V, term.parity == X) for term in made) == [
        (Fraction(-1), False, True),
        (-HALF, True, False),
    ]


def test_a_number_that_was_zero_beside_a_tiny_one_changes_by_all_that_it_is() -> None:
    """max(|v|, 1e-8) with v zero at first: the tiny number in the base, |v| later."""
    tiny = (Term(Fraction(-1)),)
    moved, whole = (Term(HALF),), (Term(ZERO),)
    assert larger_than_tiny(((), moved, whole), tiny) == (tiny, whole, whole)
    assert larger_than_tiny((whole, moved, whole), tiny) == (whole, moved, whole)
    assert larger_than_tiny(((), (), ()), tiny) == (tiny, (), tiny)


def test_a_rare_term_of_the_leading_order_is_no_leading_term_and_stays_rare() -> None:
    made = value_terms(chain("relu"), (Term(ZERO, X), Term(ZERO, V, HALF)), 1)
    assert sorted((term.order, term.rarity) for term in made) == [(ZERO, ZERO), (ZERO, HALF)]


def test_a_change_that_is_rarer_than_what_crosses_is_as_rare_as_before() -> None:
    for rarity, expected in ((Fraction(1), Fraction(1)), (ZERO, HALF), (Fraction(1, 4), HALF)):
        (mean, _) = crossings(lookup("step"), (Term(ZERO, X),), (Term(-HALF, V, rarity),), ZERO, ZERO)
        assert mean.rarity == expected


def test_a_function_of_terms_that_are_all_rare_is_bounded_by_their_largest_entries() -> None:
    """Rarity is not followed through the function itself: the bound is safe, and no order is claimed too small."""
    assert [(term.order, term.rarity) for term in value_terms(chain("relu"), (Term(ZERO, X, HALF),), 1)] == [(0, 0)]


def test_a_minimum_is_its_smallest_argument_and_zero_if_one_is_zero() -> None:
    """`min(a, b)` of numbers that are never negative: clipping by a norm takes min(1, limit / norm)."""
    one, small = ((Term(power, EVEN),) for power in (ZERO, -HALF))
    nothing: tuple[Term, ...] = ()
    for arguments in (((one, nothing, one), (small, nothing, small)), ((small, nothing, small), (one, nothing, one))):
        assert least_of(arguments) == (small, nothing, small)
    assert least_of(((one, nothing, one), (nothing, nothing, nothing))) == (nothing, nothing, nothing)


def test_a_minimum_whose_smallest_argument_changes_moves_by_as_much_as_both() -> None:
    """In the base it is the first, in training the second. The change is no smaller than the larger of them."""
    one, small = ((Term(power, EVEN),) for power in (ZERO, -HALF))
    base, change, whole = least_of(((one, (), one), (small, (Term(HALF, EVEN),), (Term(HALF, EVEN),))))
    assert (order(base), order(change), order(whole)) == (-HALF, ZERO, ZERO)


def test_a_function_that_is_not_zero_at_zero_has_a_value_there() -> None:
    (value,) = value_terms(chain("sigmoid"), (Term(-HALF, X),), 1)[:1]
    assert value.mean_order == ZERO
    assert order(value_terms(chain("tanh"), (Term(-HALF, X),), 1)) == -HALF


@pytest.mark.parametrize(("name", "power"), [("atan'", -1), ("asinh'", -HALF), ("gelu", HALF), ("tanh", 0)])
def test_what_grows_is_taken_to_the_power_of_the_functions_growth(name: str, power: Fraction) -> None:
    assert order(value_terms(chain(name), (Term(HALF, X),), 1)) == power


def test_the_slope_of_an_odd_function_without_a_listed_one_may_be_even() -> None:
    """A bound without symmetry: the change of an odd function by v may be odd in v alone."""
    made = change_terms(chain("tanh")[:1], (Term(ZERO, X),), (Term(-HALF, V),), (Term(ZERO, X),), 1)
    first = [term for term in made if term.order == -HALF]
    assert first and all(contains(term.parity, V) and contains(term.parity, product(X, V)) for term in first)


def test_a_change_as_large_as_the_base_takes_away_what_was_there() -> None:
    """`f(x + dx) - f(x)` where x + dx is small: as large as f(x), whatever is left."""
    made = change_terms(chain("relu"), (Term(ZERO, X),), (Term(ZERO, X),), (Term(-HALF, X),), 1)
    assert order(made) == ZERO


def test_the_square_of_a_small_random_matrix_has_a_mean() -> None:
    """silu(G) = G / 2 + G^2 / 4: entries of order -1/2 around a mean of order -1."""
    made = value_terms(chain("silu"), (Term(-HALF, EVEN, ZERO, MATRIX),), 2)
    assert [term.order for term in made if term.gaussian is None] == [Fraction(-1)]
    assert max(term.order for term in made if term.gaussian == MATRIX) == -HALF


def test_of_nothing_a_function_that_is_not_zero_at_zero_makes_its_value_there() -> None:
    assert value_terms(chain("cos"), (), 1) == (Term(ZERO),)
    assert value_terms(chain("tanh"), (), 1) == value_terms(chain("sqrt"), (), 1) == ()


def test_the_terms_of_a_function_are_found_once_at_a_point_and_of_other_terms_anew() -> None:
    chart = Chart({"x": Fraction(-1)})
    x, tanh = (Term(chart.symbol("x"), X),), chain("tanh")
    first = value_terms(tanh, x, 1)
    assert value_terms(tanh, x, 1) is first
    assert leading_order(value_terms(tanh[1:], x, 1)) == 0 != leading_order(first)
    other = (Term(2 * chart.symbol("x"), X),)
    assert leading_order(value_terms(tanh, other, 1)) == 2 * chart.symbol("x")
