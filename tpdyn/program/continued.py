"""How does a program go on after its last recorded step? The steps of a loop are isomorphic: the last one is the step body.

Two steps are laid side by side, the last and the one before. What the last reads from the step before (parameters, moments
of an optimizer) is carried from step to step. A further step reads the counterparts in the last. What both read in common
(a batch that stays, a constant) is read again. Data and random draws of a step are new leaves of the same laws. Constants
of the last step are kept: a schedule is taken as it stands there.

A program whose last two steps differ in kind is not continued. Nor is one of which a note says that it is a beginning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import assert_never, final

from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Eigenvalues,
    Gather,
    Instruction,
    Leaf,
    Operand,
    Scatter,
    Slice,
    Spectral,
    operands_of,
    with_operands,
)
from tpdyn.program.program import Parameter, Program, Statement, View

BEGINNING = "recorded are only the first steps of"
"""So a note begins on an optimizer whose later steps are others."""


@final
@dataclass(frozen=True)
class Continued:
    """A program with further steps. copied: for each of its further values, the value in the last recorded step."""

    program: Program
    copied: Mapping[int, int]


def continued(program: Program, steps: int) -> Continued | None:
    """Continue a program by that many steps; None where its last two steps differ in kind.

    The statements that were recorded keep their positions.
    """
    if program.steps < 2 or steps < 1 or any(note.startswith(BEGINNING) for note in program.notes):
        return None
    last = program.steps - 1
    body = [k for k, s in enumerate(program.statements) if s.origin.step == last]
    before = [
        k for k, s in enumerate(program.statements) if s.origin.step == last - 1 and s.origin.phase != "initialization"
    ]
    if not _contiguous(body, len(program)) or len(body) != len(before):
        return None
    counterpart = dict(zip(before, body, strict=True))
    for one, other in counterpart.items():
        if not _alike(program.statements[one], program.statements[other]):
            return None
    for one, other in counterpart.items():
        if not _reads_alike(program, one, other, counterpart):
            return None
    if not _ends_alike(program, counterpart):
        return None
    return _copies(program, body, counterpart, steps)


def _contiguous(body: list[int], size: int) -> bool:
    return bool(body) and body == list(range(size - len(body), size))


def _alike(one: Statement, other: Statement) -> bool:
    """Tell whether two statements do the same, up to constants of the same order."""
    same = (one.shape, one.type, one.origin.phase) == (other.shape, other.type, other.origin.phase)
    return same and _kind(one.instruction) == _kind(other.instruction)


def _kind(instruction: Instruction) -> object:
    """Strip an instruction of its operands and of the constants that a schedule changes."""
    bare = with_operands(instruction, lambda operand: Operand(0, operand.axes))
    match bare:
        case Leaf(kind=kind, law=law):
            return kind, law.kind, law.location.order, law.scale.order
        case Contract(operands=operands, scale=scale):
            return Contract, operands, scale.order
        case Combine(terms=terms, constant=constant, epsilon=epsilon):
            return Combine, tuple((scale.order, o) for scale, o in terms), constant.order, epsilon
        case Apply(function=function, operands=operands, along=along, parameters=parameters):
            return Apply, function, operands, along, tuple(p.order for p in parameters)
        case Gather() | Scatter() | Slice() | Concat() | Eigenvalues() | Spectral():
            return bare
    assert_never(bare)


def _reads_alike(program: Program, one: int, other: int, counterpart: Mapping[int, int]) -> bool:
    """Tell whether the last step reads the counterparts of what the step before reads. What both read in common counts, too. So
    does what is carried: made in the step before, where that one reads what was made before it."""
    first = min(counterpart)
    reads = (operands_of(program.statements[k].instruction) for k in (one, other))
    for earlier, later in zip(*reads, strict=True):
        within = counterpart.get(earlier.var) == later.var
        common = earlier.var == later.var and earlier.var < first
        carried = later.var in counterpart and earlier.var < first
        if not (within or common or carried):
            return False
    return True


def _ends_alike(program: Program, counterpart: Mapping[int, int]) -> bool:
    """Tell whether parameters after the last step are the counterparts of those after the step before."""
    for parameter in program.parameters:
        earlier, later = parameter.versions[-2], parameter.versions[-1]
        moved = tuple(counterpart.get(var) for var in earlier.pieces)
        if (later.pieces != moved and later.pieces != earlier.pieces) or earlier.layout != later.layout:
            return False
    return True


def _copies(program: Program, body: list[int], counterpart: Mapping[int, int], steps: int) -> Continued:
    statements, marks, arrays = list(program.statements), list(program.marks), dict(program.arrays)
    versions = {p.name: list(p.versions) for p in program.parameters}
    gradients = {p.name: list(p.gradients) for p in program.parameters}
    names = {statement.name for statement in statements}
    copied: dict[int, int] = {}
    last, size = program.steps - 1, len(body)

    def later(var: int, further: int) -> int:
        """Find the counterpart, so many steps later, of a value that the last step reads."""
        if var >= body[0]:
            return var + further * size
        return counterpart[var] + (further - 1) * size if var in counterpart else var

    def view(given: View, further: int) -> View:
        return given.moved(lambda var: later(var, further))

    for further in range(1, steps + 1):
        shift = partial(_shifted, partial(later, further=further))
        for var in body:
            statement = statements[var]
            name = _name(statement.name, last, further, len(statements), names)
            instruction = with_operands(statement.instruction, shift)
            if isinstance(instruction, Leaf):
                if instruction.name in program.arrays:
                    arrays[name] = program.arrays[instruction.name]
                instruction = replace(instruction, name=name)
            copied[len(statements)] = var
            origin = replace(statement.origin, step=last + further)
            statements.append(replace(statement, name=name, instruction=instruction, origin=origin))
        marks += [replace(m, step=last + further, view=view(m.view, further)) for m in program.marks if m.step == last]
        for parameter in program.parameters:
            versions[parameter.name].append(view(parameter.versions[-1], further))
            gradient = parameter.gradients[-1] if parameter.gradients else None
            gradients[parameter.name].append(None if gradient is None else view(gradient, further))
    parameters = tuple(Parameter(p.name, tuple(versions[p.name]), tuple(gradients[p.name])) for p in program.parameters)
    steps += program.steps
    longer = replace(program, statements=tuple(statements), parameters=parameters, marks=tuple(marks), steps=steps)
    return Continued(replace(longer, arrays=arrays), copied)


def _shifted(later: Callable[[int], int], operand: Operand) -> Operand:
    return replace(operand, var=later(operand.var))


def _name(name: str, last: int, further: int, position: int, names: set[str]) -> str:
    """Move a name one step on: the number of the step (or next version) at its end counts up."""
    matched = re.fullmatch(r"(.*[@_])(\d+)(\[\d+\])?", name)
    if matched is not None and int(matched[2]) in (last, last + 1):
        later = f"{matched[1]}{int(matched[2]) + further}{matched[3] or ''}"
        if later not in names:
            names.add(later)
            return later
    fresh = f"v{position}"
    while fresh in names:
        fresh += "'"
    names.add(fresh)
    return fresh
