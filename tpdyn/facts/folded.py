"""Which multiplier belongs to which value? `h = n^-1/2 W x` is one value, and the bare `W x` of order 1/2 is not an
activation.

A constant multiplier `c n^p` belongs to the instruction that computes a value. Suppose that every forward use
multiplies a value by a power of the width, at once or after a sum. Then the value does not count by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from tpdyn.exponents import ZERO
from tpdyn.program.instructions import Combine, Contract, operands_of
from tpdyn.program.program import Program

Use = tuple[Fraction, int | None]
"""A multiplier (its power of the width), and the value behind it if that is a sum of multiples."""


def folded(program: Program) -> Mapping[int, Fraction]:
    """Find the multipliers that follow values, also behind a sum. In `n^-1 (W x + b)` it is that of W x and of b.

    If a value is used with several multipliers, the largest counts. The program is read from its end, since the multiplier of a
    sum must be known first.
    """
    multipliers: dict[int, Fraction] = {}
    uses = uses_of(program)
    for position in reversed(range(len(uses))):
        powers = [power + (multipliers.get(at, ZERO) if at is not None else ZERO) for power, at in uses[position]]
        if powers and all(powers):
            multipliers[position] = max(powers)
    return multipliers


def behind(program: Program, multipliers: Mapping[int, Fraction], position: int) -> tuple[int, ...]:
    """Find what a value is once its multipliers have followed, at most one value a use. The value itself without any.

    multipliers: those that follow values (`folded`). A network that returns `W x` for a script to divide by n is that script's.
    """
    if position not in multipliers:
        return (position,)
    uses, ends, waiting = uses_of(program), list[int](), [position]
    while waiting:
        for _, at in uses[waiting.pop()]:
            if at is None or at in ends:
                continue
            if at in multipliers:
                waiting.append(at)
            else:
                ends.append(at)
    return tuple(sorted(ends)) or (position,)


def uses_of(program: Program) -> list[list[Use]]:
    """List the forward uses of each value. A product with another value is a use with multiplier 1."""
    uses: list[list[Use]] = [[] for _ in program.statements]
    for position, statement in enumerate(program.statements):
        if statement.origin.phase != "forward":
            continue
        match statement.instruction:
            case Combine(terms=terms):
                for scale, operand in terms:
                    uses[operand.var].append((scale.order or ZERO, position))
            case Contract(operands=(operand,), scale=scale) if _as_wide(program, operand.var, position):
                uses[operand.var].append((scale.order or ZERO, position))
            case instruction:  # a use without multiplier: then nothing is folded, which is cautious
                for operand in operands_of(instruction):
                    uses[operand.var].append((ZERO, None))
    return uses


def _as_wide(program: Program, one: int, other: int) -> bool:
    """Tell whether two values have equally many wide dims: then summing one runs over finite dims only."""
    return len(program.statements[one].wide_axes) == len(program.statements[other].wide_axes)
