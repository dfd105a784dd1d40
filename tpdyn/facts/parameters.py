"""Which values of a program are a parameter's? Its versions, what each began as, its gradients, and what is made of it.

A parameter is held in pieces (one, as a rule). An optimizer step gives each piece that it updates a new version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence

from tpdyn.program.base import later_versions
from tpdyn.program.instructions import Combine, Contract
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


def raw_updates(program: Program, sums: Container[int]) -> Mapping[int, int]:
    """Map `W - lr g` to the version that a step makes of it: projected, clipped or shrunk.

    sums: versions of which it is known what they add. A sum with the version before needs nothing else, either.
    """
    later, found = later_versions(program), dict[int, int]()
    for var, version in later.items():
        if var in sums or _adds_to(program, var, version.previous):
            continue
        waiting, seen = [var], {var}
        while waiting:
            for read in program.reads[waiting.pop()]:
                inside = program.statements[read].origin.phase == "optimizer" and read > version.previous
                if inside and read not in seen and read not in later:
                    seen.add(read)
                    waiting.append(read)
        raw = [each for each in seen if each != var and _adds_to(program, each, version.previous)]
        if raw:  # a gradient with weight decay is such a sum, too, but comes before
            found[max(raw)] = var
    return found


def _adds_to(program: Program, position: int, previous: int) -> bool:
    """Tell whether a statement is a sum of a version and something else."""
    combine = program.statements[position].instruction
    return isinstance(combine, Combine) and previous in {operand.var for _, operand in combine.terms}


def finite_parameters(program: Program) -> frozenset[str]:
    """Name the parameters whose dims do not grow (the bias of an output)."""
    return frozenset(p.name for p in program.parameters if not program.statements[p.versions[0].var].wide_axes)


def made_of(
    program: Program, owner: Mapping[int, str], from_parameters: Sequence[bool], used: Container[int]
) -> Mapping[int, frozenset[str]]:
    """Map what is made of parameters alone to their names: a network may apply `W / sigma(W)`, `W + B A` or `g v / |v|`.

    A mixture of matrices is one to apply, too, as that of an expert. Its few coefficients may depend on samples.
    used: what the network computes of its input.
    """
    found = {var: frozenset({name}) for var, name in owner.items()}
    for position, statement in enumerate(program.statements):
        if position in owner or statement.origin.phase != "forward" or not from_parameters[position]:
            continue
        reads = program.reads[position]
        if position in used:
            wide = [var for var in reads if program.statements[var].wide_axes]
            matrix = any(len(program.statements[var].wide_axes) > 1 for var in wide)
            if len(statement.wide_axes) < 2 or not matrix or not all(var in found for var in wide):
                continue
        found[position] = frozenset[str]().union(*(found.get(var, ()) for var in reads))
    return found


def iterated(program: Program, owner: Mapping[int, str], from_samples: Sequence[bool]) -> Mapping[int, int]:
    """Count the products of matrices with vectors that hold no sample, in the first step (power iterations)."""
    counts: Counter[int] = Counter()
    for position, statement in enumerate(program.statements):
        if statement.origin.step == 0 and not from_samples[position] and isinstance(statement.instruction, Contract):
            counts.update(operand.var for operand in statement.instruction.operands if operand.var in owner)
    return counts
