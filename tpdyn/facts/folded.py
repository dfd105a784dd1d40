"""Which multiplier belongs to which value? `h = n^-1/2 W x` is one value, and the bare `W x` of order 1/2 is no activation.

A constant multiplier `c n^p` belongs to the instruction that makes a value. So a value whose every forward use multiplies it
by a power of the width, at once or behind a sum with others, does not count by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from tpdyn.exponents import ZERO
from tpdyn.program.instructions import Combine, Contract, operands_of
from tpdyn.program.program import Program

Use = tuple[Fraction, int | None]
"""A multiplier (its power of the width), and the value that is made, where that is a sum of multiples."""


def folded(program: Program) -> Mapping[int, Fraction]:
    """The multipliers that follow values, also behind a sum: in `n^-1 (W x + b)` it is that of W x and of b.

    Where a value is used with several, the largest: as it is met there, it counts. Read from the end, since what a sum is
    multiplied by is known first.
    """
    found: dict[int, Fraction] = {}
    uses = uses_of(program)
    for position in reversed(range(len(uses))):
        powers = [power + (found.get(made, ZERO) if made is not None else ZERO) for power, made in uses[position]]
        if powers and all(powers):
            found[position] = max(powers)
    return found


def uses_of(program: Program) -> list[list[Use]]:
    """For each value how the forward pass uses it. A product with another value is a use as it is: it has no multiplier."""
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
            case instruction:
                for operand in operands_of(instruction):
                    uses[operand.var].append((ZERO, None))
    return uses


def _as_wide(program: Program, one: int, other: int) -> bool:
    """Whether two values have as many wide dims: then a sum of the one is over finite dims, and no mean over the width."""
    return len(program.statements[one].wide_axes) == len(program.statements[other].wide_axes)
