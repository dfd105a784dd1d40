"""What does a value depend on: data, parameters? It does if one of its operands does."""

from __future__ import annotations

from collections.abc import Container

from tpdyn.program.instructions import Leaf, LeafKind, operands_of
from tpdyn.program.program import Program

Answers = tuple[bool, ...]
"""One answer a statement."""


def depends_on(program: Program, kind: LeafKind, behind: Container[int] = ()) -> Answers:
    """Which values depend on leaves of a kind; what is made `behind` a value that stops it does not by way of that value.

    Behind the versions of parameters, what depends on data does so by its inputs. A function of weights alone does not,
    after updates as little as before.
    """
    found: list[bool] = []
    for position, statement in enumerate(program.statements):
        instruction = statement.instruction
        if isinstance(instruction, Leaf):
            found.append(instruction.kind == kind)
        else:
            found.append(position not in behind and any(found[operand.var] for operand in operands_of(instruction)))
    return tuple(found)
