"""How is a dim of parts of different sizes written? Each value that has it becomes several, one for each part.

Mamba-2 projects into `[gate, inner, B, C, dt]` at once: wide parts with fixed ones in between. The rows of its weight are drawn
alike, so the weight is several independent matrices, end to end. Products with it, functions of entries and an optimizer
act on each. A sum over the dim is a sum of sums. So the fitted statements are written again, part by part, before their atoms are
sought. A `Layout` says how a value of the script lies among the new ones.

Slices and concatenations show where a dim is cut. Boundaries go along to each axis that is the same: it has the same label. They
go along to what is cut from it, and by a reshape to its multiples. Dims whose cuts have a common measure are not packed: `atoms`
splits them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never, final

from tpdyn.exponents import Scaling
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
from tpdyn.recorder.fitting.atoms import ONE, common_measure, divide
from tpdyn.recorder.fitting.widths import Fitted, FittedStatement, describe
from tpdyn.recorder.lowered import Reshape

MOST_PARTS = 64
"""A dim of more parts is refused: this is for fused projections, not for loops over coordinates."""
FAR = 10**6
"""A width at which boundaries have the order that they have at all larger ones."""
ZERO = Scaling(())

Axis = tuple[int, int]
"""(position of a statement, number of its axis)."""
Index = tuple[int, ...]
"""One part of each packed axis."""


class Unpackable(Exception):
    """A dim cannot be held in parts; the reason, with what the script does there."""


@final
@dataclass(frozen=True, slots=True)
class Layout:
    """How a value of the script lies among the new statements: `pieces[index]` for a part of each packed axis. None: zero."""

    axes: tuple[int, ...]
    pieces: Mapping[Index, int | None]

    @staticmethod
    def whole(position: int) -> Layout:
        """Place a value in one piece."""
        return Layout((), {(): position})


def unpacked(fitted: Fitted) -> tuple[Fitted, list[Layout]]:
    """Return the same statements without packed dims, and how each old one lies among the new.

    The tables of the result still name old positions. Raises Unpackable where a dim has to be packed and cannot be.
    """
    axes = _Axes(fitted)
    if not axes.boundaries:
        return fitted, [Layout.whole(position) for position in range(len(fitted.statements))]
    axes.settle()
    writer = _Writer(fitted, axes)
    for position in range(len(fitted.statements)):
        writer.write(position)
    return replace(fitted, statements=writer.statements), writer.held


# -- which axes are cut, and where ------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class _Taken:
    """An axis `part` is a slice of `source` from `start` on. part: None where its length is 1."""

    source: Axis
    part: Axis | None
    start: Scaling
    step: int
    length: Scaling


@final
@dataclass(frozen=True, slots=True)
class _Multiple:
    """The axis `flat` is `outer`, each entry of which is `by` entries in a row."""

    outer: Axis
    flat: Axis
    by: Scaling


@final
@dataclass(frozen=True, slots=True)
class _Repeated:
    """The axis `flat` is `inner` so many times in a row. Heads may be such, side by side."""

    outer: Axis
    inner: Axis
    flat: Axis
    count: int


@final
class _Axes:
    """Axes that are the same under union-find, how others are cut from them, and the boundaries of packed ones."""

    def __init__(self, fitted: Fitted) -> None:
        self.fitted = fitted
        self.boundaries: dict[Axis, set[Scaling]] = {}
        self._parents: dict[Axis, Axis] = {}
        self._relations: list[_Taken | _Multiple | _Repeated] = []
        self._repeats: dict[int, _Repeated] = {}
        self._whole: dict[Axis, tuple[int, str]] = {}
        self._lengths: dict[Axis, tuple[Scaling, ...]] = {}
        seeds = [cut for k, statement in enumerate(fitted.statements) for cut in self._odd_cuts(k, statement)]
        if not seeds:
            return
        for position, statement in enumerate(fitted.statements):
            self._read(position, statement)
        for axis, boundary in seeds:
            self.boundaries.setdefault(self.root(axis), set()).add(boundary)

    def size(self, axis: Axis) -> Scaling:
        """Return the size of an axis."""
        return self.fitted.statements[axis[0]].shape[axis[1]]

    def root(self, axis: Axis) -> Axis:
        """Return the representative of all axes that are the same."""
        while (parent := self._parents.get(axis, axis)) != axis:
            self._parents[axis] = self._parents.get(parent, parent)
            axis = parent
        return axis

    def parts(self, axis: Axis) -> tuple[Scaling, ...]:
        """Return the lengths of the parts of an axis; empty for one that is not packed."""
        return self._lengths.get(self.root(axis), ()) if self.size(axis) != ONE else ()

    def packed(self, position: int) -> tuple[int, ...]:
        """Return the axes of a statement that are packed."""
        return tuple(k for k in range(len(self.fitted.statements[position].shape)) if self.parts((position, k)))

    def _odd_cuts(self, position: int, statement: FittedStatement) -> Iterator[tuple[Axis, Scaling]]:
        """Yield (axis, boundary) of a cut of a wide dim into parts without a common measure."""
        cut = statement.instruction
        if isinstance(cut, Slice):
            source = (cut.value.var, cut.value.axes.index(cut.axis))
            size, fixed = self.size(source), cut.start.is_constant and cut.length.is_constant
            if size.is_wide and not fixed and cut.step == 1 and common_measure([size, cut.start, cut.length]) is None:
                yield from ((source, end) for end in (cut.start, cut.start + cut.length) if end not in (ZERO, size))
        elif isinstance(cut, Concat):
            size = statement.shape[cut.axis]
            if size.is_wide and common_measure([size, *cut.lengths]) is None:
                yield from (
                    ((position, cut.axis), end) for end in itertools.accumulate(cut.lengths[:-1]) if end != size
                )

    def _read(self, position: int, statement: FittedStatement) -> None:
        """Note which axes of a statement are the same, and which are cut from others."""
        instruction, shape = statement.instruction, statement.shape
        if isinstance(instruction, Reshape):
            self._reshaped(position, instruction.value)
            return
        cut = instruction.axis if isinstance(instruction, (Slice, Concat)) else None
        by_label: dict[int, list[Axis]] = {}
        for label in range(len(shape)):
            by_label.setdefault(label, []).append((position, label))
        for operand in operands_of(instruction):
            for number, label in enumerate(operand.axes):
                by_label.setdefault(label, []).append((operand.var, number))
        for label, axes in by_label.items():
            own = [axis for axis in axes if self.size(axis) != ONE]
            if label == cut:
                continue
            for axis in own[1:]:
                self._join(own[0], axis)
            if own and label in _runs_along(instruction):
                self._whole.setdefault(self.root(own[0]), (position, "it is needed as a whole"))
        if isinstance(instruction, Slice):
            source = (instruction.value.var, instruction.value.axes.index(instruction.axis))
            kept = instruction.axis < len(shape) and shape[instruction.axis] != ONE
            part = (position, instruction.axis) if kept else None
            self._relations.append(_Taken(source, part, instruction.start, instruction.step, instruction.length))
        elif isinstance(instruction, Concat) and shape[instruction.axis] != ONE:
            starts = itertools.accumulate(instruction.lengths, initial=ZERO)
            for operand_, start, length in zip(instruction.parts, starts, instruction.lengths, strict=False):
                part = None
                if operand_ is not None and instruction.axis in operand_.axes and length != ONE:
                    part = (operand_.var, operand_.axes.index(instruction.axis))
                self._relations.append(_Taken((position, instruction.axis), part, start, 1, length))

    def _join(self, one: Axis, other: Axis) -> None:
        first, second = sorted((self.root(one), self.root(other)))
        if first != second:
            self._parents[second] = first
            if second in self._whole:
                self._whole.setdefault(first, self._whole.pop(second))

    def _reshaped(self, position: int, value: int) -> None:
        """Align the axes of a reshape in groups of equal size, each as small as it can be."""
        here = [(position, k) for k, size in enumerate(self.fitted.statements[position].shape) if size != ONE]
        there = [(value, k) for k, size in enumerate(self.fitted.statements[value].shape) if size != ONE]
        while here and there:
            mine, theirs = [here.pop(0)], [there.pop(0)]
            while (size := self._product(mine)) != (other := self._product(theirs)):
                group, rest = (mine, here) if size.at(FAR) < other.at(FAR) else (theirs, there)
                if not rest:
                    break
                group.append(rest.pop(0))
            self._regrouped(mine, theirs, position)

    def _product(self, axes: Sequence[Axis]) -> Scaling:
        product = ONE
        for axis in axes:
            product = product * self.size(axis)
        return product

    def _regrouped(self, mine: Sequence[Axis], theirs: Sequence[Axis], position: int) -> None:
        if len(mine) == len(theirs) == 1:
            self._join(mine[0], theirs[0])
            return
        few, many = sorted((mine, theirs), key=len)
        count = self.size(many[0])
        if len(few) == 1 and len(many) == 2 and count.is_constant and self.size(many[1]).is_wide:
            repeat = _Repeated(many[0], many[1], few[0], int(count.constant))
            self._relations.append(repeat)
            inseparable = many[:1]
            if position in self._repeats:
                inseparable = [*mine, *theirs]
            self._repeats[position] = repeat
        elif len(few) == 1:  # the outermost factor may be packed, the others may not
            self._relations.append(_Multiple(many[0], few[0], self._product(many[1:])))
            inseparable = many[1:]
        else:
            inseparable = [*mine, *theirs]
        for axis in inseparable:
            self._whole.setdefault(self.root(axis), (position, "a reshape makes it one with others"))

    # -- where they are cut

    def settle(self) -> None:
        """Take each boundary to all axes that it cuts, and find the lengths of their parts. Raises Unpackable."""
        waiting = True
        while waiting:
            waiting = any(self._spread(relation) for relation in self._relations)
        for root, boundaries in self.boundaries.items():
            if root in self._whole:
                position, why = self._whole[root]
                raise Unpackable(self.told(position, why))
            ends = sorted(boundaries, key=lambda end: end.at(FAR))
            lengths = tuple(end + -start for start, end in itertools.pairwise([ZERO, *ends, self.size(root)]))
            for length in lengths:
                if len(length.terms) != 1 or any(length.at(width) <= 0 for width in self.fitted.widths):
                    raise Unpackable(
                        self.told(root[0], f"a part of it has size {length}, which is no power of the width")
                    )
            self._lengths[root] = lengths

    def _spread(self, relation: _Taken | _Multiple | _Repeated) -> bool:
        match relation:
            case _Taken():
                return self._taken_along(relation)
            case _Multiple():
                return self._multiplied(relation)
            case _Repeated():
                return self._repeated(relation)
        assert_never(relation)

    def told(self, position: int, why: str) -> str:
        """Say what is in the way, and where."""
        return f"{why}\n  in {describe(self.fitted.statements[position])}"

    def _taken_along(self, cut: _Taken) -> bool:
        """Share boundaries between an axis and a slice of it; tell whether there were new ones."""
        mine = self.boundaries.get(self.root(cut.source), set())
        theirs = set() if cut.part is None else self.boundaries.get(self.root(cut.part), set())
        if not mine and not theirs:
            return False
        end = cut.start + cut.length
        if cut.step != 1:
            raise Unpackable(self.told((cut.part or cut.source)[0], f"it is taken in steps of {cut.step}"))
        new = self._add(cut.source, [cut.start, end, *(cut.start + each for each in theirs)])
        if cut.part is not None:
            inside = [each for each in mine if cut.start.at(FAR) < each.at(FAR) < end.at(FAR)]
            new |= self._add(cut.part, [each + -cut.start for each in inside])
        return new

    def _multiplied(self, multiple: _Multiple) -> bool:
        """Share boundaries between an axis and one that has so many entries for each of its own."""
        mine = self.boundaries.get(self.root(multiple.outer), set())
        theirs = self.boundaries.get(self.root(multiple.flat), set())
        quotients = [divide(each, multiple.by) for each in theirs]
        if any(each is None or not _is_whole(each, self.fitted.widths) for each in quotients):
            raise Unpackable(self.told(multiple.outer[0], f"a part of it is no multiple of {multiple.by}"))
        new = self._add(multiple.flat, [each * multiple.by for each in mine])
        return self._add(multiple.outer, [each for each in quotients if each is not None]) or new

    def _repeated(self, repeat: _Repeated) -> bool:
        """Share boundaries between an axis and one that repeats it, which is cut between any two."""
        mine = self.boundaries.get(self.root(repeat.inner), set())
        theirs = self.boundaries.get(self.root(repeat.flat), set())
        if not mine and not theirs:
            return False
        starts = [self.size(repeat.inner) * Scaling.of(k) for k in range(repeat.count)]
        before = [max((s for s in starts if s.at(FAR) <= end.at(FAR)), key=lambda s: s.at(FAR)) for end in theirs]
        new = self._add(repeat.inner, [end + -start for end, start in zip(theirs, before, strict=True)])
        return self._add(repeat.flat, [start + end for start in starts for end in (ZERO, *mine)]) or new

    def repeat(self, position: int) -> _Repeated | None:
        """Return what a reshape repeats, or takes apart, if that is packed."""
        repeat = self._repeats.get(position)
        return repeat if repeat is not None and self.parts(repeat.flat) else None

    def _add(self, axis: Axis, boundaries: Sequence[Scaling]) -> bool:
        """Cut an axis at further places; tell whether they are new."""
        new = {each for each in boundaries if each not in (ZERO, self.size(axis))}
        known = self.boundaries.get(self.root(axis), set())
        if new <= known:
            return False
        if len(new | known) >= MOST_PARTS:
            raise Unpackable(self.told(axis[0], f"it would have more than {MOST_PARTS} parts"))
        self.boundaries[self.root(axis)] = new | known
        return True


def _is_whole(size: Scaling, widths: Sequence[int]) -> bool:
    try:
        return all(size.size_at(width) > 0 for width in widths)
    except ValueError:
        return False


def _runs_along(instruction: Instruction) -> tuple[int, ...]:
    """Return the labels along which an instruction needs whole axes: a softmax, a lookup, a decomposition."""
    match instruction:
        case Apply(along=axis):
            return () if axis is None else (axis,)
        case Gather(axis=axis) | Scatter(axis=axis):
            return (axis,)
        case Eigenvalues(rows=rows, columns=columns, axis=axis) | Spectral(rows=rows, columns=columns, axis=axis):
            return (*rows, *columns, axis)
        case Leaf() | Contract() | Combine() | Slice() | Concat():
            return ()
    assert_never(instruction)


# -- the statements, part by part ---------------------------------------------------------------------------------------------


@final
class _Writer:
    """The new statements as far as they are written, and how the old ones lie among them."""

    def __init__(self, fitted: Fitted, axes: _Axes) -> None:
        self.axes = axes
        self.statements: list[FittedStatement] = []
        self.held: list[Layout] = []
        self._old = fitted.statements
        self._named = _named(fitted)

    def write(self, position: int) -> None:
        """Write the next old statement."""
        statement, packed = self._old[position], self.axes.packed(position)
        parts = [self.axes.parts((position, axis)) for axis in packed]
        pieces: dict[Index, int | None] = {}
        for index in itertools.product(*(range(len(lengths)) for lengths in parts)):
            shape = list(statement.shape)
            for axis, lengths, part in zip(packed, parts, index, strict=True):
                shape[axis] = lengths[part]
            chosen = dict(zip(packed, index, strict=True))
            here = replace(statement, shape=tuple(shape), over=ONE)
            pieces[index] = self._piece(position, here, chosen)
            if pieces[index] is None and position in self._named:
                pieces[index] = self._emit(here, Combine(()))
        self.held.append(Layout(packed, pieces))

    def _emit(self, here: FittedStatement, instruction: Instruction | Reshape, over: Scaling = ONE) -> int:
        self.statements.append(replace(here, instruction=instruction, over=over))
        return len(self.statements) - 1

    def _read(self, operand: Operand, chosen: Mapping[int, int]) -> int | None:
        """Return the piece of an operand, given a part for each packed label. None: zero."""
        held = self.held[operand.var]
        return held.pieces[tuple(chosen[operand.axes[axis]] for axis in held.axes)]

    def _actual(self, operand: Operand, chosen: Mapping[int, int]) -> Operand:
        """Return the operand's piece; a zero is written down."""
        piece = self._read(operand, chosen)
        if piece is None:
            held, old = self.held[operand.var], self._old[operand.var]
            shape = list(old.shape)
            for axis in held.axes:
                shape[axis] = self.axes.parts((operand.var, axis))[chosen[operand.axes[axis]]]
            piece = self._emit(replace(old, shape=tuple(shape), over=ONE), Combine(()))
        return Operand(piece, operand.axes)

    def _piece(self, position: int, here: FittedStatement, chosen: dict[int, int]) -> int | None:
        """Write one piece of a statement: that of the parts `chosen`, by axis. None: zero."""
        over = self._old[position].over
        match here.instruction:
            case Reshape(value=value):
                return self._regrouped(position, here, value, chosen)
            case Leaf() as leaf:
                return self._emit(here, self._leaf(position, leaf, chosen))
            case Contract() as contract:
                return self._contraction(here, contract, chosen, over)
            case Combine(terms=terms, constant=constant) as combine:
                kept = tuple((scale, operand) for scale, operand in terms if self._read(operand, chosen) is not None)
                if not kept and constant.is_zero:
                    return None
                new = tuple((scale, self._actual(operand, chosen)) for scale, operand in kept)
                return self._emit(here, replace(combine, terms=new), over)
            case Slice() as cut:
                return self._slice(position, here, cut, chosen)
            case Concat() as concat:
                return self._concatenation(position, here, concat, chosen)
            case Gather(value=value) | Scatter(value=value) | Eigenvalues(value=value) as lookup:
                if self._read(value, chosen) is None:
                    return None
                return self._emit(here, with_operands(lookup, lambda operand: self._actual(operand, chosen)))
            case Apply() | Spectral() as function:
                return self._emit(here, with_operands(function, lambda operand: self._actual(operand, chosen)))
        assert_never(here.instruction)

    def _regrouped(self, position: int, here: FittedStatement, value: int, chosen: Mapping[int, int]) -> int | None:
        """Write a reshape. Both sides have the same packed axes in the same order, but for one that is repeated."""
        repeat, pieces = self.axes.repeat(position), self.held[value].pieces
        if repeat is None:
            piece = pieces[tuple(chosen.values())]
            return None if piece is None else self._emit(here, Reshape(piece))
        count = max(len(self.axes.parts(repeat.inner)), 1)
        if repeat.flat[0] == position:  # one entry of the outer axis
            entry, part = divmod(chosen[repeat.flat[1]], count)
            inner = {**chosen, repeat.flat[1]: part}
            piece = pieces[tuple(each for axis, each in inner.items() if count > 1 or axis != repeat.flat[1])]
            if piece is None:
                return None
            before, at = self.statements[piece].shape, repeat.outer[1]
            axes = (*range(at), len(before) - 1, *range(at, len(before) - 1))
            cut = Slice.of(Operand(piece, axes), len(before) - 1, entry, 1, 1)
            return self._emit(here, Reshape(self._emit(replace(here, shape=(*before[:at], *before[at + 1 :])), cut)))
        parts: list[Operand | None] = []
        small = replace(
            here, shape=tuple(ONE if axis == repeat.outer[1] else dim for axis, dim in enumerate(here.shape))
        )
        for entry in range(repeat.count):
            rest = iter(chosen.values())
            index = [
                entry * count + (next(rest) if count > 1 else 0) if axis == repeat.flat[1] else next(rest)
                for axis in self.held[value].axes
            ]
            piece = pieces[tuple(index)]
            row = None if piece is None else self._emit(small, Reshape(piece))
            parts.append(None if row is None else Operand(row, tuple(range(len(here.shape)))))
        lengths = (ONE,) * repeat.count
        return self._emit(here, Concat(tuple(parts), lengths, repeat.outer[1])) if any(parts) else None

    def _leaf(self, position: int, leaf: Leaf, chosen: Mapping[int, int]) -> Leaf:
        if not chosen:
            return leaf
        if leaf.law.is_given:
            raise Unpackable(
                self.axes.told(position, "its entries are given, and those of a part may be of another size")
            )
        name = leaf.name
        for axis, part in chosen.items():
            name += rows_of(axis, self.axes.parts((position, axis)), part)
        law = replace(leaf.law, kind="iid") if leaf.law.kind == "orthogonal" else leaf.law  # a part of it is none
        return replace(leaf, name=name, law=law)

    def _contraction(
        self, here: FittedStatement, contract: Contract, chosen: Mapping[int, int], over: Scaling
    ) -> int | None:
        """Write a product; a sum over a packed label is the sum of those over its parts."""
        summed: dict[int, int] = {}
        for operand in contract.operands:
            for axis in self.held[operand.var].axes:
                if operand.axes[axis] not in chosen:
                    summed[operand.axes[axis]] = len(self.axes.parts((operand.var, axis)))
        terms = []
        for entries in itertools.product(*map(range, summed.values())):
            every = {**chosen, **dict(zip(summed, entries, strict=True))}
            if all(self._read(operand, every) is not None for operand in contract.operands):
                operands = tuple(self._actual(operand, every) for operand in contract.operands)
                terms.append(replace(contract, operands=operands))
        if len(terms) == 1:
            return self._emit(here, terms[0], over)
        if not terms:
            return None
        everything = tuple(range(len(here.shape)))
        added = tuple((ONE, Operand(self._emit(here, term), everything)) for term in terms)
        return self._emit(here, Combine(added), over)

    def _slice(self, position: int, here: FittedStatement, cut: Slice, chosen: Mapping[int, int]) -> int | None:
        source = (cut.value.var, cut.value.axes.index(cut.axis))
        lengths = self.axes.parts(source)
        if not lengths:
            piece = self._read(cut.value, chosen)
            return None if piece is None else self._emit(here, replace(cut, value=Operand(piece, cut.value.axes)))
        ends = [ZERO, *itertools.accumulate(lengths)]
        part = ends.index(cut.start) + chosen.get(cut.axis, 0)
        return self._moved(here, cut.value, {**chosen, cut.axis: part})

    def _concatenation(
        self, position: int, here: FittedStatement, concat: Concat, chosen: Mapping[int, int]
    ) -> int | None:
        lengths = self.axes.parts((position, concat.axis))
        if not lengths:
            parts = [
                each and (None if self._read(each, chosen) is None else self._actual(each, chosen))
                for each in concat.parts
            ]
            return self._emit(here, replace(concat, parts=tuple(parts))) if any(parts) else None
        ends = [ZERO, *itertools.accumulate(lengths)]
        starts = [ends.index(start) for start in itertools.accumulate(concat.lengths[:-1], initial=ZERO)]
        number, first = max((k, start) for k, start in enumerate(starts) if start <= chosen[concat.axis])
        operand = concat.parts[number]
        return (
            None
            if operand is None
            else self._moved(here, operand, {**chosen, concat.axis: chosen[concat.axis] - first})
        )

    def _moved(self, here: FittedStatement, operand: Operand, chosen: Mapping[int, int]) -> int | None:
        """Return a piece of an operand, its axes in the order of the result."""
        piece = self._read(operand, chosen)
        if piece is None or operand.axes == tuple(range(len(here.shape))):
            return piece
        return self._emit(here, Combine(((ONE, Operand(piece, operand.axes)),)))


def rows_of(axis: int, lengths: Sequence[Scaling], part: int) -> str:
    """Return what a name gains where it is one part along an axis: `[0:2*n]`, or `[:,0:2*n]` along axis 1."""
    start = Scaling.sum(list(lengths[:part]))
    return f"[{':,' * axis}{start}:{start + lengths[part]}]".replace(" ", "")


def _named(fitted: Fitted) -> frozenset[int]:
    """Return the positions of values that have a name."""
    versions = {var for parameter in fitted.parameters for var in parameter.versions}
    gradients = {var for parameter in fitted.parameters for var in parameter.gradients if var is not None}
    return frozenset(versions | gradients | {mark.var for mark in fitted.marks})
