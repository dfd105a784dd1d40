"""What is the base program? The same program, in which later versions of a parameter are read as its first.

So each parameter keeps its initial value in every step, while data and random draws stay those of the step. The theory is
about `change = value - base value`; every reading that knows a base takes it from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from tpdyn.program.program import Parameter, Program, View


@final
@dataclass(frozen=True, slots=True)
class Later:
    """A value that holds a parameter, or a piece of it, after its first `step` optimizer steps (step >= 1)."""

    parameter: Parameter
    step: int
    piece: int

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

    @property
    def previous(self) -> int:
        """The version before."""
        return self.parameter.versions[self.step - 1].pieces[self.piece]


def later_versions(program: Program) -> Mapping[int, Later]:
    """List the values that the base program reads as initial ones, by position.

    A parameter that a step leaves alone keeps its version there.
    """
    versions: dict[int, Later] = {}
    for parameter in program.parameters:
        initial = parameter.versions[0].pieces
        for step, view in enumerate(parameter.versions):
            for piece, var in enumerate(view.pieces):
                if var not in initial:
                    versions.setdefault(var, Later(parameter, step, piece))
    return versions
