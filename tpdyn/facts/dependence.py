"""What does a value depend on: data, parameters? It does if one of its operands does."""

from __future__ import annotations

from collections.abc import Container

from tpdyn.program.instructions import Leaf, LeafKind, operands_of
from tpdyn.program.program import Program

Answers = tuple[bool, ...]
"""One answer a statement."""


def depends_on(
    program: Program, kind: LeafKind, behind: Container[int] = (), *, samples: bool = False, also: Container[int] = ()
) -> Answers:
    """Mark the values that depend on leaves of a kind. Values in `behind` stop the dependence. also: leaves of any kind.

    samples: leave out leaves all of whose axes are wide. They hold no sample for which to compute something. The vector that
    spectral norm keeps for its power iteration is one.

    With the versions of parameters in `behind`, a value depends on data only through its inputs. A function of weights alone
    does not, even after updates.
    """
    depends: list[bool] = []
    for position, statement in enumerate(program.statements):
        instruction = statement.instruction
        if isinstance(instruction, Leaf):
            vector = samples and 0 < len(statement.shape) == len(statement.wide_axes)
            meant = instruction.kind == kind or position in also
            depends.append(meant and not vector and position not in behind)
        else:
            depends.append(position not in behind and any(depends[operand.var] for operand in operands_of(instruction)))
    return tuple(depends)
