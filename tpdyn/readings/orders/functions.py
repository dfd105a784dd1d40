"""How big is f(x), and how much does it change when x changes? Orders of pointwise functions, from their facts.

The argument is split into its leading terms (largest order) and the rest. What f does with the leading terms follows
from three facts of f: homogeneous functions act by their degree; smooth functions act on small arguments by their Taylor
coefficients and on arguments of order 0 by nothing but their parity; on growing arguments by their growth. The rest enters
through the slope. Source: Nonlin of Tensor Programs III (arXiv 2009.10685), with Taylor expansions as in
Tensor Programs IV (2011.14522).
"""

from __future__ import annotations

import math
from fractions import Fraction

from tpdyn.exact.compare import exceeds, largest, meets, reaches, smallest
from tpdyn.exponents import ZERO, Order
from tpdyn.pointwise.function import Function
from tpdyn.readings.orders.parity import ANY, EVEN, Parity, hull, of_function, product
from tpdyn.readings.orders.terms import Term, Terms, leading_order, rarer, tidy

Chain = tuple[Function, ...]
"""A function followed by its listed derivatives: (f, f', f'', ...)."""


def hull_of(terms: Terms) -> Parity:
    """The parity of a sum of terms."""
    parity = terms[0].parity
    for term in terms[1:]:
        parity = hull(parity, term.parity)
    return parity


def _lead_and_rest(x: Terms) -> tuple[Terms, Terms]:
    """Leading terms fill every entry (rarity 0) at the largest order; rare terms are never leading alone."""
    dense = [term for term in x if not term.rarity]
    if not dense:
        return x, ()
    top = largest([term.order for term in dense])
    leads = [not term.rarity and meets(term.order, top) for term in x]
    return tuple(t for t, first in zip(x, leads, strict=True) if first), tuple(
        t for t, first in zip(x, leads, strict=True) if not first
    )


def _at_zero(f: Function) -> bool:
    """Whether f(0) is not 0."""
    if f.degree is not None:
        return False
    return f.taylor is None or f.taylor[0]


def value_terms(chain: Chain, x: Terms, wide: int) -> Terms:
    """The terms of f(x), f = chain[0]."""
    f = chain[0]
    if any(term.gaussian is not None for term in x):  # entries of the matrix are random numbers like any other
        x = tuple(Term(t.order, product(t.parity, ANY) if t.gaussian else t.parity, t.rarity) for t in x)
    if not x:
        return (Term(ZERO),) if _at_zero(f) else ()
    lead, rest = _lead_and_rest(x)
    top = lead[0].order
    parity = hull_of(lead)
    if f.degree is not None:
        made = [Term(f.degree * top if f.degree else ZERO, of_function(parity, f.parity), ZERO)]
    elif meets(top, 0) or (f.taylor is None and exceeds(0, top)):
        made = [Term(ZERO, of_function(parity, f.parity))]
    elif exceeds(top, 0):
        return (Term(_grown(f, top), of_function(hull_of(x), f.parity)),)  # saturated: what is smaller does not count
    else:
        return tidy(_taylor(f, x), wide)
    if rest:
        made += _slope_times(chain, lead, rest, wide)
    return tidy(made, wide)


def _grown(f: Function, top: Fraction) -> Fraction:
    return math.inf if f.growth is None else f.growth * top  # type: ignore[return-value]


def _taylor(f: Function, x: Terms) -> list[Term]:
    """f of a small argument: c_0 + c_1 x + c_2 x^2 + ..., up to one order below the first term."""
    assert f.taylor is not None
    made: list[Term] = []
    power: tuple[Term, ...] = (Term(ZERO),)
    for nonzero in f.taylor:
        if nonzero:
            made += power
        power = tidy([Term(a.order + b.order, product(a.parity, b.parity), rarer(a, b)) for a in power for b in x], 1)
    return made


def _slope_times(chain: Chain, lead: Terms, rest: Terms, wide: int) -> list[Term]:
    """`f'(leading) * rest`; at a jump, the fraction of entries that cross it."""
    f, top = chain[0], lead[0].order
    if f.jumps:
        return [crossing(term, top, f.degree or ZERO) for term in rest if exceeds(top, term.mean_order)]
    return _products(_slope(chain, lead, wide), rest)


def _slope(chain: Chain, x: Terms, wide: int) -> Terms:
    """The terms of f'(x). Where no derivative is listed (softmax, several arguments): bounded, without symmetry."""
    if len(chain) > 1:
        return value_terms(chain[1:], x, wide)
    top = leading_order(x)
    degree = chain[0].degree
    order = (degree - 1) * top if degree is not None and top is not None else ZERO
    return (Term(order, of_function(hull_of(x), "neither") if x else EVEN),)


