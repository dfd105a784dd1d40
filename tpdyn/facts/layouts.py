"""Which wide axis of an operand is which axis of the result? One numbering for all values that an instruction reads.

Labels match axes as in einsum (`tpdyn.program.instructions`). The orders need the wide ones only: those of the result, and
those that are summed away.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple, final

from tpdyn.program.instructions import Gather, Operand, Scatter, operands_of
from tpdyn.program.program import Program, Statement


@final
class Layout(NamedTuple):
    """Where the wide axes of operands and result lie in a common numbering: first the result's, then the summed ones.

    operands[k][i]: common number of wide axis i of operand k. summed: (common number, order of the dim).
    wide: number of wide axes of the result.
    """

    operands: tuple[tuple[int, ...], ...]
    summed: tuple[tuple[int, Fraction], ...]
    wide: int


def layouts(program: Program) -> tuple[Layout | None, ...]:
    """Compute the layout of each statement; None if a wide axis meets a finite one. Integer indices are left out."""
    computed = []
    for statement in program.statements:
        instruction = statement.instruction
        operands = operands_of(instruction)
        if isinstance(instruction, Gather | Scatter):
            operands = (instruction.value,)
        computed.append(layout(statement, operands, [program.statements[operand.var] for operand in operands]))
    return tuple(computed)


def layout(statement: Statement, operands: Sequence[Operand], makers: Sequence[Statement]) -> Layout | None:
    """Give each axis of one instruction its number; None if a wide axis meets a finite one.

    Take `h_i = sum_j W_ij x_j`, all wide; i is 0 and j is 1. The operands are (0, 1) and (1,), summed is j.
    """
    rank = len(statement.shape)
    number = {axis: k for k, axis in enumerate(statement.wide_axes)}
    wide = len(number)
    summed: list[tuple[int, Fraction]] = []
    rows = []
    for operand, maker in zip(operands, makers, strict=True):
        row = []
        for axis in maker.wide_axes:
            label = operand.axes[axis]
            if label not in number:
                if label < rank:
                    return None
                number[label] = wide + len(summed)
                order = maker.shape[axis].order
                assert order is not None
                summed.append((number[label], order))
            row.append(number[label])
        rows.append(tuple(row))
    return Layout(tuple(rows), tuple(summed), wide)
