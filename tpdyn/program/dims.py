"""Which dim of a script is which space, wide or finite, and why? Axes that meet are one space.

Two axes are the same space where an instruction identifies them: the two sides of a sum, the rows of a product and of its
factor. A space is wide if its size depends on the width in the recordings. Whoever reads the table sees at once whether the
head's size was taken for a width, or the batch for a constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Concat, Gather, Leaf, Scatter, Slice, operands_of

if TYPE_CHECKING:
    from tpdyn.program.program import Program, View

Axis = tuple[int, int]
"""(position of a statement, number of its axis)"""


@final
@dataclass(frozen=True, slots=True)
class Space:
    """One space of a program.

    size: as a function of the width. recorded: its size at each recorded width. parameters: the dims of parameters that
    are this space (or hold it as a factor), as "name:dim". data: likewise of data and other leaves.
    """

    size: Scaling
    recorded: tuple[int, ...]
    parameters: tuple[str, ...]
    data: tuple[str, ...]

    @property
    def is_wide(self) -> bool:
        """Whether it grows with the width."""
        return self.size.is_wide

    @property
    def why(self) -> str:
        """What the recordings say of it."""
        sizes = ", ".join(map(str, self.recorded))
        if not self.recorded:
            return "one recording only"
        return f"{sizes} at the recorded widths" if self.is_wide else f"{self.recorded[0]} at every recorded width"


def spaces(program: Program) -> tuple[Space, ...]:
    """The spaces of the program's leaves: wide ones first, each in the order in which it is met."""
    parents: dict[Axis, Axis] = {}

    def root(axis: Axis) -> Axis:
        while parents.setdefault(axis, axis) != axis:
            parents[axis] = parents[parents[axis]]
            axis = parents[axis]
        return axis

    for position, statement in enumerate(program.statements):
        instruction = statement.instruction
        cut = instruction.axis if isinstance(instruction, (Slice, Concat, Gather, Scatter)) else None
        by_label: dict[int, Axis] = {}
        for label in range(len(statement.shape)):
            if label != cut or isinstance(instruction, Gather):
                by_label[label] = (position, label)
        for operand in operands_of(instruction):
            for number, label in enumerate(operand.axes):
                if label == cut:
                    continue
                here = (operand.var, number)
                parents[root(here)] = root(by_label.setdefault(label, here))
    for parameter in program.parameters:  # a later version is the same tensor
        for view in parameter.versions[1:]:
            for first, later in zip(parameter.versions[0].pieces, view.pieces, strict=True):
                for number in range(len(program.statements[first].shape)):
                    parents[root((later, number))] = root((first, number))
    named: dict[Axis, tuple[list[str], list[str]]] = {}
    views: dict[int, tuple[str, View | None]] = {}
    for parameter in program.parameters:
        for piece in parameter.versions[0].pieces:
            views[piece] = (parameter.name, parameter.versions[0])
    for position, statement in enumerate(program.statements):
        if not isinstance(statement.instruction, Leaf):
            continue
        name, layout = views.get(position, (statement.name, None))
        for number in range(len(statement.shape)):
            dim = number if layout is None else next(k for k, axes in enumerate(layout.dims) if number in axes)
            which = named.setdefault(root((position, number)), ([], []))[0 if layout is not None else 1]
            word = f"{name}:{dim}"
            if word not in which:
                which.append(word)
    found = []
    for (position, number), (parameters, data) in named.items():
        size = program.statements[position].shape[number]
        recorded = tuple(size.size_at(width) for width in program.widths)
        found.append(Space(size, recorded, tuple(parameters), tuple(data)))
    return tuple(sorted(found, key=lambda space: not space.is_wide))


def show_spaces(program: Program, most: int = 6) -> str:
    """The table of spaces, one a paragraph: size, wide or finite, why, and where it occurs (`most` places of each)."""
    lines = []
    for space in spaces(program):
        kind = "wide" if space.is_wide else "finite"
        lines.append(f"{space.size!s:>8}  {kind:<6}  {space.why}")
        for places in (space.parameters, space.data):
            if places:
                more = f" and {len(places) - most} more" if len(places) > most else ""
                lines.append(f"{'':>18}{', '.join(places[:most])}{more}")
    return "\n".join(lines)
