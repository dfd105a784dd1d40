"""From which step on do orders stay as they are? A program is continued step by step until they repeat.

What a step reads of the steps before are parameters and the state of an optimizer. Three steps in a row with the same orders,
statement by statement, updates included, are taken as the end: from then on each step starts as the one before did. So the
verdict holds for all later steps, at any fixed number of them as the width grows. A parameter that starts at zero, or a
learning rate that warms up from zero, delays this by a few steps each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from tpdyn.program.continued import continued
from tpdyn.readings.orders.reading import Orders, read
from tpdyn.readings.orders.terms import Value

FURTHER = (1, 3, 7)
"""How many further steps are read, one number after the other, until orders repeat."""

ALIKE = 3
"""Steps in a row with the same orders that are taken as the end."""


@final
@dataclass(frozen=True)
class Settled:
    """Orders of a program that goes on. step: the first of the steps that are alike; None where none is known to be."""

    orders: Orders
    step: int | None


def settled(orders: Orders) -> Settled:
    """The orders of the program continued until they repeat.

    A program whose last two steps differ in kind is not continued: its orders are those of the recorded steps.
    """
    longest = orders
    for further in FURTHER:
        longer = continued(orders.program, further)
        if longer is None:
            return Settled(orders, None)
        exponents = orders.exponents
        place = dict(exponents.place)
        place |= {new: place[old] for new, old in longer.copied.items() if old in place}
        longest = read(longer.program, replace(exponents, place=place), epsilon=orders.epsilon)
        step = _first_alike(longest)
        if step is not None:
            return Settled(longest, step)
    return Settled(longest, None)


def _first_alike(orders: Orders) -> int | None:
    """The first step from which on all are alike, if these are enough."""
    values: list[list[Value]] = [[] for _ in range(orders.program.steps)]
    for statement, value in zip(orders.program.statements, orders.values, strict=True):
        values[statement.origin.step].append(value)
    last = len(values) - 1
    first = last
    while first and _alike(values[first - 1], values[first]):
        first -= 1
    return first if last - first + 1 >= ALIKE else None


def _alike(one: Sequence[Value], other: Sequence[Value]) -> bool:
    return len(one) == len(other) and all(map(_same, one, other))


def _same(one: Value, other: Value) -> bool:
    return one.size == other.size and one.moved == other.moved
