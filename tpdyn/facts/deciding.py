"""Which values decide the verdict? Representations, outputs, and numbers that meet a scale, with multipliers folded.

Tensor Programs IV (arXiv 2011.14522), section 3, asks of activations, logits and outputs that they neither grow nor stand
still. In a recorded program, their dependences and their uses tell which values these are.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Literal

from tpdyn.pointwise import lookup
from tpdyn.program.instructions import Apply, Combine, Contract
from tpdyn.program.program import Program


def computed(program: Program, from_data: Sequence[bool], from_parameters: Sequence[bool]) -> tuple[int, ...]:
    """List what the network computes: forward values that depend on data and on parameters."""
    return tuple(
        position
        for position, statement in enumerate(program.statements)
        if statement.origin.phase == "forward"
        and statement.type == "float"
        and from_data[position]
        and from_parameters[position]
    )


def representations(program: Program, computed: Iterable[int], without: Container[int]) -> tuple[int, ...]:
    """List what the network computes along one wide dim: a vector for each sample, or token.

    without: values before a multiplier, masks, and factors of normalisations, which by themselves say nothing.
    """
    return tuple(
        position
        for position in computed
        if len(program.statements[position].wide_axes) == 1 and position not in without
    )


def masks(program: Program) -> frozenset[int]:
    """Find functions that jump between constants (the slope of a relu, a comparison): they select, and represent nothing."""
    return frozenset(
        position
        for position, statement in enumerate(program.statements)
        if isinstance(statement.instruction, Apply) and lookup(statement.instruction.function).jumps
    )


def scalars(program: Program, from_parameters: Sequence[bool]) -> tuple[tuple[int, int], ...]:
    """Find pairs (value, function): numbers without a wide axis that enter a function with a scale, as logits a softmax.

    Such a function saturates if its argument grows. Inside of homogeneous steps (a sum of squares under a root) a number may
    have any order.
    """
    return tuple(
        (operand.var, position)
        for position, statement in enumerate(program.statements)
        if statement.origin.phase == "forward"
        and isinstance(statement.instruction, Apply)
        and statement.instruction.facts.scale_of_its_own
        for operand in statement.instruction.operands
        if not program.statements[operand.var].wide_axes and from_parameters[operand.var]
    )


def readouts(program: Program, computed: Iterable[int], weights: Container[int]) -> tuple[int, ...]:
    """List the numbers that weights read out of representations. With a bias it is the sum that counts, if that has a name.

    Only some of them are marked as outputs. The second of a pair is not, nor is what a script computes behind a network.
    """
    named = {var for mark in program.marks if mark.kind != "loss" for var in mark.view.pieces}
    numbers = [position for position in computed if not program.statements[position].wide_axes]
    ends: dict[int, int] = {}
    for position in reversed(numbers):
        end = ends.setdefault(position, position)
        if isinstance(program.statements[position].instruction, Combine) and end in named:
            ends |= {var: end for var in program.reads[position] if var not in named}

    def product(position: int) -> bool:
        return isinstance(program.statements[position].instruction, Contract)

    def reads_out(position: int) -> bool:
        wide = [var for var in program.reads[position] if program.statements[var].wide_axes]
        summed = [var for var in wide if len(wide) == 1 and product(var)]  # of a product entry by entry
        return any(var in weights for var in (*wide, *(each for var in summed for each in program.reads[var])))

    return tuple(dict.fromkeys(ends[position] for position in numbers if product(position) and reads_out(position)))


def marked(program: Program, kind: Literal["output", "loss"]) -> tuple[int, ...]:
    """List the values that are marked so, step by step."""
    return tuple(var for mark in program.marks if mark.kind == kind for var in mark.view.pieces)


def outputs(program: Program) -> tuple[int, ...]:
    """List what the network returns, step by step; its losses if outputs are not marked, or are representations."""
    returned, losses = marked(program, "output"), marked(program, "loss")
    wide = any(program.statements[var].wide_axes for var in returned)
    return losses if losses and (wide or not returned) else returned
