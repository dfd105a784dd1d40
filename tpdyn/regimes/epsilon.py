"""At which width does an epsilon stop being negligible: an optimizer's, or that of a normalisation?

Adam divides by `sqrt(v) + eps`. Where gradients vanish as the width grows, sqrt(v) does too, and eps, which does not, wins
in the end: the orders read with eps negligible hold up to some width only. The same is true of the variance in a
normalisation layer whose input vanishes (a convolution initialised by its fan out, before a batch norm). The order of
sqrt(v) is exact; its size at one width is measured while the program is verified (`Program.guarded`); together they give
that width.
"""

from __future__ import annotations

from fractions import Fraction

from tpdyn.exponents import ZERO
from tpdyn.program.instructions import Combine
from tpdyn.readings.orders.reading import Orders
from tpdyn.readings.orders.terms import leading_order

SHARE = 0.1
"""eps "starts to matter" where it is a tenth of what it is added to: an update then changes by a tenth."""


def where_epsilon_matters(orders: Orders) -> dict[str, float]:
    """For each parameter or module whose epsilon will matter, the width from which it does (the smallest over the steps).

    A width at or below `program.verified` means that it matters already. Parameters for which it never does are left out;
    empty for a program that was not verified (then no size is known).
    """
    adding = [(name, position) for name, several in orders.facts.guards.items() for position in several]
    for position, statement in enumerate(orders.program.statements):
        instruction = statement.instruction
        if statement.origin.phase == "forward" and isinstance(instruction, Combine) and instruction.epsilon:
            adding.append((statement.origin.module or str(statement.origin.source), position))
    found: dict[str, float] = {}
    for name, position in adding:
        width = _width(orders, position)
        if width is not None:
            found[name] = min(width, found.get(name, width))
    return found


def guard_powers(orders: Orders) -> dict[str, Fraction]:
    """For each parameter with an eps: the power of the width by which what the eps is added to outgrows the eps.

    Moved by this power, the eps keeps its proportion at every width. The largest over the steps.
    """
    found: dict[str, Fraction] = {}
    for name, several in orders.facts.guards.items():
        for position in several:
            combine = orders.program.statements[position].instruction
            assert isinstance(combine, Combine)
            guarded, epsilon = _guarded(orders, combine), combine.constant.order
            if guarded and epsilon is not None:
                power = max(guarded) - epsilon
                found[name] = max(power, found.get(name, power))
    return found


def _guarded(orders: Orders, combine: Combine) -> list[Fraction]:
    """The orders of what an epsilon is added to."""
    return [
        order + (scale.order or ZERO)
        for scale, place in combine.terms
        if (order := leading_order(orders.values[place.var].total)) is not None
    ]


def _width(orders: Orders, position: int) -> float | None:
    program = orders.program
    statement = program.statements[position]
    combine, width = statement.instruction, program.verified
    size = program.guarded.get(statement.name)
    assert isinstance(combine, Combine)
    guarded = _guarded(orders, combine)
    epsilon = combine.constant.order
    if not guarded or epsilon is None or width is None or not size or max(guarded) >= epsilon:
        return None
    ratio = SHARE * size / abs(float(combine.constant.at(width)))
    return float(width * ratio ** float(1 / (epsilon - max(guarded))))
