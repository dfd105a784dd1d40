"""What is a value, as far as orders are concerned? A short list of terms: order, parity, rarity.

A term stands for a part of a value whose entries are of size `Theta(n^order)` on a fraction `n^-rarity` of the entries
(rarity 0: on all of them). A term with a `gaussian` is that leaf matrix, times a scale and entrywise factors: matrices
that were not touched by training are the only ones that act by the central limit theorem on vectors they have not met.

Where a rule has a choice it takes the larger order: what comes out is an upper bound, tight for generic functions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import final

from tpdyn.exponents import ZERO, Order
from tpdyn.readings.orders.parity import ANY, EVEN, Parity, contains, hull

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
        return self.order - self.rarity if self.rarity else self.order

    @property
    def rms_order(self) -> Fraction:
        """Order of the root mean square of the entries."""
        return self.order - self.rarity / 2 if self.rarity else self.order

    def times(self, power: Fraction) -> Term:
        """This term times n^power."""
        return Term(self.order + power, self.parity, self.rarity, self.gaussian) if power else self


Terms = tuple[Term, ...]


def leading_order(terms: Terms) -> Order:
    """Order of the typical entry (mean absolute value); None for identically zero."""
    return max((term.mean_order for term in terms), default=None)


def scaled(terms: Terms, power: Fraction) -> Terms:
    """Terms times n^power."""
    return tuple(term.times(power) for term in terms) if power else terms


def tidy(terms: list[Term], wide: int) -> Terms:
    """A shorter list that is as large: without dominated and far smaller terms, the tail merged (each step can only raise
    an order). `wide` is the number of wide axes: without any, signs and rarity have no meaning."""
    if not terms:
        return ()
    if any(isinstance(term.order, float) and math.isnan(term.order) for term in terms):
        # infinity less infinity: a product of what explodes with what vanishes as fast has no order that is known
        terms = [replace(term, order=math.inf) if term.order != term.order else term for term in terms]  # type: ignore[arg-type]
    if wide == 0:
        return (Term(max(term.rms_order for term in terms)),)
    if len(terms) == 1:
        return tuple(terms)
    largest: dict[tuple[Parity, Gaussian | None, Fraction], Term] = {}
    for term in terms:
        key = (term.parity, term.gaussian, term.rarity)
        if key not in largest or largest[key].order < term.order:
            largest[key] = term
    if len(largest) == 1:
        return tuple(largest.values())
    ranked = sorted(
        ((term.rms_order, term.mean_order, term) for term in largest.values()),
        key=lambda item: (-item[0], item[2].rarity, len(item[2].parity.basis), item[2].parity.offset),
    )
    leader = ranked[0][0]
    slack = leader - wide if leader != math.inf else leader
    kept: list[tuple[Fraction, Fraction, Term]] = []
    for rms, mean, term in ranked:
        if rms < slack:
            continue
        for _, other_mean, other in kept:  # in falling rms order: only the mean is left to compare
            if other.gaussian == term.gaussian and contains(other.parity, term.parity) and other_mean >= mean:
                break
        else:
            kept.append((rms, mean, term))
    found = [term for _, _, term in kept]
    while len(found) > _LONGEST:
        plain = [term for term in found if term.gaussian is None]
        if len(plain) < 2:
            break
        # The two neighbours closest in order: a smaller term that joins a larger one lends it parities that it has not.
        k = min(range(len(plain) - 1), key=lambda i: (abs(plain[i].order - plain[i + 1].order), -i))
        a, b = plain[k], plain[k + 1]
        joined = Term(max(a.order, b.order), hull(a.parity, b.parity), min(a.rarity, b.rarity))
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


def anything(order: Fraction) -> Term:
    """A term of which only the order is known."""
    return Term(order, ANY)
