"""Could a measured order be that of a part with a larger constant? Each parameter's own part tells.

The order of a change is that of its largest part, whatever the constants. Suppose that some parameters, trained alone,
give a change of a lower order. Then the two parts cross at a width that depends on the ratio C of their constants:
`C^2`, if the orders differ by 1/2. Take one head of attention under SGD at rate 10/n. The logits move the values at
order 0, their own weights at order -1/2. The parts cross at width 4500, so at widths 64 to 512 the slope is -1/2.

So a change that is measured below its order does not contradict it if such a part exists. One above it does. The same holds of
sizes: a layer on small inputs begins with its bias, of order -1/2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from tpdyn.exponents import Order
from tpdyn.facts.facts import Facts
from tpdyn.readings.orders.reading import Exponents, Orders, read
from tpdyn.regimes.prediction import Prediction, Row

MOST = 48
"""So many groups of parameters are trained alone; larger programs train further ones together."""

VANISHING = Fraction(16)
"""Entries smaller by n^-16 are as good as none."""


def alone(prediction: Prediction, row: Row) -> tuple[Order, list[tuple[frozenset[str], Order]]]:
    """Return the order of a row's change, and that of what each group of parameters makes of it alone."""
    facts = Facts.of(prediction.program)
    if row.position >= len(facts.program):  # orders that are stated, of no program
        return None, []
    whole = _read(facts, Exponents()).values[row.position].moved
    names = frozenset(parameter.name for parameter in facts.program.parameters)
    groups = _groups(facts)
    return whole, [
        (group, _read(facts, Exponents(frozen=names - group)).values[row.position].moved) for group in groups
    ]


def slower_change(prediction: Prediction, row: Row) -> Fraction | None:
    """Find the largest order, below that of a row's change, at which some parameters alone change it. None if none does."""
    whole, parts = alone(prediction, row)
    return _largest_below(whole, [order for _, order in parts])


def slower_size(prediction: Prediction, row: Row) -> Fraction | None:
    """Find the largest order of a row's size without some parameters (a bias without the weights), if below its own."""
    facts = Facts.of(prediction.program)
    if row.position >= len(facts.program):
        return None
    whole = _read(facts, Exponents()).values[row.position].size
    without = [Exponents(initial=dict.fromkeys(group, VANISHING)) for group in _groups(facts)]
    sizes = [_read(facts, one).values[row.position].size for one in without]
    return _largest_below(whole, [order for order in sizes if order is not None and order > -VANISHING / 2])


def _largest_below(whole: Order, orders: Sequence[Order]) -> Fraction | None:
    return max((order for order in orders if order is not None and whole is not None and order < whole), default=None)


def _groups(facts: Facts) -> list[frozenset[str]]:
    """Group the parameters: one by one; of many, those of one name in a stack (blocks.0, blocks.1) together."""
    names = [parameter.name for parameter in facts.program.parameters]
    groups: dict[str, set[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"\d+", "*", name) if len(names) > MOST else name, set()).add(name)
    return list(map(frozenset, groups.values()))[:MOST]


def _read(facts: Facts, exponents: Exponents) -> Orders:
    key = ("slower", exponents.frozen, tuple(sorted(exponents.initial.items())))
    orders: Orders = facts.once(key, lambda: read(facts, exponents))
    return orders
