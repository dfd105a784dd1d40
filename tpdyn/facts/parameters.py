"""Which values of a program are a parameter's? Its versions, what each began as, its gradients, and what stands in for it.

A parameter is held in pieces (one, as a rule). An optimizer step gives each piece that it updates a new version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tpdyn.program.base import later_versions
from tpdyn.program.instructions import Contract, operands_of
from tpdyn.program.program import Program


def owner(program: Program) -> Mapping[int, str]:
    """Map each version of a parameter, the leaf included, to its name."""
    versions = {var: p.name for p in program.parameters for view in p.versions for var in view.pieces}
    return versions | {var: later.parameter.name for var, later in later_versions(program).items()}


def gradient_of(program: Program) -> Mapping[int, str]:
    """Map each gradient, as the script's optimizer receives it, to its parameter."""
    return {var: p.name for p in program.parameters for view in p.gradients if view is not None for var in view.pieces}


def initial_of(program: Program) -> Mapping[int, int]:
    """Map each later version to its piece of the leaf, which the base program reads instead."""
    return {var: later.first for var, later in later_versions(program).items()}


def previous_of(program: Program) -> Mapping[int, int]:
    """Map each later version to the version before its step."""
    return {var: later.previous for var, later in later_versions(program).items()}


def finite_parameters(program: Program) -> frozenset[str]:
    """Name the parameters whose dims do not grow (the bias of an output)."""
    return frozenset(p.name for p in program.parameters if not program.statements[p.versions[0].var].wide_axes)


def stand_ins(program: Program, owner: Mapping[int, str], from_samples: Sequence[bool]) -> Mapping[int, str]:
    """Map functions of one matrix alone, in its shape, to its name: a network may apply `W / sigma(W)` instead of W.

    from_samples: values that depend on an input. Vectors that hold no sample (of a power iteration) do not count.
    """
    made_of: list[frozenset[str]] = []
    found: dict[int, str] = {}
    shapes = {p.name: program.statements[p.versions[0].var].shape for p in program.parameters}
    for position, statement in enumerate(program.statements):
        if position in owner or from_samples[position]:  # what follows from samples is no function of weights
            made_of.append(frozenset({owner[position]} if position in owner else ()))
            continue
        names = frozenset[str]().union(*(made_of[operand.var] for operand in operands_of(statement.instruction)))
        made_of.append(names)
        matrix = statement.origin.phase == "forward" and len(statement.wide_axes) > 1
        if matrix and len(names) == 1 and shapes[name := next(iter(names))] == statement.shape:
            found[position] = name
    return found


def iterated(program: Program, owner: Mapping[int, str], from_samples: Sequence[bool]) -> Mapping[int, int]:
    """Count the products of matrices with vectors that hold no sample, in the first step (power iterations)."""
    counts: Counter[int] = Counter()
    for position, statement in enumerate(program.statements):
        if statement.origin.step == 0 and not from_samples[position] and isinstance(statement.instruction, Contract):
            counts.update(operand.var for operand in statement.instruction.operands if operand.var in owner)
    return counts
