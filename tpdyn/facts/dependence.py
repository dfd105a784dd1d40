"""What does a value depend on: data, parameters? It does if one of its operands does."""

from __future__ import annotations

from collections.abc import Container

from tpdyn.program.instructions import Leaf, LeafKind, operands_of
from tpdyn.program.program import Program

Answers = tuple[bool, ...]
"""One answer a statement."""


def depends_on(program: Program, kind: LeafKind, behind: Container[int] = ()) -> Answers:
    """Mark the values that depend on leaves of a kind. Values in `behind` stop the dependence.

    With the versions of parameters in `behind`, a value depends on data only through its inputs. A function of weights alone
    does not, even after updates.
    """
    depends: list[bool] = []
    for position, statement in enumerate(program.statements):
        instruction = statement.instruction
        if isinstance(instruction, Leaf):
            depends.append(instruction.kind == kind)
        else:
            depends.append(position not in behind and any(depends[operand.var] for operand in operands_of(instruction)))
    return tuple(depends)
