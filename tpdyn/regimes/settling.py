"""From which step on do orders stay as they are? A program is continued step by step until they repeat.

A step reads the parameters and the optimizer's state from the steps before. The end is three steps in a row with the same
orders, statement by statement, updates included. From then on, each step starts as the one before did. So the verdict holds
at all later steps, for any fixed number of them as the width grows. A parameter that starts at zero delays this by a few
steps. So does a learning rate that warms up from zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

from tpdyn.exponents import Order
from tpdyn.program.continued import Continued, continued
from tpdyn.readings.orders.reading import Exponents, Orders, read

FURTHER = (1, 3, 7)
"""The numbers of further steps to read, one after the other, until orders repeat."""

ALIKE = 3
"""So many steps in a row with the same orders are the end."""


@final
@dataclass(frozen=True)
class Settled:
    """Orders of a continued program. step: the first of the steps with equal orders; None if they do not repeat."""

    orders: Orders
    step: int | None


def settled(orders: Orders) -> Settled:
    """Continue the program until its orders repeat.

    If the last two steps differ in kind, the program is not continued. Then the orders are those of the recorded steps.
    """
    longest = orders
    for further in FURTHER:
        longer = continued(orders.program, further)
        if longer is None:
            return Settled(orders, None)
        longest = read(longer.program, carried(orders.exponents, longer), epsilon=orders.epsilon, after=longest)
        step = _first_alike(longest)
        if step is not None:
            return Settled(longest, step)
    return Settled(longest, None)


def carried(exponents: Exponents, longer: Continued) -> Exponents:
    """Let the multipliers of products act in the further steps, too."""
    site = dict(exponents.site)
    site |= {new: site[old] for new, old in longer.copied.items() if old in site}
    return replace(exponents, site=site)


def _first_alike(orders: Orders) -> int | None:
    """Return the first step from which on all orders are equal, if at least `ALIKE` steps are."""
    steps: list[list[tuple[Order, Order]]] = [[] for _ in range(orders.program.steps)]
    for statement, value in zip(orders.program.statements, orders.values, strict=True):
        steps[statement.origin.step].append((value.size, value.moved))
    last = len(steps) - 1
    first = last
    while first and steps[first - 1] == steps[first]:
        first -= 1
    return first if last - first + 1 >= ALIKE else None
