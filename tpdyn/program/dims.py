"""Which dim of a script is which space, wide or finite, and why? Axes that meet are one space.

Two axes are the same space where an instruction identifies them. Examples are the two sides of a sum, or the rows of a
product and of its factor. A space is wide if its size depends on the width in the recordings. The table shows at once
whether the head's size was taken for a width, or the batch for a constant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, final

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Concat, Gather, Leaf, Scatter, Slice, operands_of

if TYPE_CHECKING:
    from tpdyn.program.program import Program

Axis = tuple[int, int]
"""(position of a statement, number of its axis)"""


@final
@dataclass(frozen=True, slots=True)
class Space:
    """One space of a program.

    number: in the order in which spaces are met. size: as a function of the width. recorded: its size at each recorded
    width. parameters: the dims of parameters that are this space (or hold it as a factor), as "name:dim". data: likewise
    of data and other leaves.
    """

    number: int
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
    """List the spaces of the program's leaves: wide ones first, each in the order in which it is met."""
    of_axis = space_of(program)
    distinct = dict.fromkeys(
        of_axis[position, number]
        for position, statement in enumerate(program.statements)
        if isinstance(statement.instruction, Leaf)
        for number in range(len(statement.shape))
    )
    return tuple(sorted(distinct, key=lambda space: not space.is_wide))


def space_of(program: Program) -> Mapping[Axis, Space]:
    """Return the space of each axis of each value. Two axes are the same space if and only if they have an equal one here."""
    root = _identified(program)
    named: dict[Axis, tuple[list[str], list[str]]] = {}
    for position, statement in enumerate(program.statements):
        for number in range(len(statement.shape)):
            named.setdefault(root[position, number], ([], []))
    for leaf_axis, which, word in _named_axes(program):
        words = named[root[leaf_axis]][which]
        if word not in words:
            words.append(word)
    spaces: dict[Axis, Space] = {}
    for axis, (parameters, data) in named.items():
        size = program.statements[axis[0]].shape[axis[1]]
        recorded = tuple(size.size_at(width) for width in program.widths)
        spaces[axis] = Space(len(spaces), size, recorded, tuple(parameters), tuple(data))
    return {axis: spaces[first] for axis, first in root.items()}


def _identified(program: Program) -> Mapping[Axis, Axis]:
    """Map each axis to the first axis that is the same space."""
    parents: dict[Axis, Axis] = {}

    def root(axis: Axis) -> Axis:
        while parents.setdefault(axis, axis) != axis:
            parents[axis] = parents[parents[axis]]
            axis = parents[axis]
        return axis

    def join(one: Axis, other: Axis) -> None:
        first, second = sorted((root(one), root(other)))
        parents[second] = first

    for position, statement in enumerate(program.statements):
        instruction = statement.instruction
        cut = instruction.axis if isinstance(instruction, (Slice, Concat, Gather, Scatter)) else None
        by_label: dict[int, Axis] = {}
        for label in range(len(statement.shape)):
            if label != cut or isinstance(instruction, Gather):
                by_label[label] = (position, label)
        for operand in operands_of(instruction):
            for number, label in enumerate(operand.axes):
                if label != cut:
                    here = (operand.var, number)
                    join(here, by_label.setdefault(label, here))
    for parameter in program.parameters:  # a later version is the same tensor
        for view in parameter.versions[1:]:
            for first, later in zip(parameter.versions[0].pieces, view.pieces, strict=True):
                for number in range(len(program.statements[first].shape)):
                    join((later, number), (first, number))
    return {
        (position, number): root((position, number))
        for position, statement in enumerate(program.statements)
        for number in range(len(statement.shape))
    }


def _named_axes(program: Program) -> Iterator[tuple[Axis, Literal[0, 1], str]]:
    """Yield the axes of leaves with their names, "weight:0": first parameters, by the script's dims (0), then others (1)."""
    views = {
        piece: (p.name, whole) for p in program.parameters for whole in p.versions[0].wholes for piece in whole.pieces
    }
    for position, statement in enumerate(program.statements):
        if isinstance(statement.instruction, Leaf):
            name, layout = views.get(position, (statement.name, None))
            for number in range(len(statement.shape)):
                dim = number if layout is None else next(k for k, axes in enumerate(layout.dims) if number in axes)
                yield (position, number), (1 if layout is None else 0), f"{name}:{dim}"


def show_spaces(program: Program, most: int = 6) -> str:
    """Show the spaces, a paragraph each: size, wide or finite, why, where it occurs (at most `most` names of each)."""
    lines = []
    for space in spaces(program):
        kind = "wide" if space.is_wide else "finite"
        lines.append(f"{space.size!s:>8}  {kind:<6}  {space.why}")
        for names in (space.parameters, space.data):
            if names:
                more = f" and {len(names) - most} more" if len(names) > most else ""
                lines.append(f"{'':>18}{', '.join(names[:most])}{more}")
    return "\n".join(lines)
