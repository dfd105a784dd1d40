"""Is a list of terms shortened alike on the whole cell that the comparisons on the way write down?"""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpdyn.exact.affine import Affine, Chart, Memory
from tpdyn.exact.compare import key
from tpdyn.rationals import quick
from tpdyn.readings.orders import terms
from tpdyn.readings.orders.parity import EVEN, Parity, contains, hull, odd_in, product
from tpdyn.readings.orders.terms import Gaussian, Term, Value, consistent, dense, leading_order, rarer, tidied, tidy

ZERO = Fraction(0)


def parities() -> list[Parity]:
    """Odd in one of some sources, products of these, and sets of several characters."""
    single = [odd_in(bit, 0) for bit in range(4)]
    pairs = [product(p, q) for p in single for q in single if p != q]
    return [EVEN, *single, *pairs, *(hull(p, q) for p in single for q in single if p != q)]


KNOWN = parities()


def value(order: Fraction, chart: Chart, point: tuple[Fraction, ...]) -> Fraction:
    """A linear form of one chart at another point."""
    if not isinstance(order, Affine):
        return order
    constant, coefficients = chart.form(order.packed)
    return constant + sum((c * x for c, x in zip(coefficients, point, strict=True)), ZERO)


def holds(chart: Chart, point: tuple[Fraction, ...]) -> bool:
    for packed, relation in chart.findings():
        constant, coefficients = chart.form(packed)
        there = constant + sum((c * x for c, x in zip(coefficients, point, strict=True)), ZERO)
        if not (there == 0 if relation == "=" else there > 0 if relation == ">" else there >= 0):
            return False
    return True


@given(seed=st.integers(0, 10**9), length=st.integers(2, 12), wide=st.integers(0, 2))
@settings(max_examples=300, deadline=None)
def test_on_the_whole_cell_the_same_terms_are_left(seed: int, length: int, wide: int) -> None:
    draw = random.Random(seed)

    def coordinates() -> tuple[Fraction, ...]:
        return tuple(Fraction(draw.randint(-30, 30), 30) for _ in "xy")

    # Few different forms: some terms are equally large at every point.
    pool = [tuple(Fraction(draw.randint(-2, 2), 2) for _ in "1xy") for _ in range(draw.randint(2, 4))]
    made = [(draw.choice(pool), draw.choice(KNOWN), Fraction(draw.choice([0, 0, 0, 1]), 2)) for _ in range(length)]
    here = coordinates()
    chart = Chart(dict(zip("xy", here, strict=True)))
    x, y = chart.symbol("x"), chart.symbol("y")
    found = tidy([Term(x * b + y * c + a, parity, rarity) for (a, b, c), parity, rarity in made], wide)
    found_order = leading_order(found)
    assert found_order is not None
    for _ in range(60):
        point = tuple(h + (p - h) / draw.choice([1, 4, 16]) for h, p in zip(here, coordinates(), strict=True))
        if not holds(chart, point):
            continue
        plain = tidy(
            [Term(a + b * point[0] + c * point[1], parity, rarity) for (a, b, c), parity, rarity in made], wide
        )
        assert leading_order(plain) == value(found_order, chart, point)
        sizes = {
            (form, rarity): form[0] + form[1] * point[0] + form[2] * point[1] - rarity / 2 for form, _, rarity in made
        }
        if len(set(sizes.values())) == len(sizes):  # where forms meet, both terms may be kept, or one of them
            assert sorted(map(repr, plain)) == sorted(
                repr(Term(value(term.order, chart, point), term.parity, value(term.rarity, chart, point)))
                for term in found
            )


