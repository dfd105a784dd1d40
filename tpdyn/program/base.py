"""What is the base program? The same program, in which later versions of a parameter are read as its first.

So each parameter keeps its initial value in every step, while data and random draws stay those of the step. The theory is
about `change = value - base value`; every reading that knows a base takes it from here.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import final

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Combine, Leaf
from tpdyn.program.program import Parameter, Program, View


@final
@dataclass(frozen=True, slots=True)
class Later:
    """A value that holds a parameter, or a piece of it, after its first `step` optimizer steps (step >= 1).

    previous: what it held before. Within a step it may hold several values (`_between`).
    """

    parameter: Parameter
    step: int
    piece: int
    previous: int

    @property
    def view(self) -> View:
        """How the parameter lies in the program after these steps."""
        return self.parameter.versions[self.step]

    @property
    def initial(self) -> View:
        """How it lay there at first."""
        return self.parameter.versions[0]

    @property
    def first(self) -> int:
        """The leaf that the base program reads instead of the value, where both lie in the program alike."""
        return self.initial.pieces[self.piece]


def later_versions(program: Program) -> Mapping[int, Later]:
    """List the values that the base program reads as initial ones, by position.

    A parameter that a step leaves alone keeps its version there.
    """
    versions: dict[int, Later] = {}
    applied = frozenset(
        var
        for reads, s in zip(program.reads, program.statements, strict=True)
        if s.origin.phase == "forward"
        for var in reads
    )
    for parameter in program.parameters:
        initial = parameter.versions[0].pieces
        for step, view in enumerate(parameter.versions):
            for piece, var in enumerate(view.pieces):
                if var in initial or var in versions:
                    continue
                previous = parameter.versions[step - 1].pieces[piece]
                for value in _between(program, previous, var, applied):
                    versions.setdefault(value, Later(parameter, step, piece, previous))
                    previous = value
                versions[var] = Later(parameter, step, piece, previous)
    return versions


def _between(program: Program, previous: int, var: int, applied: Container[int]) -> list[int]:
    """List what a parameter holds between two versions, if a forward pass applies it.

    A critic takes several steps for one of the generator's, which are counted. Its weights are clipped behind its own step. A layer
    is drawn anew. What is taken back before the step ends (a perturbation) is no value of the parameter.
    """
    statements, shape = program.statements, program.statements[var].shape
    seen, waiting = {var}, [var]
    while waiting:
        for read in program.reads[waiting.pop()]:
            statement = statements[read]
            outside = statement.origin.phase in ("optimizer", "data") or isinstance(statement.instruction, Leaf)
            if read > previous and read not in seen and outside and statement.shape == shape:
                seen.add(read)
                waiting.append(read)
    held = {previous}
    for each in sorted(seen):
        anew = previous not in applied and each in applied and each != var
        if anew or held.intersection(program.reads[each]):
            held.add(each)
    inside = sorted(held - {previous})
    return [
        each
        for each in inside
        if each in applied and each != var and not any(_takes_back(program, later, each, previous) for later in inside)
    ]


def _takes_back(program: Program, later: int, value: int, previous: int) -> bool:
    """Tell whether a sum takes a value and subtracts what that one adds to the one before."""
    added, parts = _coefficients(program, value), _coefficients(program, later)
    return value in parts and any(
        var != previous and parts.get(var) == Scaling.of(-1) * parts[value] * added[var] for var in added
    )


def _coefficients(program: Program, position: int) -> Mapping[int, Scaling]:
    """Return the coefficients of a sum's operands; nothing for any other statement."""
    combine = program.statements[position].instruction
    return {operand.var: scale for scale, operand in combine.terms} if isinstance(combine, Combine) else {}
