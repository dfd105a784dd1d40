"""How do the linear instructions act on a value and its change? Alike on both; a product by the product rule."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import reduce

from tpdyn.exact.compare import largest
from tpdyn.exponents import ZERO, Order
from tpdyn.facts.layouts import Layout
from tpdyn.program.instructions import Combine
from tpdyn.readings.orders.contraction import contract, placed, total_sum
from tpdyn.readings.orders.parity import ANY, Sources, forget, odd_in, product
from tpdyn.readings.orders.terms import Term, Terms, Value, consistent, scaled, tidy


def sum_of_products(factors: Sequence[Terms], plan: Layout, power: Fraction, sources: Sources) -> Terms:
    """Return the terms of `n^power * sum x y`, or of `n^power * sum x`."""
    if len(factors) == 1:
        return total_sum(factors[0], plan, power, sources)
    return contract(factors[0], factors[1], plan, power, sources)


def contracted(values: Sequence[Value], plan: Layout, power: Order, sources: Sources) -> Value:
    """Read `n^power * sum x y`; nothing where power is None."""
    if power is None:
        return Value((), (), None, plan.wide)
    base = sum_of_products([value.base for value in values], plan, power, sources)
    if len(values) == 1:
        (x,) = values
        whole = sum_of_products([x.whole], plan, power, sources) if x.whole is not None else None
        return Value(base, sum_of_products([x.change], plan, power, sources), whole, plan.wide, x.at_most)
    x, y = values
    change: list[Term] = []
    for pair in ((x.change, y.base), (x.base, y.change), (x.change, y.change)):
        if pair[0] and pair[1]:
            change += sum_of_products(pair, plan, power, sources)
    whole = None
    if x.whole is not None or y.whole is not None:
        whole = sum_of_products((x.total, y.total), plan, power, sources)
    return consistent(Value(base, tidy(change, plan.wide), whole, plan.wide, x.at_most or y.at_most))


def of_an_extreme(values: Sequence[Value], which: int) -> tuple[Value, Value]:
    """Let the k-th largest entry change by as much as entries do. That another entry may be chosen does not count.

    values: the factors of a product that looks it up; which: the index of the one that is ranked.
    """
    x, row = values[which], values[1 - which]
    change = tidy([Term(term.order, ANY) for term in x.change], x.wide)
    pair = (Value(x.base, change, None, x.wide, x.at_most), Value(row.base, (), None, row.wide))
    return pair if which == 0 else pair[::-1]


def combined(combine: Combine, values: Sequence[Value], plan: Layout, epsilon: bool) -> Value:
    """Read a sum with constant coefficients; epsilon: a constant that guards a division counts as written."""
    base: list[Term] = []
    change: list[Term] = []
    whole: list[Term] = []
    keep = any(value.whole is not None for value in values)
    for (scale, _), value, axes in zip(combine.terms, values, plan.operands, strict=True):
        order = scale.order
        if order is None:
            continue
        base += scaled(placed(value.base, axes), order)
        change += scaled(placed(value.change, axes), order)
        if keep:
            whole += scaled(placed(value.total, axes), order)
    if combine.constant.order is not None:
        negligible = combine.epsilon and not epsilon
        constant = Term(combine.constant.order)
        if negligible and change and not base:  # what is guarded is zero at the initialisation, but not later
            base, whole, keep = [constant], whole if keep else list(change), True
        elif not negligible or not (whole if keep else base or change):  # what guards a division by zero counts
            base, whole = [*base, constant], [*whole, constant]
    return Value(
        tidy(base, plan.wide),
        tidy(change, plan.wide),
        tidy(whole, plan.wide) if keep else None,
        plan.wide,
        any(value.at_most for value in values),
    )


def joined(values: Sequence[Value], plan: Layout) -> Value:
    """Read values laid end to end: as large as the largest."""
    parts = list(zip(values, plan.operands, strict=True))
    return Value(
        tidy([term for value, axes in parts for term in placed(value.base, axes)], plan.wide),
        tidy([term for value, axes in parts for term in placed(value.change, axes)], plan.wide),
        tidy([term for value, axes in parts for term in placed(value.total, axes)], plan.wide)
        if any(value.whole is not None for value in values)
        else None,
        plan.wide,
        any(value.at_most for value in values),
    )


def moved(value: Value, plan: Layout, sources: Sources, rarity: Fraction = ZERO) -> Value:
    """Gather, scatter, slice: the same entries elsewhere. An axis that is picked from is not an axis any more.

    rarity: by how much rarer they are there.
    """
    gone = [axis for axis, _ in plan.summed]

    def move(terms: Terms) -> Terms:
        found = []
        for term in placed(terms, plan.operands[0]):
            parity = reduce(forget, gone, term.parity)
            gaussian = term.gaussian
            if gaussian is not None and any(axis in gaussian.axes for axis in gone):
                left = [axis for axis in gaussian.axes if axis not in gone]
                if left:
                    row = sources.leaf(-1 - gaussian.matrix)
                    parity = product(parity, odd_in(row, left[0]))
                gaussian = None
            rare = term.rarity + rarity
            found.append(Term(term.order, parity, largest([rare, ZERO]) if rarity < 0 else rare, gaussian))
        return tidy(found, plan.wide)

    return value.each(move, plan.wide)
