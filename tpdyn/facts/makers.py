"""Which product made a value, and who reads it? A relu, a slice or a multiplier is not what a person would change."""

from __future__ import annotations

from tpdyn.program.instructions import Apply, Combine, Concat, Slice, operands_of
from tpdyn.program.program import Program, Source


def maker(program: Program, position: int) -> int:
    """The contraction behind a value: masks, slices, multipliers and padding are walked through."""
    while True:
        match program.statements[position].instruction:
            case Apply(operands=operands) as apply if apply.facts.chooses == "masked":
                position = operands[1].var
            case Combine(terms=((_, operand),)):
                position = operand.var
            case Slice(value=value):
                position = value.var
            case Concat(parts=parts) if sum(part is not None for part in parts) == 1:
                position = next(part.var for part in parts if part is not None)
            case _:  # whatever else there is makes something new: the walk ends with it
                return position


def source_of(program: Program, position: int) -> Source:
    """The user's source line of a statement."""
    return program.statements[position].origin.source


def readers(program: Program) -> tuple[tuple[int, ...], ...]:
    """For each value the statements that read it, in order."""
    found: list[list[int]] = [[] for _ in program.statements]
    for position, statement in enumerate(program.statements):
        for var in dict.fromkeys(operand.var for operand in operands_of(statement.instruction)):
            found[var].append(position)
    return tuple(map(tuple, found))
