"""How is a concatenation written? As a choice among its parts, or as one along an axis that is not written out."""

from __future__ import annotations

from collections.abc import Sequence

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Concat, Operand
from tpdyn.recorder.canonical.cuts import Cut
from tpdyn.recorder.canonical.labels import Chosen, Labels, Slot
from tpdyn.recorder.canonical.pieces import Held, Index, Pieces
from tpdyn.recorder.canonical.unstacked import Products, atoms_along
from tpdyn.recorder.fitting.atoms import ONE


def joined(pieces: Pieces, concat: Concat, cuts: Sequence[Cut | None], dims: Products) -> Held:
    """Return the pieces of a concatenation; cuts: those by which each part would be taken from the result."""
    product = dims[concat.axis]
    labels = Labels(pieces, dims, tuple(part for part in concat.parts if part is not None), besides=concat.axis)
    planned = [cut for cut in cuts if cut is not None]
    touched = {product[factor] for cut in planned for factor in (*cut.ranged, *(factor for factor, _ in cut.fixed))}
    chooses = any(atom in pieces.expanded for atom in touched or product)
    moved: dict[Operand, int] = {}
    written: dict[Index, int | None] = {}
    for index, chosen in labels.results():
        if chooses:
            written[index] = _part_at(pieces, concat, cuts, labels, chosen, moved)
        else:
            written[index] = _laid_out(pieces, concat, planned, labels, chosen)
    return Held(dims, written, pieces.current.type)


def _part_at(
    pieces: Pieces,
    concat: Concat,
    cuts: Sequence[Cut | None],
    labels: Labels,
    chosen: Chosen,
    moved: dict[Operand, int],
) -> int | None:
    """Return the piece that lies at `chosen`, of the part whose cut would take it from the result. None in padding."""
    product = labels.products[concat.axis]
    for part, cut in zip(concat.parts, cuts, strict=True):
        if part is None or cut is None:
            continue
        fixed = [(factor, entry) for factor, entry in cut.fixed if product[factor] in pieces.expanded]
        if any(chosen[concat.axis, factor] != entry for factor, entry in fixed):
            continue
        number = 0
        for factor in cut.ranged:
            number = number * pieces.count(product[factor]) + chosen[concat.axis, factor]
        number -= cut.start
        if not cut.ranged or 0 <= number < cut.length:
            return _piece_of(pieces, concat, part, cut, number, labels, chosen, moved)
    return None


def _piece_of(
    pieces: Pieces,
    concat: Concat,
    part: Operand,
    cut: Cut,
    number: int,
    labels: Labels,
    chosen: Chosen,
    moved: dict[Operand, int],
) -> int | None:
    """Return the piece of a part at entry `number` of what its cut takes."""
    own = atoms_along(pieces.held[part.var].dims, part, concat.axis)
    where: dict[int, int] = {}
    for factor in range(cut.taken - 1, -1, -1):
        number, where[factor] = divmod(number, pieces.count(own[factor]))

    def slot_in_result(slot: Slot) -> Slot:
        label, factor = slot
        return (label, cut.kept[factor - cut.taken]) if label == concat.axis else slot

    def entry(slot: Slot) -> int:
        label, factor = slot
        return where[factor] if label == concat.axis and factor < cut.taken else chosen[slot_in_result(slot)]

    index, axes = labels.read(part, entry, lambda slot: labels.numbers[slot_in_result(slot)])
    var = pieces.held[part.var].pieces[index]
    return None if var is None else pieces.relabelled(var, tuple(axes), labels.shape, moved)


def _laid_out(pieces: Pieces, concat: Concat, cuts: Sequence[Cut], labels: Labels, chosen: Chosen) -> int | None:
    """Lay parts end to end along an axis that is not written out.

    Where they do not lie along its outermost atom, finite atoms are merged, and divided again in the result.
    """
    product, shape = labels.products[concat.axis], labels.shape
    outer = max((len(cut.ranged) + len(cut.fixed) for cut in cuts), default=1) or 1
    inner = pieces.atoms.size(product[outer:])
    first = labels.numbers[concat.axis, 0]
    parts: list[Operand | None] = []
    for part in concat.parts:
        if part is None:
            parts.append(None)
            continue
        own = atoms_along(pieces.held[part.var].dims, part, concat.axis)
        merged = len(own) - (len(product) - outer)  # 0 where the part has length 1 along the axis

        def slot_in_result(slot: Slot, merged: int = merged) -> Slot:
            label, factor = slot
            return (label, factor - merged + outer) if label == concat.axis else slot

        def axis(slot: Slot, merged: int = merged) -> int:
            label, factor = slot
            if label == concat.axis and factor < merged:
                return first
            number = labels.numbers[slot_in_result(slot)]
            return number - (outer - 1) * (number > first)

        index, axes = labels.read(part, lambda slot: chosen[slot_in_result(slot)], axis)
        var = pieces.held[part.var].pieces[index]
        if var is not None and merged > 1:
            var = pieces.merged(var, axes.index(first), merged)
        parts.append(None if var is None else Operand(var, tuple(dict.fromkeys(axes))))
    if all(part is None for part in parts):
        return None
    small = (*shape[:first], pieces.atoms.size(product[:outer]), *shape[first + outer :])
    whole = pieces.emit(Concat(tuple(parts), _parts_of(concat, inner), first), small)
    return pieces.divided(whole, first, [pieces.count(atom) for atom in product[:outer]]) if outer > 1 else whole


def _parts_of(concat: Concat, inner: Scaling) -> tuple[Scaling, ...]:
    """Return the lengths of the parts, counted in entries of the given size."""
    if inner == ONE:
        return concat.lengths
    return tuple(Scaling.of(int(length.constant) // int(inner.constant)) for length in concat.lengths)
