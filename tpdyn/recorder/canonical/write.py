"""What is the canonical program of fitted statements? Each is written in atoms; parameters and marks become views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import final

from tpdyn.exponents import Scaling
from tpdyn.program.check import check
from tpdyn.program.instructions import Apply, Combine, Concat, Contract, Leaf, Operand, Slice
from tpdyn.program.program import Factor, Mark, Parameter, Program, View
from tpdyn.recorder.canonical.cuts import Cut
from tpdyn.recorder.canonical.joining import joined
from tpdyn.recorder.canonical.labelled import by_labels
from tpdyn.recorder.canonical.packed import Index, Layout, Unpackable, unpacked
from tpdyn.recorder.canonical.pieces import Held, Pieces
from tpdyn.recorder.canonical.slicing import sliced
from tpdyn.recorder.canonical.tidy import tidied
from tpdyn.recorder.canonical.unstacked import Products, cuts_of, refusal, written_out
from tpdyn.recorder.fitting.atoms import ONE, find_atoms
from tpdyn.recorder.fitting.widths import FitError, Fitted, FittedStatement
from tpdyn.recorder.lowered import Reshape

MOST_PIECES = 256
"""More pieces than this of one value are refused: unstacking is for fused projections, not for loops over tokens."""


@final
@dataclass(frozen=True)
class Canonical:
    """A program, and how the lowered values that matter lie in it: `views[position]` for marks, parameters, leaves.

    A leaf that nothing reads is in neither.
    """

    program: Program
    views: dict[int, View]


def canonical(fitted: Fitted) -> Canonical:
    """Return the canonical program of fitted statements.

    Raises:
        FitError: what cannot be written in atoms, naming the statement and its source line. Such are a softmax along a
            product of axes, or a cut that is not along atoms (see `find_atoms`).
    """
    script = fitted
    fitted, layouts = _without_packed(script)
    atoms, nodes = find_atoms(fitted)
    dims: list[Products] = [tuple(tuple(atoms.of(node)) for node in axes) for axes in nodes]
    cuts = cuts_of(fitted, atoms, dims)
    pieces = Pieces(fitted, atoms, written_out(fitted, atoms, dims, cuts))
    for position, statement in enumerate(fitted.statements):
        held = _written(pieces, statement, dims[position], cuts.get(position, ()))
        if len(held.pieces) > MOST_PIECES:
            raise refusal(statement, f"would be written out in {len(held.pieces)} pieces")
        pieces.held.append(held if statement.over == ONE else _over(pieces, held, statement))
    return _finished(script, pieces, layouts)


def _without_packed(fitted: Fitted) -> tuple[Fitted, list[Layout]]:
    """Write packed dims part by part. Where that is not possible, say so with what the script cuts."""
    try:
        return unpacked(fitted)
    except Unpackable as problem:
        why = f"Its parts cannot be followed one by one: {problem}"
    try:
        find_atoms(fitted)
    except FitError as error:
        raise FitError(f"{error}\n{why}", outside=error.outside) from None
    raise FitError(f"outside the theory, for now: a dim is cut into parts of different kinds. {why}", outside=True)


def _written(pieces: Pieces, statement: FittedStatement, dims: Products, cuts: Sequence[Cut | None]) -> Held:
    """Write one statement."""
    instruction = statement.instruction
    if isinstance(instruction, Reshape):
        return Held(dims, pieces.held[instruction.value].pieces, statement.type)
    if isinstance(instruction, Slice):
        (cut,) = cuts
        assert cut is not None
        return sliced(pieces, instruction, cut, dims)
    if isinstance(instruction, Concat):
        return joined(pieces, instruction, cuts, dims)
    if isinstance(instruction, Leaf):
        return Held(dims, _leaves(pieces, instruction, dims), statement.type)
    return by_labels(pieces, instruction, dims)


def _over(pieces: Pieces, held: Held, statement: FittedStatement) -> Held:
    """Return a value divided by a sum of powers of the width, or by its root. The inverse of it is no such sum."""
    number = Operand(pieces.emit(Combine((), statement.over), ()), ())
    power = Apply("power", (number,), (Scaling.of(-1 / statement.root),))
    inverse = Operand(pieces.emit(Apply("reciprocal", (number,)) if statement.root == 1 else power, ()), ())
    written: dict[Index, int | None] = {}
    for index, piece in held.pieces.items():
        shape = pieces.kept_shape(chain.from_iterable(held.dims))
        whole = None if piece is None else Operand(piece, tuple(range(len(shape))))
        written[index] = None if whole is None else pieces.emit(Contract((whole, inverse)), shape)
    return Held(held.dims, written, held.type)


def _leaves(pieces: Pieces, leaf: Leaf, dims: Products) -> dict[Index, int | None]:
    """Return a leaf for each piece, named by its indices."""
    flat = tuple(chain.from_iterable(dims))
    if leaf.law.kind == "orthogonal" and (len(dims[0]) != 1 or any(atom in pieces.expanded for atom in flat)):
        leaf = replace(leaf, law=replace(leaf.law, kind="iid"))  # a piece of an orthogonal matrix is none
    written: dict[Index, int | None] = {}
    for index in pieces.indices(flat):
        name = leaf.name + (f"[{','.join(map(str, index))}]" if index else "")
        written[index] = pieces.emit(replace(leaf, name=name), pieces.kept_shape(flat), name)
    return written


def _finished(fitted: Fitted, pieces: Pieces, layouts: Sequence[Layout]) -> Canonical:
    """Return the program of all that is written, tidied."""

    def view(position: int) -> View:
        return _view(pieces, layouts[position])

    marks = [Mark(mark.kind, mark.name, mark.step, view(mark.var)) for mark in fitted.marks]
    parameters = [
        Parameter(
            parameter.name,
            tuple(view(version) for version in parameter.versions),
            tuple(None if gradient is None else view(gradient) for gradient in parameter.gradients),
        )
        for parameter in fitted.parameters
    ]
    leaves = {
        position: view(position)
        for position, statement in enumerate(fitted.statements)
        if isinstance(statement.instruction, Leaf)
    }
    program, moved = tidied(pieces.statements, parameters, marks, leaves.values())
    program = replace(
        program, steps=fitted.steps, widths=fitted.widths, notes=tuple(dict.fromkeys(fitted.notes)), late=fitted.late
    )
    check(program)
    kept = {at: now for at, view in leaves.items() if (now := moved(view)) is not None}
    kept |= {mark.var: program.marks[k].view for k, mark in enumerate(fitted.marks)}
    for lowered, parameter in zip(fitted.parameters, program.parameters, strict=True):
        kept |= dict(zip(lowered.versions, parameter.versions, strict=True))
    return Canonical(program, kept)


def _view(pieces: Pieces, layout: Layout, index: Index = ()) -> View:
    """Return how the script's tensor lies in the program; zeros are written down now."""
    if len(index) < len(layout.axes):
        count = 1 + max(each[len(index)] for each in layout.pieces)
        return View.packed([_view(pieces, layout, (*index, part)) for part in range(count)], layout.axes[len(index)])
    position = layout.pieces[index]
    assert position is not None
    held = pieces.held[position]
    factors: list[Factor] = []
    dims: list[tuple[int, ...]] = []
    axis = 0
    for dim, product in enumerate(held.dims):
        axes: list[int] = []
        for place, atom in enumerate(product):
            if atom in pieces.expanded:
                factors.append(Factor(dim, place, pieces.count(atom)))
            else:
                axes.append(axis)
                axis += 1
        dims.append(tuple(axes))
    positions = tuple(pieces.actual(position, index) for index in pieces.indices(chain.from_iterable(held.dims)))
    if not factors:
        return View(positions, tuple(dims))
    simple = len(factors) == 1 and factors[0].place == 0
    return View(positions, tuple(dims), factors[0].dim, () if simple else tuple(factors))
