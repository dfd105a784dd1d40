"""In which regime is a program at given exponents, and which value decides it? The definition, without words.

Tensor Programs IV (arXiv 2011.14522), section 3, and IVb (2308.01814): **unstable** when some representation, output or
logit has a positive order. **Trivial** when the output does not change at order 0. **Feature learning** when some hidden
representation does, **kernel** when none does. `predict` puts it into words. On linear forms (`cells`), every comparison
here bounds the cell on which the judgement holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, final

from tpdyn.exact.compare import exceeds, largest, meets
from tpdyn.exponents import Order
from tpdyn.readings.orders.reading import Orders
from tpdyn.regimes.prediction import Regime


@final
@dataclass(frozen=True)
class Judgement:
    """A regime and the orders that decide it.

    position, what, order: if UNSTABLE, the first value that grows, whether in its base ("size") or in its change. moved: the
    order of the output's change. learning: hidden representations that change at order 0. without: the orders with frozen
    parameters of finite size, if these alone move the output (then TRIVIAL).
    """

    regime: Regime
    position: int = -1
    what: Literal["size", "change"] = "change"
    order: Order = None
    moved: Order = None
    learning: tuple[int, ...] = ()
    without: Orders | None = None


def judge(orders: Orders) -> Judgement:
    """Judge the regime at the exponents of a reading.

    A parameter of finite size (the bias of the output) moves the output by the same amount for every input. If nothing else
    moves the output, the program is trivial. This takes a second reading.
    """
    facts = orders.facts
    unstable = first_unstable(orders)
    if unstable is not None:
        position, what, order = unstable
        return Judgement(Regime.UNSTABLE, position, what, order)
    moved = largest_change(orders, facts.outputs)
    if moved is None or exceeds(0, moved):
        return Judgement(Regime.TRIVIAL, moved=moved)
    if facts.finite_parameters:
        given = orders.exponents
        without = orders.again(replace(given, frozen=given.frozen | facts.finite_parameters))
        alone = largest_change(without, facts.outputs)
        if alone is None or exceeds(0, alone):
            return Judgement(Regime.TRIVIAL, moved=alone, without=without)
    learning = tuple(p for p in facts.hidden if (order_ := orders.counted(p).moved) is not None and meets(order_, 0))
    regime = Regime.FEATURE_LEARNING if learning else Regime.KERNEL
    return Judgement(regime, moved=moved, learning=learning)


def largest_change(orders: Orders, positions: Sequence[int]) -> Order:
    """Return the largest order of the changes of some values, as they count; None if nothing changes."""
    changes = [order for position in positions if (order := orders.counted(position).moved) is not None]
    return largest(changes) if changes else None


def first_unstable(orders: Orders) -> tuple[int, Literal["size", "change"], Fraction] | None:
    """Find the first value that counts and has a positive order, and whether at initialisation."""
    for position in orders.facts.counting:
        value = orders.counted(position)
        size, moved = value.size, value.moved
        if size is not None and exceeds(size, 0):
            return position, "size", size
        if moved is not None and exceeds(moved, 0):
            return position, "change", moved
    return None
