"""How does one instruction act on many runs at once? Values get an axis in front, one entry a run, and labels move by one.

Axes find each other by labels, so this is all: instructions need not know of batches. An axis in front of size 1 says that
the value is the same in every run.
"""

from __future__ import annotations

from dataclasses import replace

from tpdyn.program.instructions import (
    Apply,
    Concat,
    Eigenvalues,
    Gather,
    Instruction,
    Operand,
    Scatter,
    Slice,
    Spectral,
    with_operands,
)
from tpdyn.program.program import View


def stacked(instruction: Instruction) -> Instruction:
    """Lift the instruction to values with one more axis in front. Label 0 is the run; all other labels move up by one.

    >>> stacked(Slice.of(Operand(3, (1, 0)), axis=1, start=0, step=1, length=2)).value
    Operand(var=3, axes=(0, 2, 1))
    """
    moved = with_operands(instruction, lambda read: Operand(read.var, (0, *(label + 1 for label in read.axes))))
    match moved:
        case Apply(along=int(along)):
            return replace(moved, along=along + 1)
        case Gather() | Scatter() | Slice() | Concat():
            return replace(moved, axis=moved.axis + 1)
        case Eigenvalues() | Spectral():
            return replace(
                moved,
                rows=tuple(label + 1 for label in moved.rows),
                columns=tuple(label + 1 for label in moved.columns),
                axis=moved.axis + 1,
            )
        case _:  # a leaf, a contraction and a combination name labels in their operands only
            return moved


def stacked_view(view: View) -> View:
    """Lift the view of a tensor of the script, when both have the runs in front."""
    if view.along is not None:
        return View.packed([stacked_view(part) for part in view.parts], view.along + 1)
    return View(
        view.pieces,
        ((0,), *(tuple(axis + 1 for axis in dim) for dim in view.dims)),
        None if view.stacked is None else view.stacked + 1,
        tuple(replace(factor, dim=factor.dim + 1) for factor in view.grid),
    )