@given(seed=st.integers(0, 10**9), length=st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_what_is_left_is_as_large_and_has_all_characters_of_the_largest(seed: int, length: int) -> None:
    draw = random.Random(seed)
    terms = [Term(Fraction(draw.randint(-4, 4), 2), draw.choice(KNOWN)) for _ in range(length)]
    left = tidy(terms, 1)
    assert len(left) <= 4
    assert leading_order(left) == leading_order(tuple(terms))
    for term in terms:
        assert any(other.order >= term.order and contains(other.parity, term.parity) for other in left)


def test_what_explodes_on_ever_fewer_entries_is_of_no_known_size_and_leads() -> None:
    """Infinity less infinity: among other terms it would have no place in a ranking."""
    rare = Term(math.inf, EVEN, math.inf)  # type: ignore[arg-type]
    small = Term(Fraction(1, 2), KNOWN[1], math.inf)  # type: ignore[arg-type]
    others = [Term(Fraction(1, 2)), small, rare]
    for order in itertools.permutations(others):
        assert leading_order(tidy(list(order), 1)) == math.inf


def test_what_explodes_stays_of_known_rarity_where_terms_are_merged() -> None:
    """Its rarity became infinity less infinity: a gain exp(g) that grows, behind relu, with SGD, could not be read."""
    rare = [Term(math.inf, parity, Fraction(1, 2)) for parity in KNOWN]  # type: ignore[arg-type]
    several = [*rare, *(Term(Fraction(k), parity, Fraction(1)) for k, parity in enumerate(KNOWN))]
    left = tidy(several, 1)
    assert len(left) < len(several) and leading_order(left) == math.inf
    assert all(term.rarity == term.rarity for term in left)


def test_a_number_that_is_rarely_not_zero_has_the_size_of_its_root_mean_square() -> None:
    assert tidy([Term(ZERO, EVEN, Fraction(1)), Term(Fraction(-2))], 0) == (Term(Fraction(-1, 2)),)


@given(seed=st.integers(0, 10**9), length=st.integers(5, 9))
@settings(max_examples=200, deadline=None)
def test_merged_terms_are_as_large_by_mean_and_by_root_mean_square_as_each_of_them(seed: int, length: int) -> None:
    """A dense term that is merged with a rare one stays dense: no order may fall."""
    draw = random.Random(seed)
    terms = [
        Term(Fraction(draw.randint(-4, 4), 2), draw.choice(KNOWN), Fraction(draw.randint(0, 2), 2))
        for _ in range(length)
    ]
    left = tidy(terms, 1)
    assert len(left) <= 4
    for term in terms:
        holding = [other for other in left if contains(other.parity, term.parity)]
        assert any(other.rms_order >= term.rms_order for other in holding)
        assert any(other.mean_order >= term.mean_order for other in holding)


def test_what_is_there_where_two_rare_terms_are_is_as_rare_as_the_rarer() -> None:
    often, seldom = Term(ZERO, EVEN, Fraction(1, 2)), Term(ZERO, EVEN, Fraction(1))
    assert rarer(often, seldom) == rarer(seldom, often) == 1
    assert rarer(often, often) == Fraction(1, 2)


@given(seed=st.integers(0, 10**9), length=st.integers(2, 20), rarely=st.booleans())
@settings(max_examples=300, deadline=None)
def test_the_quick_way_for_terms_of_rational_orders_leaves_the_terms_of_the_slow_one(
    seed: int, length: int, rarely: bool
) -> None:
    draw = random.Random(seed)
    kinds = [None, None, Gaussian(0, (0, 1)), Gaussian(3, (0, 1))]
    made = [(quick(Fraction(draw.randint(-3, 3), 2)), draw.choice(KNOWN), draw.choice(kinds)) for _ in range(length)]
    rare = [quick(Fraction(draw.choice((0, 0, 1, 2)) if rarely else 0, 2)) for _ in made]
    several = [(*each, rarity) for each, rarity in zip(made, rare, strict=True)]
    quickly = tidy([Term(order, parity, rarity, kind) for order, parity, kind, rarity in several], 1)
    slowly = tidy([Term(Fraction(order), parity, Fraction(rarity), kind) for order, parity, kind, rarity in several], 1)
    assert quickly == slowly


HALF = Fraction(1, 2)


@given(seed=st.integers(0, 10**9), length=st.integers(1, 20), wide=st.integers(0, 1))
@settings(max_examples=400, deadline=None)
def test_the_quick_way_for_dense_terms_of_linear_orders_leaves_the_terms_and_conditions_of_the_slow_one(
    seed: int, length: int, wide: int
) -> None:
    draw = random.Random(seed)
    point = {name: Fraction(draw.randint(-2, 2), 2) for name in "xy"}
    pool = [tuple(Fraction(draw.randint(-2, 2), 2) for _ in "1xy") for _ in range(draw.randint(1, 6))]
    made = [(draw.choice(pool), draw.choice(KNOWN)) for _ in range(length)]
    said = []
    for quickly in (True, False):
        chart = Chart(point)

        def order(form: tuple[Fraction, ...], chart: Chart = chart) -> Fraction:
            parts = [c * chart.symbol(name) for c, name in zip(form[1:], "xy", strict=True) if c]
            return sum(parts, quick(form[0]))

        several = [Term(order(form), parity) for form, parity in made]
        if quickly:
            plain = dense(chart, tuple(several))
            assert plain is not None
            left = tidied(chart, plain, wide)
        elif wide and len(several) > 1:
            left = terms._tidied_one_by_one(tuple(several))
        else:
            left = tidy(several, wide)
        kept = [(key(term.order), term.parity, term.rarity, term.gaussian) for term in left]
        said.append((kept, chart.equal, chart.above, chart.not_below))
    assert said[0] == said[1]


def test_terms_are_shortened_once_at_a_point_and_with_a_memory_each_use_records_its_conditions() -> None:
    alone, shared = Chart({"x": Fraction(1)}), Chart({"x": Fraction(1)}, {})
    for chart in (alone, shared):
        several = [Term(chart.symbol("x"), KNOWN[0]), Term(quick(Fraction(0)), KNOWN[0])]
        first = tidy(several, 1)
        conditions, again = chart.recorded(lambda several=several: tidy(several, 1))  # type: ignore[misc]
        assert again == first and len(first) == 1
        assert (again is first) == (chart is alone)
        assert bool(conditions.not_below) == (chart is shared)
        assert len(chart.not_below) == 1


@pytest.mark.parametrize(
    ("orders", "rare", "left"),
    [
        ((3, 2, 1, 0, -1), False, [(3, "0"), (2, "1"), (1, "2"), (0, "34")]),  # without ties the smallest two
        ((3, 2, 2, 1, 0), False, [(3, "0"), (2, "12"), (1, "3"), (0, "4")]),  # the second largest, if they tie
        ((3, 3, 2, 1, 0), False, [(3, "01"), (2, "2"), (1, "3"), (0, "4")]),  # else the largest
        ((3, 3, 2, 2, 0), False, [(3, "0"), (3, "1"), (2, "23"), (0, "4")]),  # the second largest before the largest
        ((3, 2, 2, 2, 1, 0), False, [(3, "0"), (2, "123"), (1, "4"), (0, "5")]),  # as many as are too many
        ((3, 3, 2, 2, 1, 0), False, [(3, "01"), (2, "23"), (1, "4"), (0, "5")]),
        ((3, 2, 0, 0, -1), False, [(3, "0"), (2, "1"), (0, "2"), (0, "34")]),  # ties among small ones are not asked for
        ((3, 2, 0, 0, -1), True, [(3, "0"), (2, "1"), (0, "23"), (-1, "4")]),  # but where entries are rare, they are
    ],
)
def test_of_too_many_terms_those_are_merged_that_lose_least(
    orders: tuple[int, ...], rare: bool, left: list[tuple[int, str]]
) -> None:
    """Each odd in a source of its own. A merged term is as large as the larger one, and has the characters of both."""
    characters = [odd_in(bit, 0) for bit in range(len(orders))]
    rarities = [HALF if rare and k == 0 else ZERO for k in range(len(orders))]  # the largest is rare
    terms = [
        Term(Fraction(order) + rarity / 2, parity, rarity)
        for order, parity, rarity in zip(orders, characters, rarities, strict=True)
    ]

    def joined(which: str) -> Parity:
        parity = characters[int(which[0])]
        for k in which[1:]:
            parity = hull(parity, characters[int(k)])
        return parity

    found = tidy(terms, 1)
    assert sorted((-t.rms_order, t.parity.rank) for t in found) == sorted((-order, joined(w).rank) for order, w in left)


@given(seed=st.integers(0, 10**9), length=st.integers(2, 9))
@settings(max_examples=50, deadline=None)
def test_with_a_memory_the_same_terms_are_left(seed: int, length: int) -> None:
    """At points of one slice, and for terms that are all larger by a form."""
    draw = random.Random(seed)
    pool = [tuple(Fraction(draw.randint(-2, 2), 2) for _ in "1xy") for _ in range(draw.randint(2, 4))]
    made = [(draw.choice(pool), draw.choice(KNOWN), Fraction(draw.choice([0, 0, 0, 1]), 2)) for _ in range(length)]
    memory: Memory = {}
    for _ in range(6):
        point = {name: Fraction(draw.randint(-3, 3), 3) for name in "xy"}
        charts = Chart(point), Chart(point, memory)
        left = []
        for chart in charts:
            x, y = chart.symbol("x"), chart.symbol("y")
            terms = [Term(x * b + y * c + a, parity, rarity) for (a, b, c), parity, rarity in made]
            raised = [Term(term.order + x - 3 * y + HALF, term.parity, term.rarity) for term in terms]
            left.append(sorted(map(repr, (*tidy(terms, 1), *tidy(raised, 1)))))
        assert left[0] == left[1]


def test_the_sum_of_base_and_change_notes_its_conditions_at_each_use() -> None:
    """A statement that reads it later hangs on them, too; without a memory the cell has them already."""
    chart = Chart({"x": Fraction(1)}, {})
    made = Value((Term(chart.symbol("x")),), (Term(Fraction(0)),), wide=0)
    first, second = chart.recorded(lambda: made.total), chart.recorded(lambda: made.total)
    assert first == second
    assert first[0].not_below == (chart.symbol("x").packed,)


def test_rare_terms_that_are_merged_stay_rare() -> None:
    """Six terms, each on n^-1 of the entries. What is left is no denser, else later sums would be too large."""
    terms = [Term(Fraction(-k), odd_in(k, 0), Fraction(1)) for k in range(6)]
    left = tidy(terms, 1)
    assert len(left) <= 4
    assert {term.rarity for term in left} == {Fraction(1)}


def test_a_value_is_not_larger_than_base_and_change() -> None:
    """Of two upper bounds the smaller counts: totals merge other terms than base and change do."""
    half = (Term(Fraction(1, 2)),)
    value = consistent(Value(half, half, (Term(Fraction(9, 16)),), wide=0))
    assert leading_order(value.total) == Fraction(1, 2)
    smaller = Value(half, half, (Term(ZERO),), wide=0)
    assert leading_order(consistent(smaller).total) == 0
