"""Mirrors tpdyn/facts/ranges.py: which matrices have finite rank, and what lies in their range."""

from __future__ import annotations

import pytest

from tpdyn.exponents import Scaling
from tpdyn.facts.facts import Facts
from tpdyn.facts.signs import squares
from tpdyn.program.builder import Builder
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Eigenvalues,
    Gather,
    Law,
    Leaf,
    Operand,
    Scatter,
    Slice,
    Spectral,
)
from tpdyn.program.program import Program

ONE, TWO, FIVE, WIDE, NOTHING = Scaling.of(1), Scaling.of(2), Scaling.of(5), Scaling.of(1, 1), Scaling(())
NORMAL = Law("normal", NOTHING, ONE)


class Made:
    """Gradients g = d^T x of a batch of five, an untrained matrix W, and what is made of them."""

    def __init__(self) -> None:
        self.b = Builder()
        self.d = self.b.leaf(Leaf("random", "d", NORMAL), (FIVE, WIDE))
        self.x = self.b.leaf(Leaf("random", "x", NORMAL), (FIVE, WIDE))
        self.w = self.b.leaf(Leaf("parameter", "W", NORMAL), (WIDE, WIDE))
        self.g = self.product(self.d, (2, 0), self.x, (2, 1))
        self.h = self.product(self.d, (2, 0), self.d, (2, 1))

    def product(self, one: int, labels: tuple[int, ...], other: int, others: tuple[int, ...]) -> int:
        return self.b.add(Contract((Operand(one, labels), Operand(other, others))), (WIDE, WIDE))

    def sum(self, *terms: tuple[int, int]) -> int:
        return self.b.add(Combine(tuple((Scaling.of(c), Operand(v, (0, 1))) for c, v in terms)), (WIDE, WIDE))

    def square(self, var: int) -> int:
        return self.product(var, (0, 2), var, (1, 2))

    def root(self, matrix: int) -> int:
        along = self.b.add(Eigenvalues(Operand(matrix, (1, 2)), (1,), (2,), 0), (WIDE,))
        weights = self.b.add(Apply("rsqrt", (Operand(along, (0,)),)), (WIDE,))
        return self.b.add(Spectral(Operand(weights, (2,)), Operand(matrix, (0, 1)), (0,), (1,), 2), (WIDE, WIDE))

    def program(self) -> Program:
        return self.b.build()


def test_sums_and_products_of_outer_products_have_finite_rank_and_functions_of_their_entries_have_not() -> None:
    m = Made()
    b, g, w = m.b, m.g, m.w
    index = b.leaf(Leaf("data", "k", Law("index")), (FIVE,), type="int")
    table = b.add(Combine(((ONE, Operand(m.x, (0, 1))),)), (FIVE, WIDE))
    finite = [
        g,
        m.square(g),
        m.sum((1, g), (-2, m.h)),
        m.product(w, (0, 2), g, (2, 1)),  # W g
        m.product(g, (2, 0), w, (2, 1)),
        m.product(g, (0, 1), g, (0, 1)),  # entry by entry: 25 outer products
        b.add(Combine(()), (WIDE, WIDE)),
    ]
    sums = b.add(Contract((Operand(g, (0, 1)),)), (WIDE, WIDE))
    rows = b.add(Concat((Operand(g, (0, 1)), None), (WIDE, WIDE), 1), (WIDE, Scaling.of(2, 1)))
    placed = b.add(Scatter(Operand(table, (2, 1)), Operand(index, (2,)), 0), (WIDE, WIDE))
    growing = [
        w,
        m.sum((1, g), (1, w)),
        m.square(w),
        m.product(w, (0, 1), g, (0, 1)),
        b.add(Apply("sign", (Operand(g, (0, 1)),)), (WIDE, WIDE)),
        m.root(m.h),
    ]
    ranges = Facts.of(m.program()).ranges
    assert [ranges.finite_rank(var, (0,)) for var in (*finite, sums, rows, placed)] == [True] * (len(finite) + 3)
    assert [ranges.finite_rank(var, (0,)) for var in growing] == [False] * len(growing)
    picked = Made()
    heads = picked.b.leaf(Leaf("parameter", "V", NORMAL), (FIVE, WIDE, WIDE))
    k = picked.b.leaf(Leaf("data", "k", Law("index")), (), type="int")
    one = picked.b.add(Gather(Operand(heads, (2, 0, 1)), Operand(k, ()), 2), (WIDE, WIDE))
    cut = picked.b.add(Slice.of(Operand(heads, (2, 0, 1)), 2, 1, 1, 1), (WIDE, WIDE))
    again = Facts.of(picked.program()).ranges
    assert not again.finite_rank(one, (0,))
    assert not again.finite_rank(cut, (0,))


