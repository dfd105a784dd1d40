"""Is something divided by what is left where constants cancel? Then orders are no bounds, as they keep no values.

The softplus of preactivations that vanish is log 2, but for small parts. A layer norm behind it takes that constant away,
and divides by the spread of the small parts. The reading takes the spread for as large as the constant. So changes in
units of the spread are larger than read. Constants are told by how they are made, up to a factor.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from fractions import Fraction
from math import prod
from typing import NamedTuple

from tpdyn.exponents import ZERO, Scaling
from tpdyn.program.instructions import Apply, Combine, Contract, Gather, Leaf, Slice, operands_of
from tpdyn.readings.orders.reading import Orders

ROUND_OFF = 1e-9
"""Relative to what cancels."""


class Constant(NamedTuple):
    """A number that all entries share, but for smaller parts. It is told by how it is made, a factor, a power of the width."""

    made: Hashable
    factor: float
    power: Fraction


def divided_remainder(orders: Orders) -> int | None:
    """Find the first reciprocal in the forward pass of what is left where constants cancel in the base program."""
    constants: dict[int, Constant] = {}
    left: set[int] = set()
    for position, statement in enumerate(orders.program.statements):
        instruction = statement.instruction
        reads = [operand.var for operand in operands_of(instruction)]
        made: Constant | None = None
        match instruction:
            case Apply(function=function, parameters=parameters) if len(reads) == 1:
                degree = instruction.facts.degree
                if reads[0] not in left:
                    inner = _argument(orders, constants, reads[0], degree)
                    made = None if inner is None else Constant((function, parameters, inner), 1.0, ZERO)
                elif degree is not None and degree < 0 and statement.origin.phase == "forward":
                    return position
                elif degree is not None:
                    left.add(position)
            case Combine():
                made = _sum(orders, constants, instruction)
                if made is None and _is_left(orders, constants, left, instruction):
                    left.add(position)
            case Contract():
                if any(read in left for read in reads):
                    left.add(position)
                elif instruction.scale.terms and all(read in constants for read in reads):
                    made = _product(orders, position, instruction, [constants[read] for read in reads])
            case Leaf(law=law) if law.kind == "constant" and len(law.location.terms) == 1:
                made = Constant(None, *_single(law.location))
            case Slice() | Gather():
                made = constants.get(reads[0])
                if reads[0] in left:
                    left.add(position)
            case _:  # of what else it is made no constant comes
                pass
        if made is not None:
            constants[position] = made
    return None


def _single(scaling: Scaling) -> tuple[float, Fraction]:
    """Return the leading term."""
    factor, power = scaling.terms[0]
    return float(factor), power


def _argument(orders: Orders, constants: dict[int, Constant], read: int, degree: Fraction | None) -> Hashable | None:
    """Say of what a function is constant: of a constant of order 0, or of what vanishes. None if it is not."""
    constant, size = constants.get(read), orders.values[read].size
    if constant is not None and constant.power == 0:
        return constant.made, constant.factor
    return "nothing" if degree is None and size is not None and size < 0 else None


def _leading(orders: Orders, combine: Combine) -> tuple[Fraction, list[tuple[int | None, float]]] | None:
    """Return the order of the largest parts of a sum, and these parts with their factors (None: its constant)."""
    parts: list[tuple[Fraction, int | None, float]] = []
    for scale, operand in combine.terms:
        size = orders.values[operand.var].size
        if size is not None and scale.terms:
            factor, power = _single(scale)
            parts.append((size + power, operand.var, factor))
    if combine.constant.terms and not combine.epsilon:
        factor, power = _single(combine.constant)
        parts.append((power, None, factor))
    if not parts:
        return None
    top = max(power for power, _, _ in parts)
    return top, [(var, factor) for power, var, factor in parts if power == top]


def _totals(
    constants: dict[int, Constant], leading: Sequence[tuple[int | None, float]]
) -> dict[Hashable, float] | None:
    """Add up the leading parts, by how they are made; None if one of them is no constant."""
    parts: dict[Hashable, list[float]] = defaultdict(list)
    for var, factor in leading:
        if var is not None and var not in constants:
            return None
        constant = Constant(None, 1.0, ZERO) if var is None else constants[var]
        parts[constant.made].append(factor * constant.factor)
    sums = {made: sum(each) for made, each in parts.items()}
    return {made: total for made, total in sums.items() if abs(total) > ROUND_OFF * sum(map(abs, parts[made]))}


def _sum(orders: Orders, constants: dict[int, Constant], combine: Combine) -> Constant | None:
    found = _leading(orders, combine)
    totals = None if found is None else _totals(constants, found[1])
    if found is None or not totals:
        return None
    if len(totals) == 1:
        ((made, factor),) = totals.items()
        return Constant(made, factor, found[0])
    return Constant(frozenset(totals.items()), 1.0, found[0])


def _is_left(orders: Orders, constants: dict[int, Constant], left: set[int], combine: Combine) -> bool:
    """Tell whether all of the leading part of a sum cancels, or is itself what was left elsewhere."""
    found = _leading(orders, combine)
    if found is None:
        return False
    return any(var in left for var, _ in found[1]) or _totals(constants, found[1]) == {}


def _product(orders: Orders, position: int, contract: Contract, factors: Sequence[Constant]) -> Constant:
    """Multiply constants, and sum over the dims that the product does not have."""
    statements = orders.program.statements
    summed = {
        label: dim
        for operand in contract.operands
        for label, dim in zip(operand.axes, statements[operand.var].shape, strict=True)
        if label >= len(statements[position].shape)
    }
    sizes = [_single(each) for each in (contract.scale, *summed.values())]
    mades = sorted((constant.made for constant in factors if constant.made is not None), key=repr)
    return Constant(
        mades[0] if len(mades) == 1 else tuple(mades) or None,
        prod([constant.factor for constant in factors] + [factor for factor, _ in sizes]),
        sum([constant.power for constant in factors] + [power for _, power in sizes], ZERO),
    )
