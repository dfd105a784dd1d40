"""At which width does an epsilon stop being negligible: an optimizer's, or that of a normalisation?

Adam divides by `sqrt(v) + eps`. If gradients vanish as the width grows, so does sqrt(v), and the constant eps wins in the
end. Then the orders with a negligible eps hold up to some width only. The same is true of the variance in a normalisation
layer if its input vanishes. An example is a convolution initialised by its fan out, before a batch norm. The order of
sqrt(v) is exact. Its size at one width is measured while the program is verified (`Program.guarded`). Together they give
that width. The smallest step size of Rprop is such an epsilon, too: a rate of 1/n meets it.
"""

from __future__ import annotations

from fractions import Fraction

from tpdyn.exponents import ZERO, Scaling
from tpdyn.program.instructions import Apply, Combine
from tpdyn.readings.orders.reading import Orders
from tpdyn.readings.orders.terms import leading_order

SHARE = 0.1
"""eps matters from a tenth of the other summand on: an update then changes by a tenth."""


def where_epsilon_matters(orders: Orders) -> dict[str, float]:
    """Compute the width from which the epsilon of each parameter or module matters (the smallest over the steps).

    A width at or below `program.verified` means that it matters already. Parameters whose epsilon never matters are left
    out. Empty for a program that was not verified, since its sizes are unknown.
    """
    facts = orders.facts
    adding = [
        (name, position) for of in (facts.guards, facts.floors) for name, several in of.items() for position in several
    ]
    for position, statement in enumerate(orders.program.statements):
        instruction = statement.instruction
        if statement.origin.phase == "forward" and isinstance(instruction, Combine) and instruction.epsilon:
            adding.append((statement.origin.module or str(statement.origin.source), position))
    widths: dict[str, float] = {}
    for name, position in adding:
        width = _width(orders, position)
        if width is not None:
            widths[name] = min(width, widths.get(name, width))
    return widths


def guard_powers(orders: Orders) -> dict[str, Fraction]:
    """Compute, for each parameter with an eps, the power of the width by which the other summand outgrows it.

    Moved by this power, the eps keeps its proportion at every width. The largest over the steps counts.
    """
    powers: dict[str, Fraction] = {}
    for name, several in orders.facts.guards.items():
        for position in several:
            combine = orders.program.statements[position].instruction
            assert isinstance(combine, Combine)
            guarded, epsilon = _guarded(orders, combine), combine.constant.order
            if guarded and epsilon is not None:
                power = max(guarded) - epsilon
                powers[name] = max(power, powers.get(name, power))
    return powers


def _guarded(orders: Orders, instruction: Combine | Apply) -> list[Fraction]:
    """Return the orders of the summands beside an epsilon, or of what is clamped."""
    terms = (
        instruction.terms if isinstance(instruction, Combine) else [(Scaling.of(1), o) for o in instruction.operands]
    )
    return [
        order + (scale.order or ZERO)
        for scale, operand in terms
        if (order := leading_order(orders.values[operand.var].total)) is not None
    ]


def _width(orders: Orders, position: int) -> float | None:
    program = orders.program
    statement = program.statements[position]
    instruction, width = statement.instruction, program.verified
    size = program.guarded.get(statement.name)
    assert isinstance(instruction, Combine | Apply)
    constant = instruction.constant if isinstance(instruction, Combine) else instruction.parameters[0]
    guarded, epsilon = _guarded(orders, instruction), constant.order
    if not guarded or epsilon is None or width is None or not size or max(guarded) >= epsilon:
        return None
    ratio = SHARE * size / abs(float(constant.at(width)))
    return float(width * ratio ** float(1 / (epsilon - max(guarded))))