def test_the_generators_of_a_sum_of_squares() -> None:
    m = Made()
    left, more = m.square(m.g), m.square(m.h)
    averaged = m.sum((2, left), (3, more))
    twice = m.sum((2, m.g))
    scaled = m.product(twice, (0, 2), m.g, (1, 2))
    less = m.sum((1, left), (-1, more))
    minus = m.product(m.sum((-1, m.g)), (0, 2), m.g, (1, 2))
    outer = m.product(m.g, (0, 2), m.h, (1, 2))
    program = m.program()

    def found(var: int) -> object:
        return squares(program, Facts.of(program).nonnegative, var, (0,), (1,))

    assert found(left) == found(scaled) == {(m.g, (0,))}
    assert found(averaged) == {(m.g, (0,)), (m.h, (0,))}
    assert found(m.h) == {(m.d, (1,))}
    assert found(less) is found(outer) is found(minus) is None


def applied(to: str) -> tuple[Program, int]:
    """A negative power of `g g^T + h h^T`, and what it is multiplied with."""
    m = Made()
    s = m.sum((1, m.square(m.g)), (1, m.square(m.h)))
    power = m.root(s)
    match to:
        case "its gradients":
            m.product(power, (0, 2), m.g, (2, 1))
        case "their momentum":
            m.product(power, (2, 0), m.sum((1, m.g), (-2, m.h)), (2, 1))
        case "another function of it":
            m.product(power, (0, 2), m.product(m.root(s), (0, 2), m.g, (2, 1)), (2, 1))
        case "both sides":
            other = m.root(m.product(m.g, (2, 0), m.g, (2, 1)))
            half = m.product(m.g, (0, 2), other, (2, 1))
            m.product(power, (0, 2), half, (2, 1))
        case "a weight":
            m.product(power, (0, 2), m.w, (2, 1))
        case "the other side of its gradients":
            m.product(power, (0, 2), m.g, (1, 2))
        case "a gradient and a weight":
            m.product(power, (0, 2), m.sum((1, m.g), (1, m.w)), (2, 1))
        case "a function of the entries":
            signs = m.b.add(Apply("sign", (Operand(m.g, (0, 1)),)), (WIDE, WIDE))
            m.product(power, (0, 2), signs, (2, 1))
        case "itself":
            m.product(power, (0, 2), power, (2, 1))
        case "a sum":
            m.sum((1, power), (1, m.g))
        case "a function with another range":
            power = m.root(m.square(m.g))
            other = m.root(m.square(m.h))
            m.product(power, (0, 2), m.product(other, (0, 2), m.h, (2, 1)), (2, 1))
        case "its entries":
            m.product(power, (0, 1), m.g, (0, 1))
    return m.program(), power


@pytest.mark.parametrize("to", ["its gradients", "their momentum", "another function of it", "both sides"])
def test_negative_powers_act_in_the_range(to: str) -> None:
    program, power = applied(to)
    Facts.of(program).ranges.expect_within(power)


@pytest.mark.parametrize(
    "to",
    [
        "a weight",
        "the other side of its gradients",
        "a gradient and a weight",
        "a function of the entries",
        "itself",
        "a sum",
        "a function with another range",
        "its entries",
    ],
)
def test_what_may_lie_outside_of_the_range_is_named(to: str) -> None:
    program, power = applied(to)
    with pytest.raises(OutsideTheory, match="may lie outside of the matrix's range"):
        Facts.of(program).ranges.expect_within(power)
