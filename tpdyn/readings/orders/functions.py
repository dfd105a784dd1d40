"""How big is f(x), and how much does it change when x changes? Orders of pointwise functions, from their facts.

The argument is split into its leading terms (largest order) and the rest. What f does with the leading terms follows from three
facts of f. Homogeneous functions act by their degree. Smooth functions act on small arguments by their Taylor coefficients, and
on arguments of order 0 by their parity alone. On growing arguments they act by their growth. The rest enters through the slope.
Source: Nonlin of Tensor Programs III (arXiv 2009.10685), with Taylor expansions as in Tensor Programs IV (2011.14522).
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import reduce

from tpdyn.exact.compare import chart_of, exceeds, largest, meets, reaches, smallest
from tpdyn.exponents import ZERO, Order
from tpdyn.pointwise.function import Function
from tpdyn.readings.orders.parity import ANY, EVEN, Parity, hull, of_function, product
from tpdyn.readings.orders.terms import Gaussian, Term, Terms, leading_order, rarer, tidy

Chain = tuple[Function, ...]
"""A function followed by its listed derivatives: (f, f', f'', ...)."""


def hull_of(terms: Terms) -> Parity:
    """Return the parity of a sum of terms."""
    return reduce(hull, [term.parity for term in terms])


def _lead_and_rest(x: Terms) -> tuple[Terms, Terms]:
    """Split off the leading terms: they fill every entry (rarity 0) at the largest order; rare terms never lead alone."""
    dense = [term for term in x if not term.rarity]
    if not dense:
        return x, ()
    top = largest([term.order for term in dense])
    leads = [not term.rarity and meets(term.order, top) for term in x]
    return tuple(t for t, first in zip(x, leads, strict=True) if first), tuple(
        t for t, first in zip(x, leads, strict=True) if not first
    )


def _at_zero(f: Function) -> bool:
    """Tell whether f(0) is not 0."""
    if f.degree is not None:
        return False
    return f.taylor[0] if f.taylor is not None else not f.near_zero


def value_terms(chain: Chain, x: Terms, wide: int) -> Terms:
    """Return the terms of f(x), f = chain[0]."""
    chart = chart_of(term.order for term in x)
    if chart is None or chart.memory is not None:
        return _value_terms(chain, x, wide)
    question = (id(x), id(chain[0]), len(chain), wide)
    known: tuple[object, object, Terms] | None = chart.once.get(question)
    if known is None:
        known = chart.once[question] = x, chain, _value_terms(chain, x, wide)
    return known[2]


def _value_terms(chain: Chain, x: Terms, wide: int) -> Terms:
    f = chain[0]
    if not x:
        return (Term(ZERO),) if _at_zero(f) else ()
    lead, rest = _lead_and_rest(x)
    top = lead[0].order
    if f.degree is not None:
        made = _of_leading(f, lead, f.degree * top if f.degree else ZERO)
    elif exceeds(top, 0):
        return tidy(_of_leading(f, x, _grown(f, top)), wide)  # saturated: what is smaller does not count
    elif f.taylor is None and exceeds(0, top):
        made = _of_leading(f, lead, f.near_zero * top)
    elif meets(top, 0):
        made = _of_leading(f, lead, ZERO)
    else:
        return tidy(_taylor(f, x), wide)
    if rest:
        made += _slope_times(chain, lead, rest, wide)
    return tidy(made, wide)


def _of_leading(f: Function, lead: Terms, order: Fraction) -> list[Term]:
    """Return f of terms that decide its size, which is known.

    Entries of a random matrix are independent of all else, and so are those of a function of them. So f(G + M) is its mean
    over G, and independent entries around it. The mean is a function of M that is odd if f is. They act as G does
    (universality).
    """
    random = {term.gaussian for term in lead if term.gaussian is not None}
    plain = tuple(term for term in lead if term.gaussian is None)
    factors = [term for term in lead if term.gaussian is not None and term.parity != EVEN]
    if not random:
        return [Term(order, of_function(hull_of(plain), f.parity))]
    signs = hull_of((*plain, *factors)) if plain or factors else EVEN
    made = [Term(order, of_function(signs, "neither"), ZERO, one) for one in sorted(random, key=_position_of)]
    if plain or f.parity != "odd":
        made.append(Term(order, of_function(signs, "neither" if factors else f.parity)))
    return made


def _position_of(gaussian: Gaussian) -> tuple[int, tuple[int, int]]:
    return gaussian.matrix, gaussian.axes


def _grown(f: Function, top: Fraction) -> Fraction:
    if f.growth is None:
        return math.inf  # type: ignore[return-value]
    return f.growth * top if f.growth else ZERO


def _taylor(f: Function, x: Terms) -> list[Term]:
    """Expand f of a small argument: c_0 + c_1 x + c_2 x^2 + ..., up to one order below the first term."""
    assert f.taylor is not None
    made: list[Term] = []
    power: tuple[Term, ...] = (Term(ZERO),)
    for nonzero in f.taylor:
        if nonzero:
            made += power
        power = tidy(products(power, x), 1)
    if f.parity == "odd" and all(term.gaussian is not None and term.parity == EVEN for term in x):
        return [term for term in made if term.gaussian is not None]  # odd moments vanish
    return made


def _slope_times(chain: Chain, lead: Terms, rest: Terms, wide: int) -> list[Term]:
    """Return `f'(leading) * rest`; at a jump, the fraction of entries that cross it."""
    f, top = chain[0], lead[0].order
    if f.jumps:
        few = tuple(term for term in rest if exceeds(top, term.mean_order))
        return crossings(f, lead, few, top, f.degree or ZERO)
    return products(_slope(chain, lead, wide), rest)


def _slope(chain: Chain, x: Terms, wide: int) -> Terms:
    """Return the terms of f'(x). Where no derivative is listed (softmax, several arguments): bounded, without symmetry."""
    if len(chain) > 1:
        return value_terms(chain[1:], x, wide)
    top = leading_order(x)
    degree = chain[0].degree
    order = (degree - 1) * top if degree is not None and top is not None else ZERO
    return (Term(order, of_function(hull_of(x), "neither") if x else EVEN),)


def crossings(f: Function, x: Terms, changes: Terms, top: Fraction, degree: Fraction) -> list[Term]:
    """List the effects of small changes of x at jumps and kinks of f. They reach a fraction n^-(top - change) of the entries.

    What breaks is of one symmetry (`Function.breaks`), so that the whole has it in x and its change together. As x is dense
    at the break, the mean is `f'(x) * change` at a jump and `f''(x) * change^2` at a kink. There f' or f'' has delta
    functions of x. What varies within the fraction is smaller by the fraction. Across a random matrix there are, besides,
    independent entries around the mean.
    """
    made: list[Term] = []
    order = degree * top if degree else ZERO
    breaks = f.breaks or f.parity
    if f.jumps:
        sharp = {"odd": "even", "even": "odd", "neither": "neither"}[breaks]
    else:
        sharp = breaks
    random = sorted({term.gaussian for term in x if term.gaussian is not None}, key=_position_of)
    plain = tuple(term for term in x if term.gaussian is None)
    for change in changes:
        fraction = top - change.order
        rarity = largest([change.rarity, fraction])
        if change.gaussian is not None:
            made.append(Term(order, ANY, rarity))
            continue
        power = change.parity if f.jumps else product(change.parity, change.parity)
        both = hull_of((*plain, change))
        mean = product(of_function(hull_of(plain), sharp) if plain else EVEN, power)
        if random:
            made += [Term(order, of_function(both, "neither"), rarity, one) for one in random]
            made.append(Term(order - fraction, mean, change.rarity))
            made.append(Term(order - 2 * fraction, of_function(both, "neither"), change.rarity))
        else:
            made.append(Term(order, mean, rarity))
            made.append(Term(order - fraction, of_function(both, breaks), rarity))
    return made


def change_terms(chain: Chain, base: Terms, change: Terms, total: Terms, wide: int) -> Terms:
    """Return the terms of f(base + change) - f(base).

    A change that is small against the scale of f goes through the slope, and at second order through f''. The parity of f''
    differs: a contraction may see it at the same order. Otherwise nothing is known but the two sizes.
    """
    if not change:
        return ()
    f = chain[0]
    size = leading_order(base)
    scale = largest([size or ZERO, ZERO]) if f.taylor is not None else size
    if scale is None or any(reaches(t.rms_order, scale) for t in change):
        return tidy([*value_terms(chain, total, wide), *value_terms(chain, base, wide)], wide)
    smooth = f.taylor is not None and (
        size is None or exceeds(0, size)
    )  # it is smooth around zero, and all is near zero
    lead = _lead_and_rest(base)[0] if base else ()
    if f.jumps and not smooth:
        return tidy(crossings(f, lead, change, scale, f.degree or ZERO), wide)
    made = products(_slope(chain, base, wide), change)
    if len(chain) > 1 and chain[1].jumps and not smooth:  # a kink: a few entries cross it, by their change
        for term in change:
            few = crossings(f, lead, (term,), scale, ZERO)
            made += [crossed.times(term.order) for crossed in few]
    else:
        made += products(_slope(chain[1:] or chain, base, wide), tuple(products(change, change)))
    return tidy(made, wide)


def products(x: Terms, y: Terms) -> list[Term]:
    """Multiply two sums entry by entry."""
    return [made for a in x for b in y for made in _times(a, b)]


def _times(a: Term, b: Term) -> list[Term]:
    """Multiply entry by entry. The product of a random matrix with itself has a mean, and independent entries around it."""
    plain = Term(a.order + b.order, product(a.parity, b.parity), rarer(a, b))
    if a.gaussian is None and b.gaussian is None:
        return [plain]
    random = {one for one in (a.gaussian, b.gaussian) if one is not None}
    made = [plain._replace(gaussian=one) for one in sorted(random, key=_position_of)]
    return [plain, *made] if a.gaussian is not None and a.gaussian == b.gaussian else made


def several_arguments(f: Function, arguments: tuple[Terms, ...], wide: int) -> Terms:
    """Bound a function of several arguments: as large as f makes the largest, with any combination of their characters."""
    present = [terms for terms in arguments if terms]
    if not present:
        return (Term(ZERO),) if _at_zero(f) else ()
    parity = reduce(product, [of_function(hull_of(_lead_and_rest(terms)[0]), "neither") for terms in present])
    top = largest([order for terms in present if (order := leading_order(terms)) is not None])
    if f.degree is not None:
        return tidy([Term(f.degree * top if f.degree else ZERO, parity)], wide)
    return tidy([Term(_grown(f, top) if exceeds(top, 0) else ZERO, parity)], wide)


Placed = tuple[Terms, Terms, Terms]
"""An argument: its terms in the base, in the change, and in the whole."""


def least_of(arguments: tuple[Placed, ...]) -> Placed:
    """Return base, change and whole of the minimum of nonnegative numbers.

    It is as small as the smallest of them. Where one is the smallest in the base and in the whole, it is that one.
    """
    before, after = (_least([leading_order(argument[part]) for argument in arguments]) for part in (0, 2))
    if before == after and len(before) == 1:
        return arguments[before[0]]
    base = _any_of([arguments[k][0] for k in before])
    whole = _any_of([arguments[k][2] for k in after])
    moved = any(argument[1] for argument in arguments)
    return base, tidy([*base, *whole], 0) if moved else (), whole


def _least(orders: list[Order]) -> list[int]:
    """Find which orders are the smallest; that of a zero, if there is one."""
    zeros = [k for k, order in enumerate(orders) if order is None]
    if zeros:
        return zeros[:1]
    least = smallest([order for order in orders if order is not None])
    return [k for k, order in enumerate(orders) if order is not None and meets(order, least)]


def _any_of(several: list[Terms]) -> Terms:
    """Return the terms of one of several numbers of the same order, whichever it is."""
    if len(several) == 1 or not several[0]:
        return several[0]
    parity = reduce(product, [of_function(hull_of(terms), "neither") for terms in several])
    order = leading_order(several[0])
    assert order is not None
    return (Term(order, parity),)


def larger_than_tiny(argument: Placed, tiny: Terms) -> Placed:
    """Return base, change and whole of max(x, tiny), where the tiny number counts only if x is zero."""
    base, change, whole = argument
    return base or tiny, change if base else whole, whole or tiny
