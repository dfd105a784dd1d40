"""What is a value, as far as orders are concerned? A short list of terms: order, parity, rarity.

A term stands for a part of a value whose entries are of size `Theta(n^order)` on a fraction `n^-rarity` of the entries
(rarity 0: on all of them). A term with a `gaussian` is that leaf matrix, times a scale and entrywise factors: matrices
that were not touched by training are the only ones that act by the central limit theorem on vectors they have not met.

Where a rule has a choice it takes the larger order: what comes out is an upper bound, tight for generic functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import final

from tpdyn.exact.compare import counts_on, exceeds, largest, meets, ranks, reaches
from tpdyn.exponents import ZERO, Order
from tpdyn.readings.orders.parity import EVEN, Parity, contains, hull

_LONGEST = 4


@final
@dataclass(frozen=True, slots=True)
class Gaussian:
    """A Gaussian matrix leaf inside of a term: its position in the program and, for its two sides, the wide axis of the
    value on which each lives."""

    matrix: int
    axes: tuple[int, int]


@final
@dataclass(frozen=True, slots=True)
class Term:
    """Entries of size n^order on a fraction n^-rarity of the places, with a parity (see the module docstring)."""

    order: Fraction
    parity: Parity = EVEN
    rarity: Fraction = ZERO
    gaussian: Gaussian | None = None

    @property
    def mean_order(self) -> Fraction:
        """Order of the mean absolute value of the entries."""
        return self.order if not self.rarity else self.order - self.rarity

    @property
    def rms_order(self) -> Fraction:
        """Order of the root mean square of the entries."""
        return self.order if not self.rarity else self.order - self.rarity / 2

    def times(self, power: Fraction) -> Term:
        """This term times n^power."""
        return Term(self.order + power, self.parity, self.rarity, self.gaussian) if power else self


Terms = tuple[Term, ...]


def rarer(x: Term, y: Term) -> Fraction:
    """The rarity of what is there where both terms are."""
    return x.rarity if x.rarity is y.rarity else largest([x.rarity, y.rarity])  # the same, as a rule: 0


def leading_order(terms: Terms) -> Order:
    """Order of the typical entry (mean absolute value); None for identically zero."""
    return largest([term.mean_order for term in terms]) if terms else None


def scaled(terms: Terms, power: Fraction) -> Terms:
    """Terms times n^power."""
    return tuple(term.times(power) for term in terms) if power else terms


def _dominates(leader: Term, term: Term, size: Fraction, other: Fraction) -> bool:
    """Whether a term adds nothing to one that is not smaller by root mean square (`size` and `other`)."""
    if leader.gaussian != term.gaussian:
        return False
    if contains(leader.parity, term.parity):
        counts_on(size, other)
        return not (leader.rarity or term.rarity) or reaches(leader.mean_order, term.mean_order)
    if contains(term.parity, leader.parity):
        counts_on(size, other)
    return False


def _ranked(terms: Sequence[Term]) -> list[Term]:
    """From the largest to the smallest by root mean square; equal ones in an order that does not depend on the point."""
    values = ranks([term.rms_order for term in terms])
    return [terms[k] for k in sorted(range(len(terms)), key=lambda k: (-values[k], _tie(terms[k])))]


def _tie(term: Term) -> tuple[int, int, tuple[int, ...], int]:
    return term.parity.rank


def _count_on_rank(larger: Term, smaller: Term) -> None:
    """Compare two terms whose rank is known: where they are equally large, the tie decides as `_ranked` does."""
    if _tie(larger) <= _tie(smaller):
        counts_on(larger.rms_order, smaller.rms_order)
    elif not exceeds(larger.rms_order, smaller.rms_order):
        raise AssertionError(f"{larger} is not above {smaller} at the point")


def _least_missed(terms: Sequence[Term]) -> tuple[Term, Term]:
    """Which two to merge: the smallest two that are equally large (neither gains in size), else the smallest two."""
    ranked = _ranked(terms)
    for k in range(len(ranked) - 2, -1, -1):
        if meets(ranked[k].rms_order, ranked[k + 1].rms_order):
            for term in ranked[:k]:
                _count_on_rank(term, ranked[k])
            return ranked[k], ranked[k + 1]
    return ranked[-2], ranked[-1]


def _joined(a: Term, b: Term) -> Term:
    """One term that is at least as large as either: in its largest entries, in their root mean square, and in their mean."""
    order, parity = largest([a.order, b.order]), hull(a.parity, b.parity)
    if not a.rarity and not b.rarity:
        return Term(order, parity)
    root, mean = largest([a.rms_order, b.rms_order]), largest([a.mean_order, b.mean_order])
    return Term(order, parity, -largest([2 * (root - order), mean - order]))


def tidy(terms: list[Term], wide: int) -> Terms:
    """A shorter list that is as large: without dominated terms, small ones merged (each step can only raise an order).

    `wide` is the number of wide axes: without any, signs and rarity have no meaning. On linear forms each comparison bounds
    the cell: so few are made, and none of differences (that a term is far smaller, or nearer to one than to another).
    """
    if not terms:
        return ()
    if any(isinstance(term.order, float) and math.isnan(term.order) for term in terms):
        # infinity less infinity: a product of what explodes with what vanishes as fast has no order that is known
        terms = [replace(term, order=math.inf) if term.order != term.order else term for term in terms]  # type: ignore[arg-type]
    # What explodes on a vanishing fraction of the entries, however small: of no known size.
    terms = [replace(term, rarity=ZERO) if term.rms_order != term.rms_order else term for term in terms]
    if wide == 0:
        return (Term(largest([term.rms_order for term in terms])),)
    if len(terms) == 1:
        return tuple(terms)
    sizes = [term.rms_order for term in terms]
    values, rarities = ranks(sizes), ranks([term.rarity for term in terms])
    ranked = sorted(
        range(len(terms)),
        key=lambda k: (-values[k], rarities[k], terms[k].parity.rank),
    )
    kept: list[int] = []
    for k in ranked:
        if not any(_dominates(terms[i], terms[k], sizes[i], sizes[k]) for i in kept):
            kept.append(k)
    found = [terms[k] for k in kept]
    while len(found) > _LONGEST:
        plain = [term for term in found if term.gaussian is None]
        if len(plain) < 2:
            break
        a, b = _least_missed(plain)
        joined = _joined(a, b)
        found = [joined if term is a else term for term in found if term is not b]
    return tuple(found)


@final
@dataclass(frozen=True)
class Value:
    """A value in training, next to the value of the same instruction in the base program (initial parameters).

    base: the value in the base program. change: value - base. whole: the value itself where it is known to be smaller
    than base + change suggests (a reciprocal after its argument has grown); None otherwise.
    """

    base: Terms
    change: Terms = ()
    whole: Terms | None = None
    wide: int = 1
    at_most: bool = False

    @cached_property
    def total(self) -> Terms:
        """The value itself, base + change."""
        if self.whole is not None:
            return self.whole
        return tidy([*self.base, *self.change], self.wide) if self.change else self.base

    @property
    def size(self) -> Order:
        """Order of the base."""
        return leading_order(self.base)

    @property
    def moved(self) -> Order:
        """Order of the change."""
        return leading_order(self.change)

    def each(self, rule: Callable[[Terms], Terms], wide: int) -> Value:
        """What acts alike on base, change and whole; the result has that many wide axes."""
        whole = rule(self.whole) if self.whole is not None else None
        return Value(rule(self.base), rule(self.change), whole, wide, self.at_most)

    def times(self, power: Fraction) -> Value:
        """This value times n^power."""
        return self.each(lambda terms: scaled(terms, power), self.wide) if power else self


def consistent(value: Value) -> Value:
    """A change is never larger than value and base together: use that where the product rule overshoots."""
    if value.whole is None or not value.change:
        return value
    moved = leading_order(value.change)
    bounds = [order for order in (leading_order(value.whole), value.size) if order is not None]
    if not bounds:
        return Value(value.base, (), value.whole, value.wide, value.at_most)
    assert moved is not None
    if reaches(largest(bounds), moved):
        return value
    return Value(value.base, tidy([*value.whole, *value.base], value.wide), value.whole, value.wide, value.at_most)
