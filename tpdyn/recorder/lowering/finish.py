"""Which statements does a lowered program keep, and in which order?

Linear combinations of an optimizer step are joined. So a new parameter is one Combine: the old one, times its coefficient,
plus the update. Statements that neither parameters, gradients nor marks need are dropped. Parameter leaves go first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import (
    Combine,
    Leaf,
    Operand,
    operands_of,
    with_operands,
)
from tpdyn.recorder.lowered import Leaves, Lowered, LoweredStatement, Reshape


def reads(statement: LoweredStatement) -> list[int]:
    """Return the positions that a statement reads."""
    instruction = statement.instruction
    if isinstance(instruction, Reshape):
        return [instruction.value]
    return [operand.var for operand in operands_of(instruction)]


def roots(lowered: Lowered) -> set[int]:
    """Return the positions that have a name."""
    wanted = {mark.var for mark in lowered.marks}
    for parameter in lowered.parameters:
        wanted.update(parameter.versions)
        wanted.update(position for position in parameter.gradients if position is not None)
    return wanted


def needed(lowered: Lowered) -> list[bool]:
    """Find which statements a name depends on."""
    keep = [False] * len(lowered.statements)
    for position in roots(lowered):
        keep[position] = True
    for position in range(len(keep) - 1, -1, -1):
        if keep[position]:
            for read in reads(lowered.statements[position]):
                keep[read] = True
    return keep


def join_combines(lowered: Lowered) -> None:
    """Put a Combine of an optimizer step into the only Combine of that step that reads it.

    What an optimizer carries on (a momentum) stays by itself, in the last step, too. No later step reads it there.
    """
    keep, named = needed(lowered), roots(lowered)
    statements = lowered.statements
    uses = Counter(read for position, statement in enumerate(statements) if keep[position] for read in reads(statement))
    _as_in_the_step_before(uses, keep, statements)
    for position, statement in enumerate(statements):
        combine = statement.instruction
        if not keep[position] or not isinstance(combine, Combine) or statement.origin.phase != "optimizer":
            continue
        terms: list[tuple[Scaling, Operand]] = []
        constant, rank = combine.constant, len(statement.shape)
        fresh = max([rank - 1, *(label for _, operand in combine.terms for label in operand.axes)]) + 1
        for scale, operand in combine.terms:
            inner = statements[operand.var]
            if (
                uses[operand.var] != 1
                or operand.var in named
                or not isinstance(inner.instruction, Combine)
                or inner.instruction.epsilon
                or inner.origin.phase != "optimizer"
            ):
                terms.append((scale, operand))
                continue
            constant = constant + scale * inner.instruction.constant
            for inner_scale, read in inner.instruction.terms:
                axes = []
                for label in read.axes:
                    if label < len(inner.shape):
                        axes.append(operand.axes[label])
                    else:
                        axes.append(fresh)
                        fresh += 1
                terms.append((scale * inner_scale, Operand(read.var, tuple(axes))))
        statements[position] = replace(statement, instruction=Combine(tuple(terms), constant, combine.epsilon))


def _as_in_the_step_before(uses: Counter[int], keep: list[bool], statements: list[LoweredStatement]) -> None:
    """Count reads in the last step as in the one before, if both make the same statements."""
    last = max((statement.origin.step for statement in statements), default=0)
    before, own = (
        [k for k, s in enumerate(statements) if keep[k] and s.origin.phase == "optimizer" and s.origin.step == step]
        for step in (last - 1, last)
    )
    if len(before) == len(own):
        for earlier, later in zip(before, own, strict=True):
            uses[later] = max(uses[later], uses[earlier])


def tidy(lowered: Lowered) -> None:
    """Drop what is not needed, put parameter leaves first, renumber."""
    keep = needed(lowered)
    statements = lowered.statements

    def is_parameter(position: int) -> bool:
        instruction = statements[position].instruction
        return isinstance(instruction, Leaf) and instruction.kind == "parameter"

    kept = [position for position in range(len(statements)) if keep[position]]
    order = [p for p in kept if is_parameter(p)] + [p for p in kept if not is_parameter(p)]
    new = {old: position for position, old in enumerate(order)}
    lowered.statements = [_renumbered(statements[old], new.__getitem__) for old in order]
    for parameter in lowered.parameters:
        parameter.versions = [new[p] for p in parameter.versions]
        parameter.gradients = [None if p is None else new[p] for p in parameter.gradients]
    lowered.marks = [replace(mark, var=new[mark.var]) for mark in lowered.marks]
    lowered.leaf_values = Leaves((new[p], value) for p, value in lowered.leaf_values.items() if p in new)
    lowered.live = {new[p]: value for p, value in lowered.live.items() if p in new}


def _renumbered(statement: LoweredStatement, new: Callable[[int], int]) -> LoweredStatement:
    instruction = statement.instruction
    if isinstance(instruction, Leaf):
        return statement
    if isinstance(instruction, Reshape):
        return replace(statement, instruction=Reshape(new(instruction.value)))
    moved = with_operands(instruction, lambda operand: Operand(new(operand.var), operand.axes))
    return replace(statement, instruction=moved)