def crossing(change: Term, top: Fraction, degree: Fraction) -> Term:
    """What a small change does at a jump or kink: on a fraction n^-(top - change) of the entries, of full size."""
    return Term(degree * top if degree else ZERO, ANY, _crossed(change, top))


def _crossed(change: Term, top: Fraction) -> Fraction:
    """The fraction of the entries, n^-rarity, that a change takes across a jump."""
    return largest([change.rarity, top - change.order])


def change_terms(chain: Chain, base: Terms, change: Terms, total: Terms, wide: int) -> Terms:
    """The terms of f(base + change) - f(base).

    A change that is small against the scale of f goes through the slope, and at second order through f'' (whose parity
    differs: a contraction may see it at the same order). Otherwise nothing is known but the two sizes.
    """
    if not change:
        return ()
    f = chain[0]
    size = leading_order(base)
    scale = largest([size or ZERO, ZERO]) if f.taylor is not None else size
    change = tuple(Term(t.order, ANY, t.rarity) if t.gaussian else t for t in change)
    if scale is None or any(reaches(t.rms_order, scale) for t in change):
        return tidy([*value_terms(chain, total, wide), *value_terms(chain, base, wide)], wide)
    if f.jumps:
        return tidy([crossing(term, scale, f.degree or ZERO) for term in change], wide)
    made = _products(_slope(chain, base, wide), change)
    if len(chain) > 1 and chain[1].jumps:  # a kink: the change crosses it on a few entries, at its own size
        made += [Term(t.order, ANY, _crossed(t, scale)) for t in change]
    else:
        made += _products(_slope(chain[1:] or chain, base, wide), tuple(_products(change, change)))
    return tidy(made, wide)


def _products(x: Terms, y: Terms) -> list[Term]:
    return [Term(a.order + b.order, product(a.parity, b.parity), rarer(a, b)) for a in x for b in y]


def several_arguments(f: Function, arguments: tuple[Terms, ...], wide: int) -> Terms:
    """A function of several arguments: as large as f makes the largest, with any combination of their characters."""
    present = [terms for terms in arguments if terms]
    if not present:
        return (Term(ZERO),) if _at_zero(f) else ()
    parity = EVEN
    for terms in present:
        lead, _ = _lead_and_rest(terms)
        parity = product(parity, of_function(hull_of(lead), "neither"))
    top = largest([order for terms in present if (order := leading_order(terms)) is not None])
    if f.degree is not None:
        return tidy([Term(f.degree * top if f.degree else ZERO, parity)], wide)
    return tidy([Term(_grown(f, top) if exceeds(top, 0) else ZERO, parity)], wide)


Placed = tuple[Terms, Terms, Terms]
"""An argument: its terms in the base, in the change, and in the whole."""


def least_of(arguments: tuple[Placed, ...]) -> Placed:
    """Base, change and whole of the minimum of numbers that are never negative.

    It is as small as the smallest of them; where one is the smallest in the base and in the whole, it is that one.
    """
    before, after = (_least([leading_order(argument[part]) for argument in arguments]) for part in (0, 2))
    if before == after and len(before) == 1:
        return arguments[before[0]]
    base = _any_of([arguments[k][0] for k in before])
    whole = _any_of([arguments[k][2] for k in after])
    moved = any(argument[1] for argument in arguments)
    return base, tidy([*base, *whole], 0) if moved else (), whole


def _least(orders: list[Order]) -> list[int]:
    """Which orders are the smallest; that of a zero, if there is one."""
    zeros = [k for k, order in enumerate(orders) if order is None]
    if zeros:
        return zeros[:1]
    least = smallest([order for order in orders if order is not None])
    return [k for k, order in enumerate(orders) if order is not None and meets(order, least)]


def _any_of(several: list[Terms]) -> Terms:
    """One of several numbers of the same order, whichever it is."""
    if len(several) == 1 or not several[0]:
        return several[0]
    parity = EVEN
    for terms in several:
        parity = product(parity, of_function(hull_of(terms), "neither"))
    order = leading_order(several[0])
    assert order is not None
    return (Term(order, parity),)


def larger_than_tiny(argument: Placed, tiny: Terms) -> Placed:
    """Base, change and whole of the maximum of a number and of a tiny one that counts only where the other is zero."""
    base, change, whole = argument
    return base or tiny, change if base else whole, whole or tiny
