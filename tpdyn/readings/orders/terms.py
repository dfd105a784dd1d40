"""What is a value, as far as orders are concerned? A short list of terms: order, parity, rarity.

A term stands for a part of a value. Its entries are of size `Theta(n^order)` on a fraction `n^-rarity` of the entries
(rarity 0: on all of them). A term with a `gaussian` is that leaf matrix, times a scale and entrywise factors. Only matrices
that training has not touched act by the central limit theorem, on vectors they have not met.

Where a rule has a choice it takes the larger order. The result is an upper bound, tight for generic functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache, reduce
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar, cast, final

from tpdyn.exact.affine import Affine, Chart, Conditions
from tpdyn.exact.compare import chart_of, counts_on, exceeds, form_of, key, largest, meets, ranks, reaches
from tpdyn.exponents import ZERO, Order
from tpdyn.rationals import Rational, of_units, quick
from tpdyn.readings.orders.parity import EVEN, Parity, contains, hull

_LONGEST = 4
T = TypeVar("T")


@final
class Gaussian(NamedTuple):
    """A Gaussian matrix leaf inside of a term: its position, and for each side the axis on which it lives."""

    matrix: int
    axes: tuple[int, int]


@final
class Term(NamedTuple):
    """Entries of size n^order on a fraction n^-rarity of all entries, with a parity (see the module docstring)."""

    order: Fraction
    parity: Parity = EVEN
    rarity: Fraction = ZERO
    gaussian: Gaussian | None = None

    @property
    def mean_order(self) -> Fraction:
        """Order of the mean absolute value of the entries."""
        return self.order if self.rarity is ZERO or not self.rarity else self.order - self.rarity

    @property
    def rms_order(self) -> Fraction:
        """Order of the root mean square of the entries."""
        return self.order if self.rarity is ZERO or not self.rarity else self.order - self.rarity / 2

    def times(self, power: Fraction) -> Term:
        """Multiply this term by n^power."""
        return Term(self.order + power, self.parity, self.rarity, self.gaussian) if power else self


Terms = tuple[Term, ...]


def rarer(x: Term, y: Term) -> Fraction:
    """Return the rarity of the entries where both terms are present."""
    return x.rarity if x.rarity is y.rarity else largest([x.rarity, y.rarity])  # the same, as a rule: 0


def leading_order(terms: Terms) -> Order:
    """Order of the typical entry (mean absolute value); None for identically zero."""
    if len(terms) == 1:
        return terms[0].mean_order
    return largest([term.mean_order for term in terms]) if terms else None


def scaled(terms: Terms, power: Fraction) -> Terms:
    """Multiply terms by n^power."""
    return tuple(term.times(power) for term in terms) if power else terms


def _dominates(leader: Term, term: Term, size: Fraction, other: Fraction) -> bool:
    """Tell whether a term adds nothing to one that is not smaller by root mean square (`size` and `other`)."""
    if leader.gaussian is not term.gaussian and leader.gaussian != term.gaussian:
        return False
    if contains(leader.parity, term.parity):
        counts_on(size, other)
        return not (leader.rarity or term.rarity) or reaches(leader.mean_order, term.mean_order)
    if contains(term.parity, leader.parity):
        counts_on(size, other)
    return False


def _ranked(terms: Sequence[Term]) -> list[Term]:
    """Sort from the largest to the smallest by root mean square. Equal ones come in an order that does not depend on the point."""
    values = ranks([term.rms_order for term in terms])
    return [terms[k] for k in sorted(range(len(terms)), key=lambda k: (-values[k], terms[k].parity.rank))]


def _count_on_rank(larger: Term, smaller: Term) -> None:
    """Compare two terms whose rank is known: where they are equally large, the tie decides as `_ranked` does."""
    if larger.parity.rank <= smaller.parity.rank:
        counts_on(larger.rms_order, smaller.rms_order)
    elif not exceeds(larger.rms_order, smaller.rms_order):
        raise AssertionError(f"{larger} is not above {smaller} at the point")


def _shortened(
    ranked: Sequence[T],
    most: int,
    tied_with_first: Callable[[Sequence[T]], int],
    as_one: Callable[[Sequence[T]], T],
    count_on_rank: Callable[[T, T], None],
) -> list[T]:
    """Shorten to at most so many terms, losing little. Each is merged with one that is as large as the larger.

    Terms that are equally large gain nothing in size: the second largest are merged first, then the largest. Then the smallest,
    whatever the others (to ask for ties among them costs cells, and they decide little).
    """
    surplus = len(ranked) - max(most, 1)
    levels: list[Sequence[T]] = []
    smaller = ranked
    while smaller and len(levels) < 2:
        tied = tied_with_first(smaller)
        levels.append(smaller[:tied])
        smaller = smaller[tied:]
    for number in reversed(range(len(levels))):
        level = levels[number]
        merged = min(len(level) - 1, surplus)
        alone = len(level) - 1 - merged
        levels[number] = [*level[:alone], as_one(level[alone:])]
        surplus -= merged
    left = [*(term for level in levels for term in level), *smaller]
    if not surplus:
        return left
    larger, little = left[: -surplus - 1], left[-surplus - 1 :]
    for term in larger[len(left) - len(smaller) :]:
        for other in little:
            count_on_rank(term, other)
    return [*larger, as_one(little)]


def _tied_with_first(ranked: Sequence[Term]) -> int:
    return sum(meets(ranked[0].rms_order, term.rms_order) for term in ranked)


def _merged_in_pairs(terms: Sequence[Term], most: int) -> list[Term]:
    """Merge terms in pairs where entries are rare: neighbours by size whose orders and means are nearest.

    To merge what is dense with what is rare costs more than size: it stays so for every later product.
    """
    if _are_numbers(terms):
        return _merged_in_units(terms, most)
    found = list(terms)
    while len(found) > max(most, 1):
        ranked = _ranked(found)
        for larger, smaller in pairwise(ranked):
            _count_on_rank(larger, smaller)
        gaps = [_gap(larger, smaller) for larger, smaller in pairwise(ranked)]
        k = len(gaps) - 1
        for j in reversed(range(k)):
            k = j if exceeds(gaps[k], gaps[j]) else k
        found = [*ranked[:k], *ranked[k + 2 :], _as_one(ranked[k : k + 2])]
    return found


def _gap(one: Term, other: Term) -> Fraction:
    """Return by how much entries or mean of one of the two grow if they are merged."""
    sizes = [one.order, other.order, one.mean_order, other.mean_order]
    if any(isinstance(size, float) for size in sizes):
        return cast("Fraction", math.inf)
    return largest([sizes[0] - sizes[1], sizes[1] - sizes[0], sizes[2] - sizes[3], sizes[3] - sizes[2]])


def _are_numbers(terms: Sequence[Term]) -> bool:
    """Tell whether all orders and rarities are plain numbers: not linear forms, and not infinite."""
    return all(term.order.__class__ is Rational and term.rarity.__class__ is Rational for term in terms)


def _merged_in_units(terms: Sequence[Term], most: int) -> list[Term]:
    """Do as `_merged_in_pairs` does where orders are plain numbers: nothing is recorded, and they are added as integers."""
    found = [(cast("Rational", term.order).units, cast("Rational", term.rarity).units, term.parity) for term in terms]
    while len(found) > max(most, 1):
        found.sort(key=lambda each: (each[1] - 2 * each[0], each[2].rank))
        gaps = [max(abs(o - p), abs(o - r - p + q)) for (o, r, _), (p, q, _) in pairwise(found)]
        nearest = min(gaps)
        k = max(k for k, gap in enumerate(gaps) if gap == nearest)
        (one, rare, parity), (other, rarer_one, second) = found[k : k + 2]
        order, mean = max(one, other), max(one - rare, other - rarer_one)
        found = [*found[:k], *found[k + 2 :], (order, order - mean, hull(parity, second))]
    return [Term(of_units(order), parity, of_units(rarity) if rarity else ZERO) for order, rarity, parity in found]


def _as_one(terms: Sequence[Term]) -> Term:
    """Return a term with the characters of all, whose entries and mean are as large as any: `2 rms = order + mean` is, too."""
    if len(terms) == 1:
        return terms[0]
    parity = reduce(hull, [term.parity for term in terms])
    order = largest([term.order for term in terms])
    if isinstance(order, float) or not any(term.rarity for term in terms):  # of infinity no fraction is known
        return Term(order, parity)
    return Term(order, parity, order - largest([term.mean_order for term in terms]))


def _of_known_order(term: Term) -> Term:
    """Return a term as it is; one whose order is beyond all powers loses all other knowledge."""
    if term.order != term.order:  # infinity less infinity: what explodes times what vanishes as fast
        term = term._replace(order=cast("Fraction", math.inf))
    if term.rms_order != term.rms_order:  # what explodes on a vanishing fraction of the entries, however small
        term = term._replace(rarity=ZERO)
    return term


def _one_of_each_kind(terms: Sequence[Term]) -> list[Term]:
    """Keep the largest of terms that differ in their order alone."""
    kinds: dict[object, list[Term]] = {}
    for term in terms:
        common = term.gaussian is None and term.rarity is ZERO
        kind = term.parity if common else (term.parity, term.gaussian, key(term.rarity))
        same = kinds.get(kind)
        if same is None:
            kinds[kind] = [term]
        else:
            same.append(term)
    if len(kinds) == len(terms):
        return list(terms)
    return [same[0] if len(same) == 1 else _largest_of(same) for same in kinds.values()]


def _largest_of(same: Sequence[Term]) -> Term:
    order = largest([term.order for term in same])
    return next(term for term in same if term.order is order)


def shifted_alike(rule: Callable[..., Terms], *factors: Terms, given: tuple[Hashable, ...] = ()) -> Terms:
    """Apply a rule to terms, or look the result up: from another point of the slice, or for other orders.

    The rule may ask how orders differ within a factor, and no more. If a factor grows by a power, so does the result.
    Without linear forms, or where their chart has no memory, it is applied.
    """
    chart = chart_of(term.order for terms in factors for term in terms)
    if chart is None or chart.memory is None:
        return rule(*factors, *given)
    question: list[Hashable] = [rule, *given]
    common = value = 0
    for terms in factors:
        form = form_of(terms[0].order)
        asked = None if form is None else without(form, terms)
        if form is None or asked is None:
            return rule(*factors, *given)
        question.append(asked)
        common += form
        value += cast("int", chart.rank(terms[0].order))
    found = chart.recalled(chart.memory, tuple(question), lambda: without(common, rule(*factors, *given)))
    if found is None:
        return rule(*factors, *given)
    return within(chart, common, value, found)


Shifts = tuple[tuple[int, bool, Parity, Any, Gaussian | None], ...]
"""Terms without a common order: how far each is above it, whether it is a linear form, the rest (rarity: None for ZERO)."""


def without(common: int, terms: Terms) -> Shifts | None:
    """Take an order off terms that have it in common; None where they have orders that have no form."""
    shifts = []
    for order, parity, rarity, gaussian in terms:
        form = form_of(order)
        rare = None if rarity is ZERO else form_of(rarity) if rarity.__class__ is Affine else rarity
        if form is None:
            return None
        shifts.append((form - common, order.__class__ is Affine, parity, rare, gaussian))
    return tuple(shifts)


def within(chart: Chart, common: int, value: int, shifts: Shifts) -> Terms:
    """Put the common order back on terms; it has that value at the point of a chart."""
    values = chart.values
    return tuple(
        [
            Term(
                chart.order(common + shift, value + values[shift]) if linear else of_units(common + shift),
                parity,
                ZERO if rarity is None else chart.order(rarity) if rarity.__class__ is int else rarity,
                gaussian,
            )
            for shift, linear, parity, rarity, gaussian in shifts
        ]
    )


def tidy(terms: list[Term], wide: int) -> Terms:
    """Shorten a list of terms: drop dominated ones, merge small ones (each step can only raise an order).

    `wide` is the number of wide axes: without any, signs and rarity have no meaning. On linear forms each comparison bounds
    the cell, so few are made. None compares differences: whether a term is far smaller, or nearer to one than to another.
    """
    if not terms:
        return ()
    if wide and _are_numbers(terms):
        return _rational(tuple(terms))
    chart = chart_of([term.order for term in terms])
    if chart is not None and chart.memory is None:
        plain = dense(chart, terms)
        if plain is not None:
            return tidied(chart, plain, wide)
    if any(isinstance(term.order, float) or isinstance(term.rarity, float) for term in terms):
        terms = list(map(_of_known_order, terms))
    if wide == 0:
        return (Term(largest([term.rms_order for term in terms])),)
    if len(terms) == 1:
        return tuple(terms)
    return _tidied_one_by_one(terms) if chart is None else shifted_alike(_tidied, tuple(terms))


Dense = tuple[int, int, bool, Parity]
"""A term without rarity and without a random matrix. It has a form, its value at the point, whether the form is linear, a
parity.
"""


def dense(chart: Chart, terms: Sequence[Term]) -> list[Dense] | None:
    """Take terms apart; None where one of them is rare, a random matrix, or of an order without a form."""
    found = []
    for order, parity, rarity, gaussian in terms:
        if (
            rarity is not ZERO
            or gaussian is not None
            or (order.__class__ is not Affine and order.__class__ is not Rational)
        ):
            return None
        found.append(apart(chart, order, parity))
    return found


def apart(chart: Chart, order: Fraction, parity: Parity = EVEN) -> Dense:
    """Take an order with a form apart."""
    if order.__class__ is Affine:
        return order._form, order._value, True, parity
    units = cast(Rational, quick(order)).units
    return units, units * chart.fine, False, parity


def tidied(chart: Chart, terms: Sequence[Dense], wide: int) -> Terms:
    """Do as `tidy` does for dense terms, with the same conditions, on whole numbers: most of a reading."""
    if not terms:
        return ()
    if chart.memory is not None:
        return _tidied_now(chart, terms, wide)
    question = (wide == 0, *terms)
    known: Terms | None = chart.once.get(question)
    if known is None:
        known = chart.once[question] = _tidied_now(chart, terms, wide)
    return known


def _tidied_now(chart: Chart, terms: Sequence[Dense], wide: int) -> Terms:
    if wide == 0:
        return (_together(chart, _leading(chart, terms))._replace(parity=EVEN),)
    kinds: dict[Parity, list[Dense]] = {}
    for term in terms:
        kinds.setdefault(term[3], []).append(term)
    return tidied_kinds(chart, kinds)


def tidied_kinds(chart: Chart, kinds: Mapping[Parity, list[Dense]]) -> Terms:
    """Do as `tidied` does for terms of a value with wide axes, by their parities."""
    leaders = [same[0] if len(same) == 1 else _leading(chart, same) for same in kinds.values()]
    if len(leaders) == 1:
        return (_together(chart, leaders[0]),)
    leaders.sort(key=_first_the_largest)
    staying, compared = _domination(tuple([term[3] for term in leaders]))
    for larger, smaller in compared:
        chart.count_on_order(leaders[larger][0], leaders[smaller][0])
    kept = [leaders[k] for k in staying]
    if len(kept) > _LONGEST:
        kept = _few(chart, kept)
    return tuple([_together(chart, term) for term in kept])


@lru_cache(maxsize=1 << 15)
def _domination(ranked: tuple[Parity, ...]) -> tuple[list[int], list[tuple[int, int]]]:
    """Say which terms with these parities stay, the largest first, and which pairs (larger, smaller) that hangs on."""
    staying: list[int] = []
    compared = []
    for k, parity in enumerate(ranked):
        for larger in staying:
            dominated = contains(ranked[larger], parity)
            if dominated or contains(parity, ranked[larger]):
                compared.append((larger, k))
            if dominated:
                break
        else:
            staying.append(k)
    return staying, compared


def _few(chart: Chart, ranked: list[Dense]) -> list[Dense]:
    """Shorten dense terms, ranked from the largest on, to `_LONGEST`."""

    def tied_with_first(terms: Sequence[Dense]) -> int:
        return chart.count_ties(terms[0][0], [term[0] for term in terms])

    def count_on_rank(larger: Dense, smaller: Dense) -> None:
        count = chart.count_on_order if larger[3].rank <= smaller[3].rank else chart.count_on_more
        count(larger[0], smaller[0])

    return _shortened(ranked, _LONGEST, tied_with_first, lambda terms: _merged(chart, terms), count_on_rank)


def _merged(chart: Chart, terms: Sequence[Dense]) -> Dense:
    """Return a term that is as large as any, with the characters of all."""
    if len(terms) == 1:
        return terms[0]
    form, value, linear, parity = _leading(chart, terms)
    return form, value, linear, reduce(hull, [term[3] for term in terms], parity)


_FORM, _VALUE = itemgetter(0), itemgetter(1)


def _leading(chart: Chart, terms: Sequence[Dense]) -> Dense:
    """Return the first of the largest terms."""
    leading = max(terms, key=_VALUE)
    chart.count_on_leading(leading[0], map(_FORM, terms))
    return leading


def _first_the_largest(term: Dense) -> tuple[int, object]:
    return -term[1], term[3].rank


def _together(chart: Chart, term: Dense) -> Term:
    form, value, linear, parity = term
    return Term(chart.order(form, value) if linear else of_units(form), parity)


def _tidied(several: Terms) -> Terms:
    chart = chart_of(term.order for term in several)
    plain = None if chart is None else dense(chart, several)
    if chart is not None and plain is not None:
        return tidied(chart, plain, 1)
    return _tidied_one_by_one(several)


def _tidied_one_by_one(several: Sequence[Term]) -> Terms:
    terms = _one_of_each_kind(several)
    sizes = [term.rms_order for term in terms]
    values, rarities = ranks(sizes), ranks([term.rarity for term in terms])
    keys = [(-values[k], rarities[k], term.parity.rank) for k, term in enumerate(terms)]
    ranked = sorted(range(len(terms)), key=keys.__getitem__)
    kept: list[int] = []
    for k in ranked:
        for i in kept:
            if _dominates(terms[i], terms[k], sizes[i], sizes[k]):
                break
        else:
            kept.append(k)
    return _at_most(_LONGEST, [terms[k] for k in kept])


@lru_cache(maxsize=1 << 15)
def _rational(terms: Terms) -> Terms:
    """Do as `tidy` does for terms with plain numbers as orders, in units: most terms, and nothing is recorded."""
    if len(terms) == 1:
        return terms
    largest_of: dict[object, tuple[int, int, Term]] = {}
    for term in terms:
        order, rarity = cast("Rational", term.order).units, cast("Rational", term.rarity).units
        kind = term.parity if term.gaussian is None and not rarity else (term.parity, term.gaussian, rarity)
        known = largest_of.get(kind)
        if known is None or order > known[0]:
            largest_of[kind] = order, rarity, term
    kept: list[tuple[int, int, Term]] = []
    for each in sorted(largest_of.values(), key=lambda each: (each[1] - 2 * each[0], each[1], each[2].parity.rank)):
        order, rarity, term = each
        for size, rare, leader in kept:
            if (
                (not (rare or rarity) or size - rare >= order - rarity)
                and leader.gaussian == term.gaussian
                and contains(leader.parity, term.parity)
            ):
                break
        else:
            kept.append(each)
    return _at_most(_LONGEST, [term for _, _, term in kept])


def _at_most(longest: int, found: list[Term]) -> Terms:
    """Merge some terms that are not random matrices, of a list without domination, largest first, if it is too long."""
    plain = [term for term in found if term.gaussian is None]
    if len(found) <= longest or len(plain) < 2:
        return tuple(found)
    matrices = [term for term in found if term.gaussian is not None]
    most = longest - len(matrices)
    if any(term.rarity for term in plain):
        return (*matrices, *_merged_in_pairs(plain, most))
    return (*matrices, *_shortened(_ranked(plain), most, _tied_with_first, _as_one, _count_on_rank))


@final
class Kept(NamedTuple):
    """Terms that were found, and the conditions under which they hold where these are to be recorded at each use."""

    result: Terms
    chart: Chart | None = None
    conditions: Conditions | None = None

    def again(self) -> Terms:
        """Return the kept terms again."""
        if self.chart is not None and self.conditions is not None:
            self.chart.count_on(self.conditions)
        return self.result


def keep(chart: Chart | None, work: Callable[[], Terms]) -> Kept:
    """Keep the result of some work on terms for reuse within a reading; chart: where each use records its conditions."""
    if chart is None or chart.memory is None:
        return Kept(work())
    conditions, made = chart.recorded(work)
    return Kept(made, chart, conditions)


@final
@dataclass(frozen=True)
class Value:
    """A value in training, next to the value of the same instruction in the base program (initial parameters).

    base: the value in the base program. change: value - base. whole: the value itself, if it is known to be smaller than
    base + change suggests. An example is a reciprocal after its argument has grown. None otherwise.
    """

    base: Terms
    change: Terms = ()
    whole: Terms | None = None
    wide: int = 1
    at_most: bool = False

    @property
    def total(self) -> Terms:
        """The value itself, base + change."""
        if self.whole is not None:
            return self.whole
        return self._sum.again() if self.change else self.base

    @cached_property
    def _sum(self) -> Kept:
        both = (*self.base, *self.change)
        chart = chart_of(order for term in both for order in (term.order, term.rarity))
        return keep(chart, lambda: tidy(list(both), self.wide))

    @property
    def size(self) -> Order:
        """Order of the base."""
        return leading_order(self.base)

    @property
    def moved(self) -> Order:
        """Order of the change."""
        return leading_order(self.change)

    def each(self, rule: Callable[[Terms], Terms], wide: int) -> Value:
        """Apply a rule alike to base, change and whole; the result has that many wide axes."""
        whole = rule(self.whole) if self.whole is not None else None
        return Value(rule(self.base), rule(self.change), whole, wide, self.at_most)

    def times(self, power: Fraction) -> Value:
        """Multiply this value by n^power."""
        return self.each(lambda terms: scaled(terms, power), self.wide) if power else self


def consistent(value: Value) -> Value:
    """Bound the change by value and base together, or the value by base and change: whatever overshoots less."""
    if value.whole is None or not value.change:
        return value
    moved, known, size = leading_order(value.change), leading_order(value.whole), value.size
    if known is not None and moved is not None and exceeds(known, moved) and (size is None or exceeds(known, size)):
        return Value(value.base, value.change, None, value.wide, value.at_most)
    bounds = [order for order in (known, size) if order is not None]
    if not bounds:
        return Value(value.base, (), value.whole, value.wide, value.at_most)
    assert moved is not None
    if reaches(largest(bounds), moved):
        return value
    return Value(value.base, tidy([*value.whole, *value.base], value.wide), value.whole, value.wide, value.at_most)
