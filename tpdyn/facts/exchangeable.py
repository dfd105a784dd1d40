"""Which numbers belong to things that are alike in law? Logits of a router, say, whose experts are drawn alike.

What is common to all of them does not count behind a softmax: its gradient is what they differ by. Where only the entries of
initial weights tell them apart, they differ by little. In the limit they stay alike, until something else tells them apart.
So orders of changes of such logits are upper bounds: signs, by which terms cancel, are not kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tpdyn.program.dims import Axis, Space
from tpdyn.program.instructions import Apply, Concat, Gather, Leaf, Scatter, Slice, operands_of
from tpdyn.program.program import Program

ALIKE = frozenset({"normal", "uniform", "iid", "zero", "constant"})
"""Laws under which entries may change places."""


def exchangeable(program: Program, spaces: Mapping[Axis, Space]) -> frozenset[Space]:
    """Find the spaces of fixed size whose entries may change places: parameters drawn alike have them, and nothing else does."""
    told_apart = set(_told_apart(program, spaces))
    return frozenset(
        space for space in spaces.values() if not space.is_wide and space.size.constant > 1 and space not in told_apart
    )


def _told_apart(program: Program, spaces: Mapping[Axis, Space]) -> Iterator[Space]:
    for position, statement in enumerate(program.statements):
        instruction = statement.instruction
        if isinstance(instruction, Leaf):
            if instruction.kind != "parameter" or instruction.law.kind not in ALIKE:
                yield from (spaces[position, number] for number in range(len(statement.shape)))
        elif isinstance(instruction, Slice | Concat | Gather | Scatter):
            for operand in operands_of(instruction):
                yield from (spaces[operand.var, n] for n, label in enumerate(operand.axes) if label == instruction.axis)
            if instruction.axis < len(statement.shape):
                yield spaces[position, instruction.axis]


def logits(program: Program, spaces: Mapping[Axis, Space]) -> frozenset[int]:
    """Find what a softmax along such a space reads."""
    alike, found = exchangeable(program, spaces), set[int]()
    for position, statement in enumerate(program.statements):
        instruction = statement.instruction
        if isinstance(instruction, Apply) and instruction.along is not None:
            if spaces[position, instruction.along] in alike:
                found.update(operand.var for operand in instruction.operands)
    return frozenset(found)
