"""How is a program read? One loop for every reading: environment in, one value a statement, errors in rings.

A reading gives a rule: (instruction, operand values, statement) -> value. The loop looks the operands up, calls the
rule, tells the listener, and wraps what goes wrong with the statement and its source line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tpdyn.program.check import ring
from tpdyn.program.errors import ReadingError
from tpdyn.program.instructions import operands_of
from tpdyn.program.program import Program, Statement

V = TypeVar("V")

Rule = Callable[[int, Statement, tuple[V, ...]], V]
Listener = Callable[[int, Statement, V], None]


def interpret(program: Program, rule: Rule[V], listener: Listener[V] | None = None) -> list[V]:
    """The value of each statement, in order.

    Raises what the rule raises: a `ReadingError` is shown in rings (problem / instruction / source line / neighbours).
    """
    values: list[V] = []
    for position, statement in enumerate(program.statements):
        operands = tuple(values[operand.var] for operand in operands_of(statement.instruction))
        try:
            value = rule(position, statement, operands)
        except ReadingError as error:
            raise type(error)(ring(program, position, str(error))) from error
        values.append(value)
        if listener is not None:
            listener(position, statement, value)
    return values
