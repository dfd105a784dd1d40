"""Which values are linear in others? Sums, multiples, slices, lookups, concatenations: both kernels pass through."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Combine, Concat, Contract, Gather, Slice
from tpdyn.readings.kernels.frame import Frame, Kind, Seen, Tile
from tpdyn.readings.kernels.sized import (
    Label,
    Labels,
    Sized,
    end_to_end,
    looked_up,
    product,
    reordered,
    repeated,
    rows_of,
    scaled,
    steps_of,
    summed,
    summed_windows,
    total,
)


class Linear(Frame):
    """The rules for values that are linear in others."""

    def linear(self, kind: Kind, tile: Tile, u: Seen, v: Seen, out: Labels) -> tuple[bool, Sized | None]:
        """Expand a left value that is linear in others: one after the other, by the bilinearity of both kernels."""
        statement = self.program.statements[u.var]
        instruction = statement.instruction
        names = self.by_label(u)
        match instruction:
            case Combine(terms=terms, constant=constant):
                parts = [
                    self._times(kind, tile, scale, (), self.operand(tile, u, operand, names), v, out)
                    for scale, operand in terms
                ]
                if kind == "second" and not constant.is_zero:
                    parts.append(self._constant(tile, constant, u, v, out))
                return True, total(parts)
            case Contract(operands=operands, scale=scale):
                numbers = [operand for operand in operands if operand.var in self.numeric]
                rest = [operand for operand in operands if operand.var not in self.numeric]
                if self.matrix(u.var) or len(rest) != 1 or self.sums_wide(statement.shape, rest[0]):
                    return False, None
                names = self.with_summed(tile, u, operands)
                first, *others = (self.operand(tile, u, operand, names) for operand in (*rest, *numbers))
                return True, self._times(kind, tile, scale, others, first, v, out)
            case Gather(value=value, index=index) if self.gathers_positions(instruction):
                picked = Label(tile.sides[u.side].size(value, instruction.axis))
                read = self.operand(tile, u, value, {**names, instruction.axis: picked})
                where = self.operand(tile, u, index, names)
                return True, self._picked(kind, tile, u, v, read, picked, where, out)
            case Slice(value=value, axis=axis):
                if axis in names and names[axis] in v.labels:
                    return True, self._apart(kind, tile, u, v, [names[axis]], out)
                picked = Label(tile.sides[u.side].size(value, axis))
                read = self.operand(tile, u, value, {**names, axis: picked})
                return True, self._entries(
                    kind, tile, read, picked, self.entries(u.var, instruction), names.get(axis), v, out
                )
            case Concat():
                return True, self._blocks(kind, tile, u, v, instruction, out)
            case _:
                return False, None  # not linear, as far as is known: other rules are asked

    def alike(self, kind: Kind, tile: Tile, u: Seen, v: Seen, out: Labels) -> tuple[bool, Sized | None]:
        """Pass lookups, slices and concatenations of both along one axis through together."""
        one, other = (self.program.statements[x.var].instruction for x in (u, v))
        match one, other:
            case Gather(), Gather() if one.index.var == other.index.var and self.gathers_positions(one):
                return True, self._gathered(kind, tile, u, v, one, other, out)
            case Concat(), Concat() if one.axis == other.axis and one.lengths == other.lengths:
                if self.label_of(u, one.axis) is self.label_of(v, other.axis):
                    return True, self._joined(kind, tile, u, v, one, other, out)
            case _:
                pass  # not alike: each is asked by itself
        return False, None

    def _times(
        self, kind: Kind, tile: Tile, scale: Scaling, numbers: Sequence[Seen], read: Seen, v: Seen, out: Labels
    ) -> Sized | None:
        """Pair `scale * numbers * read` with v."""
        if scale.is_zero:
            return None
        if not numbers:
            return scaled(self.pair(kind, tile, read, v, out), scale)
        factors = [self.number(tile, each) for each in numbers]
        kept = {label for factor in factors for label in factor.labels}
        inner = tuple(dict.fromkeys([*(x for x in out), *(x for x in (*read.labels, *v.labels) if x in kept)]))
        kernel = self.pair(kind, tile, read, v, tuple(x for x in inner if x in {*read.labels, *v.labels}))
        if kernel is None:
            return None
        return scaled(product([kernel, *factors], out, {*read.labels, *v.labels, *kept}), scale)

    def _constant(self, tile: Tile, constant: Scaling, u: Seen, v: Seen, out: Labels) -> Sized | None:
        mean = self.mean(tile, v, tuple(x for x in out if x in v.labels))
        if mean is None:
            return None
        return scaled(repeated(mean, out, {*u.labels, *v.labels}, summed_before=set(v.labels)), constant)

    def _gathered(
        self, kind: Kind, tile: Tile, u: Seen, v: Seen, one: Gather, other: Gather, out: Labels
    ) -> Sized | None:
        """Pair two lookups of positions in one constant table: patches of an image, a rolled window."""
        mine, theirs = self.by_label(u), self.by_label(v)
        pick, pick_v = (
            Label(tile.sides[u.side].size(one.value, one.axis)),
            Label(tile.sides[v.side].size(other.value, other.axis)),
        )
        where, where_v = self.operand(tile, u, one.index, mine), self.operand(tile, v, other.index, theirs)
        table = tile.sides[u.side].value(one.index.var, self)
        joined = [k for k, (a, b) in enumerate(zip(where.labels, where_v.labels, strict=True)) if a is b]
        if len(joined) == len(where.labels):
            pick_v = pick
        read = self.operand(tile, u, one.value, {**mine, one.axis: pick})
        read_v = self.operand(tile, v, other.value, {**theirs, other.axis: pick_v})
        inside = {*read.labels, *read_v.labels}
        if {*where.labels, *where_v.labels} & inside:
            raise self.refusal(u.var, "positions are looked up along an axis that is kept")
        rest = tuple(x for x in out if x in inside)
        names = [label for label in where.labels if label in out]
        names += [label for k, label in enumerate(where_v.labels) if label in out and k not in joined]
        free = {*where.labels, *where_v.labels} - {where.labels[k] for k in joined}
        if len(joined) == len(where.labels) - 1 and len(names) == 2 and free == {*names} and pick is not pick_v:
            padded, padded_v = self._padded(tile, read, pick), self._padded(tile, read_v, pick_v)
            steps = steps_of(table.movedim(joined, tuple(range(len(joined)))))
            if padded is not None and padded_v is not None and padded[2] == padded_v[2] and steps is not None:
                kernel = self.pair(kind, tile, padded[0], padded_v[0], (padded[1], padded_v[1], *rest))
                if kernel is None:
                    return None
                (size,) = (where.labels[k].size for k in range(len(where.labels)) if k not in joined)
                counts = [table.shape[k] for k in joined]
                windows = summed_windows(kernel.value, steps[0] - padded[2], steps[1], counts, size)
                return reordered(Sized(windows, (*names, *rest), kernel.order), out)
        inner = (pick, *rest) if pick is pick_v else (pick, pick_v, *rest)
        kernel = self.pair(kind, tile, read, read_v, inner)
        if kernel is None:
            return None
        gathered = looked_up(
            kernel.value,
            table,
            joined,
            len(where.labels),
            pick is pick_v,
            [label in out for label in where.labels],
            [label in out for label in where_v.labels],
        )
        return reordered(Sized(gathered, (*names, *rest), kernel.order), out)

    def _padded(self, tile: Tile, u: Seen, along: Label) -> tuple[Seen, Label, int] | None:
        """Return what is padded with zeros along an axis, its label there, and how many zeros stand before it."""
        statement = self.program.statements[u.var].instruction
        if not isinstance(statement, Concat) or self.label_of(u, statement.axis) is not along:
            return None
        parts = [(k, part) for k, part in enumerate(statement.parts) if part is not None]
        if len(parts) != 1:
            return None
        ((at, part),) = parts
        sizes = [int(length.constant) for length in statement.lengths]
        here = Label(sizes[at])
        return self.operand(tile, u, part, {**self.by_label(u), statement.axis: here}), here, sum(sizes[:at])

    def _joined(
        self, kind: Kind, tile: Tile, u: Seen, v: Seen, one: Concat, other: Concat, out: Labels
    ) -> Sized | None:
        """Pair two concatenations along one axis that runs together: part by part."""

        def beside(number: int, here: Label) -> Seen | None:
            part = other.parts[number]
            return part and self.operand(tile, v, part, {**self.by_label(v), other.axis: here})

        return self._part_by_part(kind, tile, u, one, beside, out)

    def _blocks(self, kind: Kind, tile: Tile, u: Seen, v: Seen, one: Concat, out: Labels) -> Sized | None:
        """Expand a left value that is laid end to end: block by block."""
        along = self.label_of(u, one.axis)
        if along in v.labels:
            return self._apart(kind, tile, u, v, [along], out)
        return self._part_by_part(kind, tile, u, one, lambda number, here: v, out)

    def _part_by_part(
        self,
        kind: Kind,
        tile: Tile,
        u: Seen,
        one: Concat,
        beside: Callable[[int, Label], Seen | None],
        out: Labels,
    ) -> Sized | None:
        """Pair each part of a left value with what is beside it. Both get a label for the part."""
        along = self.label_of(u, one.axis)
        parts: list[Sized | int] = []
        for number, (part, length) in enumerate(zip(one.parts, one.lengths, strict=True)):
            here, kernel = Label(int(length.constant)), None
            v = beside(number, here)
            if part is not None and v is not None:
                read = self.operand(tile, u, part, {**self.by_label(u), one.axis: here})
                kernel = self.pair(kind, tile, read, v, tuple(here if x is along else x for x in out))
            parts.append(here.size if kernel is None else kernel)
        return end_to_end(parts, out.index(along) if along in out else None, out)

    def _picked(
        self, kind: Kind, tile: Tile, u: Seen, v: Seen, read: Seen, picked: Label, where: Seen, out: Labels
    ) -> Sized | None:
        if set(where.labels) & set(read.labels):
            raise self.refusal(u.var, "positions are looked up along an axis that is kept")
        if shared := [x for x in where.labels if x in v.labels]:
            return self._apart(kind, tile, u, v, shared, out)
        table = tile.sides[u.side].value(where.var, self).long()
        rest = tuple(x for x in out if x not in where.labels)
        kernel = self.pair(kind, tile, read, v, (picked, *rest))
        if kernel is None:
            return None
        value = rows_of(kernel.value, table)
        for axis in reversed([k for k, label in enumerate(where.labels) if label not in out]):
            value = value.sum(axis)
        names = (*(x for x in where.labels if x in out), *rest)
        return reordered(Sized(value, names, kernel.order), out)

    def _entries(
        self,
        kind: Kind,
        tile: Tile,
        read: Seen,
        picked: Label,
        entries: Tensor,
        label: Label | None,
        v: Seen,
        out: Labels,
    ) -> Sized | None:
        """Select entries along one axis; without a label (one entry) the axis is dropped."""
        rest = tuple(x for x in out if x is not label)
        kernel = self.pair(kind, tile, read, v, (picked, *rest))
        if kernel is None:
            return None
        value = rows_of(kernel.value, entries)
        if label is None or label not in out:
            return reordered(Sized(value.sum(0), rest, kernel.order), out)
        return reordered(Sized(value, (label, *rest), kernel.order), out)

    def _apart(self, kind: Kind, tile: Tile, u: Seen, v: Seen, shared: Sequence[Label], out: Labels) -> Sized | None:
        """Pair axes that run together, but are cut on one side only: all pairs, of these the diagonal."""
        fresh = {label: Label(label.size) for label in shared}
        apart = Seen(v.side, v.var, tuple(fresh.get(x, x) for x in v.labels))
        rest = tuple(x for x in out if x not in fresh)
        kernel = self.pair(kind, tile, u, apart, (*shared, *fresh.values(), *rest))
        if kernel is None:
            return None
        value = kernel.value
        for _ in shared:
            value = value.diagonal(dim1=0, dim2=len(shared)).movedim(-1, len(shared) - 1)
        return summed(Sized(value, (*shared, *rest), kernel.order), out, {*shared, *rest})
