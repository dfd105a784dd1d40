"""Which product computes a value, and which statements read it? A person would change a product, not a relu or a slice."""

from __future__ import annotations

from tpdyn.program.instructions import Apply, Combine, Concat, Leaf, Slice, operands_of
from tpdyn.program.program import Program


def maker(program: Program, position: int) -> int:
    """Find the contraction behind a value: walk through masks, slices, multipliers and padding."""
    while True:
        match program.statements[position].instruction:
            case Apply(operands=operands) as apply if apply.facts.chooses == "masked":
                position = unfilled(program, operands[1].var, operands[2].var)
            case Combine(terms=((_, operand),)):
                position = operand.var
            case Slice(value=value):
                position = value.var
            case Concat(parts=parts) if sum(part is not None for part in parts) == 1:
                position = next(part.var for part in parts if part is not None)
            case _:  # any other instruction computes something new: the walk ends here
                return position


def unfilled(program: Program, one: int, other: int) -> int:
    """Choose the operand of a mask that is computed; the first if both are, or none."""
    return other if isinstance(program.statements[one].instruction, Leaf) else one


def readers(program: Program) -> tuple[tuple[int, ...], ...]:
    """List the statements that read each value, in order."""
    reading: list[list[int]] = [[] for _ in program.statements]
    for position, statement in enumerate(program.statements):
        for var in dict.fromkeys(operand.var for operand in operands_of(statement.instruction)):
            reading[var].append(position)
    return tuple(map(tuple, reading))
