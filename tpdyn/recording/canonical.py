"""How is a program written once its atoms are known? Axes that nothing splits, no reshapes, no fused wide dims.

Three things happen to the fitted statements:

* each axis becomes its atoms, labels are numbered anew, and reshapes and axes of size 1 vanish (`View`s say how the
  script's dims are products of axes);
* **unstacking**: an atom that counts the parts of a wide dim (the 3 of a fused qkv projection) is written out: each
  value with that atom becomes several values, slices and concatenations along it become a choice among them, and a
  contraction over it a sum. In the fused weight the parts are independent Gaussian matrices, and the theory must see
  them apart;
* zeros that this makes (the padding in the gradient of a slice) are dropped from sums and products.

Then the result is tidied and named (`tidy.py`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never, final

from tpdyn.exponents import Scaling
from tpdyn.program.check import check
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
)
from tpdyn.program.program import Factor, Mark, Parameter, Program, Statement, Type, View
from tpdyn.recording.atoms import Atoms, Node, find_atoms
from tpdyn.recording.cuts import Cut, plan_slice
from tpdyn.recording.lowered import Reshape
from tpdyn.recording.tidy import ONE, tidied
from tpdyn.recording.widths import FitError, Fitted, FittedStatement, WideSlice, describe

MOST_PIECES = 256
"""More pieces than this of one value are refused: unstacking is for fused projections, not for loops over tokens."""

Index = tuple[int, ...]
Slot = tuple[int, int]
"""An atom of a statement: (label of the lowered statement, place in that label's product)."""


@final
@dataclass(frozen=True)
class Canonical:
    """A program, and how the lowered values that matter lie in it: `views[position]` for marks, parameters, leaves.

    A leaf that nothing reads is in neither.
    """

    program: Program
    views: dict[int, View]


def canonical(fitted: Fitted) -> Canonical:
    """The canonical program of fitted statements.

    Raises:
        FitError: what cannot be written in atoms (see `find_atoms`; a softmax along a product of axes; a cut that is
            not along atoms), naming the statement and its source line.
    """
    atoms, nodes = find_atoms(fitted)
    return _Writer(fitted, atoms, nodes).write()


@dataclass(slots=True)
class _Held:
    """A lowered value in the program: the atoms of each script axis, and the statement of each piece (None: zero)."""

    dims: tuple[tuple[Node, ...], ...]
    pieces: dict[Index, int | None]
    type: Type

    @property
    def flat(self) -> tuple[Node, ...]:
        return tuple(atom for dim in self.dims for atom in dim)


class _Writer:
    def __init__(self, fitted: Fitted, atoms: Atoms, nodes: list[tuple[Node | None, ...]]) -> None:
        self.fitted, self.atoms = fitted, atoms
        self.dims = [tuple(tuple(atoms.of(node)) for node in axes) for axes in nodes]
        self.cuts = dict(self._plans())
        self.expanded = self._expanded()
        self.held: list[_Held] = []
        self.statements: list[Statement] = []
        self.zeros: dict[tuple[int, Index], int] = {}
        self.position = 0

    # -- which atoms are written out -----------------------------------------------------------------------------

    def _plans(self) -> Iterator[tuple[int, list[Cut | None]]]:
        """The cut of each slice; for a concatenation the cut by which each part would be taken from the result."""
        for position, statement in enumerate(self.fitted.statements):
            instruction = statement.instruction
            if isinstance(instruction, WideSlice):
                source = self.dims[instruction.value.var][instruction.value.axes.index(instruction.axis)]
                kept = instruction.axis < len(statement.shape)
                result = self.dims[position][instruction.axis] if kept else ()
                cut = plan_slice(self.atoms, source, result, instruction.start, instruction.step, instruction.length)
                if cut is None:
                    raise self.refuse(statement, "cuts across the factors of a dim that is a product of several")
                yield position, [cut]
            elif isinstance(instruction, Concat):
                whole_axis = self.dims[position][instruction.axis]
                cuts: list[Cut | None] = []
                start = Scaling(())
                for part, length in zip(instruction.parts, instruction.lengths, strict=True):
                    here = self._part_atoms(part, instruction.axis)
                    cuts.append(None if part is None else plan_slice(self.atoms, whole_axis, here, start, 1, length))
                    if part is not None and cuts[-1] is None:
                        raise self.refuse(statement, "lays parts end to end across the factors of a product of dims")
                    start = start + length
                yield position, cuts

    def _part_atoms(self, part: Operand | None, axis: int) -> tuple[Node, ...]:
        if part is None or axis not in part.axes:
            return ()
        return self.dims[part.var][part.axes.index(axis)]

    def _expanded(self) -> set[Node]:
        """The atoms that are written out: those that a cut picks from inside of a wide dim, and what they touch."""
        beside_wide: set[Node] = set()
        for statement, dims in zip(self.fitted.statements, self.dims, strict=True):
            if isinstance(statement.instruction, Leaf) and statement.instruction.kind == "parameter":
                for dim in dims:
                    if any(self.atoms.sizes[atom].is_wide for atom in dim):
                        beside_wide.update(dim)
        groups: list[tuple[set[Node], bool]] = []
        for position, cuts in self.cuts.items():
            statement = self.fitted.statements[position]
            instruction = statement.instruction
            if isinstance(instruction, WideSlice):
                axis = self.dims[instruction.value.var][instruction.value.axes.index(instruction.axis)]
                kept = instruction.axis < len(statement.shape)
                ends = [(self.dims[position][instruction.axis] if kept else (), cuts[0])]
            else:
                assert isinstance(instruction, Concat)
                axis = self.dims[position][instruction.axis]
                parts = zip(instruction.parts, cuts, strict=True)
                ends = [(self._part_atoms(part, instruction.axis), cut) for part, cut in parts if part is not None]
            wide = any(self.atoms.sizes[atom].is_wide for atom in axis)
            for end, cut in ends:
                assert cut is not None
                for place, _ in cut.fixed:
                    groups.append(({axis[place]}, wide))
                ranged = {axis[place] for place in cut.ranged} | set(end[: cut.taken])
                groups.append((ranged, wide))
                if isinstance(instruction, Concat) and any(place > 0 for place, _ in cut.fixed):
                    # laid end to end along an inner factor
                    groups.append((ranged | {axis[place] for place, _ in cut.fixed}, wide))
            if (
                isinstance(instruction, Concat)
                and None in instruction.parts
                and not any(cut is not None and (cut.ranged or cut.fixed) for cut in cuts)
            ):
                groups.append((set(axis), wide))
        expanded: set[Node] = set()
        before = -1
        while before != len(expanded):
            before = len(expanded)
            for group, always in groups:
                finite = {atom for atom in group if self.atoms.sizes[atom].is_constant}
                if always or group & beside_wide or group & expanded:
                    expanded |= finite
        return expanded

    # -- writing --------------------------------------------------------------------------------------------------

    def write(self) -> Canonical:
        for position, statement in enumerate(self.fitted.statements):
            self.position = position
            self.held.append(self.translate(position, statement))
            if len(self.held[-1].pieces) > MOST_PIECES:
                raise self.refuse(statement, f"would be written out in {len(self.held[-1].pieces)} pieces")
        marks = [replace_mark(mark, self.view(mark.var)) for mark in self.fitted.marks]
        parameters = [
            Parameter(
                parameter.name,
                tuple(self.view(version) for version in parameter.versions),
                tuple(None if gradient is None else self.view(gradient) for gradient in parameter.gradients),
            )
            for parameter in self.fitted.parameters
        ]
        leaves = {
            position: self.view(position)
            for position, statement in enumerate(self.fitted.statements)
            if isinstance(statement.instruction, Leaf)
        }
        program, moved = tidied(self.statements, parameters, marks)
        program = replace(
            program, steps=self.fitted.steps, widths=self.fitted.widths, notes=tuple(dict.fromkeys(self.fitted.notes))
        )
        check(program)
        kept = {at: now for at, view in leaves.items() if (now := moved(view)) is not None}
        kept |= {mark.var: program.marks[k].view for k, mark in enumerate(self.fitted.marks)}
        for lowered, parameter in zip(self.fitted.parameters, program.parameters, strict=True):
            kept |= dict(zip(lowered.versions, parameter.versions, strict=True))
        return Canonical(program, kept)

    def view(self, position: int) -> View:
        """How the script's tensor lies in the program; zeros are written down now."""
        held = self.held[position]
        factors: list[Factor] = []
        dims: list[tuple[int, ...]] = []
        axis = 0
        for dim, product in enumerate(held.dims):
            axes: list[int] = []
            for place, atom in enumerate(product):
                if atom in self.expanded:
                    factors.append(Factor(dim, place, self.count(atom)))
                else:
                    axes.append(axis)
                    axis += 1
            dims.append(tuple(axes))
        pieces = tuple(self.actual(position, index) for index in self.indices(held.flat))
        if not factors:
            return View(pieces, tuple(dims))
        simple = len(factors) == 1 and factors[0].place == 0
        return View(pieces, tuple(dims), factors[0].dim, () if simple else tuple(factors))

    def count(self, atom: Node) -> int:
        return int(self.atoms.sizes[atom].constant)

    def indices(self, flat: Sequence[Node]) -> Iterator[Index]:
        """Every index over the written-out atoms, row-major."""
        return itertools.product(*(range(self.count(atom)) for atom in flat if atom in self.expanded))

    def kept_shape(self, flat: Sequence[Node]) -> tuple[Scaling, ...]:
        return tuple(self.atoms.sizes[atom] for atom in flat if atom not in self.expanded)

    def emit(self, instruction: Instruction, shape: tuple[Scaling, ...], name: str = "") -> int:
        statement = self.fitted.statements[self.position]
        self.statements.append(Statement(name, instruction, shape, statement.type, statement.origin))
        return len(self.statements) - 1

    def actual(self, position: int, index: Index) -> int:
        """The statement of a piece; a zero is written when somebody needs it."""
        held = self.held[position]
        piece = held.pieces[index]
        if piece is not None:
            return piece
        if (position, index) not in self.zeros:
            statement = self.fitted.statements[position]
            zero = Statement("", Combine(()), self.kept_shape(held.flat), held.type, statement.origin)
            self.statements.append(zero)
            self.zeros[position, index] = len(self.statements) - 1
        return self.zeros[position, index]

    def refuse(self, statement: FittedStatement, problem: str) -> FitError:
        return FitError(f"outside the theory, for now: {problem}\n  in {describe(statement)}", outside=True)

    # -- one statement ----------------------------------------------------------------------------------------------

    def translate(self, position: int, statement: FittedStatement) -> _Held:
        instruction, dims = statement.instruction, self.dims[position]
        if isinstance(instruction, Reshape):
            return _Held(dims, self.held[instruction.value].pieces, statement.type)
        if isinstance(instruction, WideSlice):
            return self.slice(statement, instruction, dims)
        if isinstance(instruction, Concat):
            return self.concat(statement, instruction, dims)
        flat = tuple(atom for dim in dims for atom in dim)
        if isinstance(instruction, Leaf):
            pieces: dict[Index, int | None] = {}
            for index in self.indices(flat):
                name = instruction.name + (f"[{','.join(map(str, index))}]" if index else "")
                pieces[index] = self.emit(replace(instruction, name=name), self.kept_shape(flat), name)
            return _Held(dims, pieces, statement.type)
        return self.elementwise(statement, instruction, dims)

    def elementwise(
        self, statement: FittedStatement, instruction: Instruction, dims: tuple[tuple[Node, ...], ...]
    ) -> _Held:
        """Contract, Combine, Apply, Gather, Scatter: by labels, piece by piece."""
        labels = _Labels(self, dims, operands_of(instruction))
        along = _along(instruction)
        if along is not None:
            self.refuse_products(statement, instruction, labels, along)
        if isinstance(instruction, (Eigenvalues, Spectral)):
            self.refuse_pieces(statement, instruction, labels)
        made: dict[Instruction, int | None] = {}
        pieces: dict[Index, int | None] = {}
        flat = tuple(atom for dim in dims for atom in dim)
        shape = self.kept_shape(flat)
        slots = [slot for slot in labels.result if labels.atom[slot] in self.expanded]
        for index in self.indices(flat):
            chosen = dict(zip(slots, index, strict=True))
            new = self.rewritten(instruction, labels, chosen)
            if isinstance(new, list):  # a sum over a written-out label
                pieces[index] = self.sum_of(new, shape, made)
            elif new is None:
                pieces[index] = None
            else:
                if new not in made:
                    product = () if along is None else labels.products[along]
                    made[new] = self.emit(new, shape) if len(product) < 2 else self.flat(new, shape, product)
                pieces[index] = made[new]
        return _Held(dims, pieces, statement.type)

    def flat(self, instruction: Instruction, shape: tuple[Scaling, ...], product: tuple[Node, ...]) -> int:
        """What acts along one axis, along a product of finite atoms: they are merged, and divided in the result."""
        count, first = len(product), _along(instruction)
        assert first is not None
        inside = first < len(shape)
        small = (*shape[:first], self.atoms.size(product), *shape[first + count :]) if inside else shape

        def merged(operand: Operand) -> Operand:
            axes = tuple(a - (count - 1) * (a >= first + count) for a in operand.axes)
            if first not in operand.axes:
                return Operand(operand.var, axes)
            at = operand.axes.index(first)
            return Operand(self.merged(operand.var, at, count), (*axes[: at + 1], *axes[at + count :]))

        match instruction:
            case Apply(operands=operands):
                new: Instruction = replace(instruction, operands=tuple(map(merged, operands)))
            case Gather(value=value, index=where) | Scatter(value=value, index=where):
                new = replace(instruction, value=merged(value), index=merged(where))
            case _:
                raise AssertionError("only these act along an axis")
        var = self.emit(new, small)
        return self.divided(var, first, [self.count(atom) for atom in product]) if inside else var

    def merged(self, var: int, at: int, count: int) -> int:
        """The value with its finite axes at, ..., at + count - 1 as one: entries of the outer axis laid end to end."""
        for outer in range(at + count - 2, at - 1, -1):
            before = self.statements[var].shape
            rank, small = len(before) - 1, (*before[:outer], *before[outer + 1 :])
            axes = (*range(outer), rank, *range(outer, rank))
            length = int(before[outer].constant)
            parts = [self.emit(Slice(Operand(var, axes), rank, entry, 1, 1), small) for entry in range(length)]
            operands = tuple(Operand(part, tuple(range(rank))) for part in parts)
            shape = (*small[:outer], before[outer] * small[outer], *small[outer + 1 :])
            var = self.emit(Concat(operands, (small[outer],) * length, outer), shape)
        return var

    def divided(self, var: int, at: int, sizes: Sequence[int]) -> int:
        """The inverse of `merged`: a finite axis as several, of the given sizes."""
        for number, length in enumerate(sizes[:-1]):
            axis, rest = at + number, math.prod(sizes[number + 1 :])
            before = self.statements[var].shape
            rank = len(before)
            small = (*before[:axis], Scaling.of(rest), *before[axis + 1 :])
            own = Operand(var, tuple(range(rank)))
            parts = [self.emit(Slice(own, axis, entry * rest, 1, rest), small) for entry in range(length)]
            operands = tuple(Operand(part, (*range(axis), *range(axis + 1, rank + 1))) for part in parts)
            shape = (*before[:axis], Scaling.of(length), *small[axis:])
            var = self.emit(Concat(operands, (ONE,) * length, axis), shape)
        return var

    def sum_of(
        self, parts: list[Contract], shape: tuple[Scaling, ...], made: dict[Instruction, int | None]
    ) -> int | None:
        emitted = []
        for part in parts:
            if part not in made:
                made[part] = self.emit(part, shape)
            emitted.append(made[part])
        if len(emitted) < 2:
            return emitted[0] if emitted else None
        everything = tuple(range(len(shape)))
        return self.emit(Combine(tuple((ONE, Operand(var, everything)) for var in emitted if var is not None)), shape)

    def refuse_products(
        self, statement: FittedStatement, instruction: Instruction, labels: _Labels, along: int
    ) -> None:
        """A softmax, a gather or a scatter acts along one axis: a product of finite atoms, or one atom; not written out."""
        product = labels.products.get(along, ())
        finite = all(self.atoms.sizes[atom].is_constant for atom in product)
        if not product or any(atom in self.expanded for atom in product) or not (finite or len(product) == 1):
            sizes = " x ".join(str(self.atoms.sizes[atom]) for atom in product) or "1"
            what = "a softmax" if isinstance(instruction, Apply) else f"a {type(instruction).__name__.lower()}"
            raise self.refuse(statement, f"{what} along an axis that is a product ({sizes})")

    def refuse_pieces(self, statement: FittedStatement, spectrum: Eigenvalues | Spectral, labels: _Labels) -> None:
        """A matrix is decomposed as a whole, and its eigenvalues lie along one axis."""
        sides = [atom for label in (*spectrum.rows, *spectrum.columns) for atom in labels.products[label]]
        if any(atom in self.expanded for atom in sides):
            raise self.refuse(statement, "the eigenvalues of a matrix whose rows are several parts of one tensor")
        if len(labels.products[spectrum.axis]) != 1 or labels.products[spectrum.axis][0] in self.expanded:
            raise self.refuse(statement, "eigenvalues that are cut into parts")

    def rewritten(
        self, instruction: Instruction, labels: _Labels, chosen: dict[Slot, int]
    ) -> Instruction | list[Contract] | None:
        """The instruction for one piece; None for a zero; a list of the terms of a sum over a written-out label."""
        match instruction:
            case Contract(operands=operands):
                summed = [s for s in labels.summed if labels.atom[s] in self.expanded]
                terms: list[Contract] = []
                for index in itertools.product(*(range(self.count(labels.atom[slot])) for slot in summed)):
                    full = chosen | dict(zip(summed, index, strict=True))
                    if all(labels.piece(operand, full) is not None for operand in operands):
                        new = tuple(labels.operand(operand, full) for operand in operands)
                        terms.append(replace(instruction, operands=new))
                if summed:
                    return terms
                return terms[0] if terms else None
            case Combine(terms=pairs, constant=constant):
                kept = tuple(
                    (scale, labels.operand(operand, chosen))
                    for scale, operand in pairs
                    if labels.piece(operand, chosen) is not None
                )
                if not kept and constant.is_zero:
                    return None
                return replace(instruction, terms=kept)
            case Apply(operands=operands, along=along):
                new = tuple(labels.operand(operand, chosen) for operand in operands)
                return replace(instruction, operands=new, along=None if along is None else labels.numbers[along, 0])
            case Gather(value=value, index=where, axis=axis) | Scatter(value=value, index=where, axis=axis):
                if labels.piece(value, chosen) is None:
                    return None
                return replace(
                    instruction,
                    value=labels.operand(value, chosen),
                    index=labels.operand(where, chosen),
                    axis=labels.numbers[axis, 0],
                )
            case Eigenvalues(value=value):
                if labels.piece(value, chosen) is None:
                    return None
                return replace(instruction, value=labels.operand(value, chosen), **labels.spectrum(instruction))
            case Spectral(weights=weights, value=value):
                return replace(
                    instruction,
                    weights=labels.operand(weights, chosen),
                    value=labels.operand(value, chosen),
                    **labels.spectrum(instruction),
                )
            case Leaf() | Slice() | Concat():
                raise AssertionError(f"{type(instruction).__name__} is written elsewhere")
            case _:
                assert_never(instruction)

    def slice(self, statement: FittedStatement, cut: WideSlice, dims: tuple[tuple[Node, ...], ...]) -> _Held:
        (plan,) = self.cuts[self.position]
        assert plan is not None
        labels = _Labels(self, dims, (cut.value,), besides=cut.axis)  # it stands for other atoms on the operand
        source = self.dims[cut.value.var][cut.value.axes.index(cut.axis)]
        made: dict[tuple[int | None, int], int] = {}
        pieces: dict[Index, int | None] = {}
        flat = tuple(atom for dim in dims for atom in dim)
        slots = [slot for slot in labels.result if labels.atom[slot] in self.expanded]
        for index in self.indices(flat):
            chosen = dict(zip(slots, index, strict=True))
            pieces[index] = self.sliced(statement, cut, plan, source, labels, chosen, made)
        return _Held(dims, pieces, statement.type)

    def sliced(
        self,
        statement: FittedStatement,
        cut: WideSlice,
        plan: Cut,
        source: Sequence[Node],
        labels: _Labels,
        chosen: dict[Slot, int],
        made: dict[tuple[int | None, int], int],
    ) -> int | None:
        """One piece of a slice: first the choice among pieces, then slices along axes that are not written out."""
        where = self.source_index(plan, source, cut.axis, chosen, labels)
        held = self.held[cut.value.var]
        index: list[int] = []
        axes: list[int | tuple[int, int]] = []  # the result's label of each axis of the piece, or ("cut", place)
        kept = {place: plan.taken + number for number, place in enumerate(plan.kept)}
        for label, dim in zip(cut.value.axes, held.dims, strict=True):
            for place, atom in enumerate(dim):
                if label != cut.axis:
                    slot = (label, place)
                    (index.append(chosen[slot]) if atom in self.expanded else axes.append(labels.numbers[slot]))
                elif atom in self.expanded:
                    index.append(where[place])
                elif place in kept:
                    axes.append(labels.numbers[label, kept[place]])
                else:
                    axes.append((-1, place))
        var = held.pieces[tuple(index)]
        if var is None:
            return None
        shape = self.kept_shape(tuple(atom for s in labels.result for atom in [labels.atom[s]]))
        fixed = dict(plan.fixed)
        split: list[int] = []
        ranged_here = [axis for axis in axes if isinstance(axis, tuple) and axis[1] not in fixed]
        if ranged_here and len(ranged_here) > 1:
            at = axes.index(ranged_here[0])
            var = self.merged(var, at, len(ranged_here))
            del axes[at + 1 : at + len(ranged_here)]
        if ranged_here and plan.taken > 1:  # the result's axes as one, divided at the end
            split = [self.count(atom) for atom in labels.products[cut.axis][: plan.taken]]
            first = labels.numbers[cut.axis, 0]
            axes = [a - (plan.taken - 1) * (a > first) if isinstance(a, int) else a for a in axes]
            shape = (*shape[:first], Scaling.of(math.prod(split)), *shape[first + plan.taken :])
        rank = len(shape)
        pending = sorted((axis for axis in axes if isinstance(axis, tuple)), key=lambda axis: axis[1] not in fixed)
        for marker in pending:
            place = marker[1]
            at = axes.index(marker)
            last = marker == pending[-1]
            ranged = place not in fixed
            entry, step, length = (plan.start, plan.step, plan.length) if ranged else (fixed[place], 1, 1)
            stays = ranged and plan.taken >= 1
            if last and all(isinstance(a, int) or a == marker for a in axes):
                label = labels.numbers[cut.axis, 0] if stays else rank
                plain = tuple(
                    label if isinstance(a, tuple) else a for a in axes
                )  # the last marker is the only tuple left
                operand = Operand(var, plain)
                var = self.emit(Slice(operand, label, entry, step, length), shape)
                return self.divided(var, label, split) if split else var
            before = self.statements[var].shape
            if stays:
                raise AssertionError("a range is cut last")
            small = tuple(dim for k, dim in enumerate(before) if k != at)
            numbers = iter(range(len(small)))
            operand = Operand(var, tuple(len(small) if k == at else next(numbers) for k in range(len(before))))
            var = self.emit(Slice(operand, len(small), entry, step, length), small)
            axes.pop(at)
        return self.relabelled(var, tuple(a for a in axes if isinstance(a, int)), shape, made)

    def relabelled(
        self, var: int, axes: tuple[int, ...], shape: tuple[Scaling, ...], made: dict[tuple[int | None, int], int]
    ) -> int:
        """The value itself where its axes are the result's, else a copy with the axes in their places."""
        if axes == tuple(range(len(shape))):
            return var
        if (None, var) not in made:
            made[None, var] = self.emit(Combine(((ONE, Operand(var, axes)),)), shape)
        return made[None, var]

    def source_index(
        self, plan: Cut, source: Sequence[Node], axis: int, chosen: dict[Slot, int], labels: _Labels
    ) -> dict[int, int]:
        """The entry of each written-out atom of the cut axis, for one piece of the result."""
        where = dict(plan.fixed)
        if any(source[place] in self.expanded for place in plan.ranged):
            flat = 0
            for place in range(plan.taken):
                flat = flat * self.count(labels.products[axis][place]) + chosen[axis, place]
            where |= self.unravelled(plan, source, plan.start + plan.step * flat)
        for number, place in enumerate(plan.kept):
            if source[place] in self.expanded:
                where[place] = chosen[axis, plan.taken + number]
        return where

    def unravelled(self, plan: Cut, source: Sequence[Node], entry: int) -> dict[int, int]:
        where = {}
        for place in reversed(plan.ranged):
            size = self.count(source[place])
            where[place] = entry % size
            entry //= size
        return where

    def concat(self, statement: FittedStatement, concat: Concat, dims: tuple[tuple[Node, ...], ...]) -> _Held:
        cuts = self.cuts[self.position]
        axis, product = concat.axis, dims[concat.axis]
        parts = [part for part in concat.parts if part is not None]
        labels = _Labels(self, dims, tuple(parts), besides=axis)
        flat = tuple(atom for dim in dims for atom in dim)
        slots = [slot for slot in labels.result if labels.atom[slot] in self.expanded]
        shape = self.kept_shape(flat)
        made: dict[tuple[int | None, int], int] = {}
        pieces: dict[Index, int | None] = {}
        across = any(cut and (len(cut.ranged) > 1 or cut.taken > 1 or any(p for p, _ in cut.fixed)) for cut in cuts)
        cut_atoms = {product[place] for cut in cuts if cut for place in (*cut.ranged, *(p for p, _ in cut.fixed))}
        written_out = bool(cut_atoms & self.expanded) or (not cut_atoms and bool(set(product) & self.expanded))
        for index in self.indices(flat):
            chosen = dict(zip(slots, index, strict=True))
            if written_out:
                pieces[index] = self.part_of(statement, concat, cuts, product, labels, chosen, shape, made)
            elif across:
                pieces[index] = self.laid_across(concat, cuts, labels, chosen, shape)
            else:
                pieces[index] = self.joined(concat, cuts, labels, chosen, shape)
        return _Held(dims, pieces, statement.type)

    def part_of(
        self,
        statement: FittedStatement,
        concat: Concat,
        cuts: Sequence[Cut | None],
        product: Sequence[Node],
        labels: _Labels,
        chosen: dict[Slot, int],
        shape: tuple[Scaling, ...],
        made: dict[tuple[int | None, int], int],
    ) -> int | None:
        """The piece that lies at `chosen`: the part whose cut would take it from the result."""
        for part, cut in zip(concat.parts, cuts, strict=True):
            if part is None or cut is None:
                continue
            if any(
                product[place] in self.expanded and chosen[concat.axis, place] != entry for place, entry in cut.fixed
            ):
                continue
            flat = 0
            for place in cut.ranged:
                flat = flat * self.count(product[place]) + chosen[concat.axis, place]
            number = flat - cut.start
            if cut.ranged and not 0 <= number < cut.length:
                continue
            own = self._part_atoms(part, concat.axis)
            where: dict[int, int] = {}
            for place in range(cut.taken - 1, -1, -1):
                where[place] = number % self.count(own[place])
                number //= self.count(own[place])
            index: list[int] = []
            axes: list[int] = []
            for label, dim in zip(part.axes, self.held[part.var].dims, strict=True):
                for place, atom in enumerate(dim):
                    slot = (label, place)
                    if label == concat.axis:
                        if place < cut.taken:
                            index.append(where[place])
                            continue
                        slot = (label, cut.kept[place - cut.taken])
                    if atom in self.expanded:
                        index.append(chosen[slot])
                    else:
                        axes.append(labels.numbers[slot])
            var = self.held[part.var].pieces[tuple(index)]
            return None if var is None else self.relabelled(var, tuple(axes), shape, made)
        return None

    def laid_across(
        self,
        concat: Concat,
        cuts: Sequence[Cut | None],
        labels: _Labels,
        chosen: dict[Slot, int],
        shape: tuple[Scaling, ...],
    ) -> int | None:
        """Parts that do not lie along the atoms of a finite axis: atoms are merged, and divided again in the result."""
        product = labels.products[concat.axis]
        outer = max(len(cut.ranged) + len(cut.fixed) for cut in cuts if cut is not None)
        inner = self.atoms.size(product[outer:])
        first = labels.numbers[concat.axis, 0]
        parts: list[Operand | None] = []
        lengths = [Scaling.of(int(length.constant) // int(inner.constant)) for length in concat.lengths]
        for part in concat.parts:
            if part is None:
                parts.append(None)
                continue
            own = self._part_atoms(part, concat.axis)
            mine = len(own) - (len(product) - outer)  # how many of the part's atoms are merged
            index: list[int] = []
            axes: list[int] = []
            for label, dim in zip(part.axes, self.held[part.var].dims, strict=True):
                for place, atom in enumerate(dim):
                    if label != concat.axis:
                        slot = (label, place)
                    elif place < mine:
                        axes.append(first)
                        continue
                    else:
                        slot = (label, place - mine + outer)
                    if atom in self.expanded:
                        index.append(chosen[slot])
                    else:
                        number = labels.numbers[slot]
                        axes.append(number - (outer - 1) * (number > first))
            var = self.held[part.var].pieces[tuple(index)]
            if var is not None and mine > 1:
                var = self.merged(var, axes.index(first), mine)
            parts.append(None if var is None else Operand(var, tuple(dict.fromkeys(axes))))
        if all(part is None for part in parts):
            return None
        sizes = [self.count(atom) for atom in product[:outer]]
        small = (*shape[:first], Scaling.of(math.prod(sizes)), *shape[first + outer :])
        return self.divided(self.emit(Concat(tuple(parts), tuple(lengths), first), small), first, sizes)

    def joined(
        self,
        concat: Concat,
        cuts: Sequence[Cut | None],
        labels: _Labels,
        chosen: dict[Slot, int],
        shape: tuple[Scaling, ...],
    ) -> int | None:
        """A concatenation along an axis that is not written out."""
        inner = ONE
        first = next((cut for cut in cuts if cut is not None), None)
        outer = 0
        if first is not None:
            product = labels.products[concat.axis]
            outer = (*first.ranged, *(place for place, _ in first.fixed), 0)[0]
            inner = self.atoms.size(product[outer + 1 :])
        axis = labels.numbers[concat.axis, outer]
        parts: list[Operand | None] = []
        lengths: list[Scaling] = []
        for part, length in zip(concat.parts, concat.lengths, strict=True):
            count = Scaling.of(int(length.constant) // int(inner.constant)) if inner != ONE else length
            lengths.append(count)
            if part is None:
                parts.append(None)
                continue
            index: list[int] = []
            axes: list[int] = []
            own = self._part_atoms(part, concat.axis)
            missing = len(labels.products[concat.axis]) - len(own)  # 1 where the part has length 1 along the axis
            for label, dim in zip(part.axes, self.held[part.var].dims, strict=True):
                for place, atom in enumerate(dim):
                    slot = (label, place + missing if label == concat.axis else place)
                    if atom in self.expanded:
                        index.append(chosen[slot])
                    else:
                        axes.append(labels.numbers[slot])
            var = self.held[part.var].pieces[tuple(index)]
            parts.append(None if var is None else Operand(var, tuple(axes)))
        if all(part is None for part in parts):
            return None
        return self.emit(Concat(tuple(parts), tuple(lengths), axis), shape)


class _Labels:
    """The labels of one statement, atom by atom: `numbers[slot]` is the new label of a slot that is an axis."""

    def __init__(
        self,
        writer: _Writer,
        dims: tuple[tuple[Node, ...], ...],
        operands: Sequence[Operand],
        besides: int | None = None,
    ) -> None:
        self.writer = writer
        self.products: dict[int, tuple[Node, ...]] = dict(enumerate(dims))
        for operand in operands:
            for label, product in zip(operand.axes, writer.held[operand.var].dims, strict=True):
                if label != besides and not self.products.get(label):
                    self.products[label] = product
        rank = len(dims)
        self.atom = {(label, k): atom for label, product in self.products.items() for k, atom in enumerate(product)}
        self.result = [slot for slot in sorted(self.atom) if slot[0] < rank]
        self.summed = [slot for slot in sorted(self.atom) if slot[0] >= rank]
        axes = [slot for slot in (*self.result, *self.summed) if self.atom[slot] not in writer.expanded]
        self.numbers = {slot: number for number, slot in enumerate(axes)}

    def index(self, operand: Operand, chosen: dict[Slot, int]) -> Index:
        expanded = self.writer.expanded
        return tuple(
            chosen[label, place]
            for label, dim in zip(operand.axes, self.writer.held[operand.var].dims, strict=True)
            for place, atom in enumerate(dim)
            if atom in expanded
        )

    def piece(self, operand: Operand, chosen: dict[Slot, int]) -> int | None:
        return self.writer.held[operand.var].pieces[self.index(operand, chosen)]

    def operand(self, operand: Operand, chosen: dict[Slot, int]) -> Operand:
        """The operand's piece, with the new labels; a zero is written down."""
        expanded = self.writer.expanded
        axes = tuple(
            self.numbers[label, place]
            for label, dim in zip(operand.axes, self.writer.held[operand.var].dims, strict=True)
            for place, atom in enumerate(dim)
            if atom not in expanded
        )
        return Operand(self.writer.actual(operand.var, self.index(operand, chosen)), axes)

    def spectrum(self, instruction: Eigenvalues | Spectral) -> dict[str, Any]:
        """The labels of rows, columns and eigenvalues: a row may be a product of axes."""

        def atoms(side: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(self.numbers[label, k] for label in side for k in range(len(self.products[label])))

        return {
            "rows": atoms(instruction.rows),
            "columns": atoms(instruction.columns),
            "axis": self.numbers[instruction.axis, 0],
        }


def _along(instruction: Instruction) -> int | None:
    """The label along which a softmax, a gather or a scatter acts."""
    match instruction:
        case Apply(along=axis) | Gather(axis=axis) | Scatter(axis=axis):
            return axis
        case _:
            return None


def replace_mark(mark: object, view: View) -> Mark:
    """A lowered mark with its view."""
    from tpdyn.recording.lowered import LoweredMark

    assert isinstance(mark, LoweredMark)
    return Mark(mark.kind, mark.name, mark.step, view)
