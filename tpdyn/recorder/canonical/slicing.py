"""How is a slice written? First the choice among pieces, then slices along the axes that are not written out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Operand, Slice
from tpdyn.recorder.canonical.cuts import Cut
from tpdyn.recorder.canonical.labels import Chosen, Labels, Slot
from tpdyn.recorder.canonical.pieces import Held, Pieces
from tpdyn.recorder.canonical.unstacked import Products, atoms_along


@final
@dataclass(frozen=True, slots=True)
class _Uncut:
    """An axis of a piece that is still to be cut, by its factor in the product that is cut."""

    factor: int


def sliced(pieces: Pieces, cut: Slice, plan: Cut, dims: Products) -> Held:
    """Return the pieces of a slice."""
    labels = Labels(pieces, dims, (cut.value,), besides=cut.axis)
    moved: dict[Operand, int] = {}
    written = {index: _piece(pieces, cut, plan, labels, chosen, moved) for index, chosen in labels.results()}
    return Held(dims, written, pieces.current.type)


def _piece(
    pieces: Pieces, cut: Slice, plan: Cut, labels: Labels, chosen: Chosen, moved: dict[Operand, int]
) -> int | None:
    entries = _entries(pieces, cut, plan, labels, chosen)
    kept = {factor: plan.taken + number for number, factor in enumerate(plan.kept)}

    def entry(slot: Slot) -> int:
        return entries[slot[1]] if slot[0] == cut.axis else chosen[slot]

    def axis(slot: Slot) -> int | _Uncut:
        label, factor = slot
        if label != cut.axis:
            return labels.numbers[slot]
        return labels.numbers[label, kept[factor]] if factor in kept else _Uncut(factor)

    index, axes = labels.read(cut.value, entry, axis)
    var = pieces.held[cut.value.var].pieces[index]
    if var is None:
        return None
    fixed = dict(plan.fixed)
    ranged = [axis for axis in axes if isinstance(axis, _Uncut) and axis.factor not in fixed]
    if len(ranged) > 1:
        at = axes.index(ranged[0])
        var = pieces.merged(var, at, len(ranged))
        del axes[at + 1 : at + len(ranged)]
    shape, split = labels.shape, list[int]()
    if ranged and plan.taken > 1:  # the result's axes as one, divided at the end
        split = [pieces.count(atom) for atom in labels.products[cut.axis][: plan.taken]]
        first = labels.numbers[cut.axis, 0]
        axes = [a - (plan.taken - 1) * (a > first) if isinstance(a, int) else a for a in axes]
        shape = (*shape[:first], Scaling.of(math.prod(split)), *shape[first + plan.taken :])
    uncut = [axis for axis in axes if isinstance(axis, _Uncut)]
    if not uncut:
        return pieces.relabelled(var, tuple(a for a in axes if isinstance(a, int)), shape, moved)
    *others, last = sorted(uncut, key=lambda axis: axis.factor not in fixed)  # a range is cut last
    for other in others:
        at = axes.index(other)
        var = pieces.entry_along(var, at, fixed[other.factor])
        axes.pop(at)
    if last.factor in fixed:
        label, start, step, length = len(shape), fixed[last.factor], 1, 1
    else:
        label, start, step, length = labels.numbers[cut.axis, 0], plan.start, plan.step, plan.length
    operand = Operand(var, tuple(label if isinstance(a, _Uncut) else a for a in axes))
    var = pieces.emit(Slice.of(operand, label, start, step, length), shape)
    return pieces.divided(var, label, split) if split else var


def _entries(pieces: Pieces, cut: Slice, plan: Cut, labels: Labels, chosen: Chosen) -> dict[int, int]:
    """Return the entry of each written-out atom of the cut axis, for one piece of the result."""
    source = atoms_along(pieces.held[cut.value.var].dims, cut.value, cut.axis)
    entries = dict(plan.fixed)
    if any(source[factor] in pieces.expanded for factor in plan.ranged):
        flat = 0
        for factor in range(plan.taken):
            flat = flat * pieces.count(labels.products[cut.axis][factor]) + chosen[cut.axis, factor]
        flat = plan.start + plan.step * flat
        for factor in reversed(plan.ranged):
            flat, entries[factor] = divmod(flat, pieces.count(source[factor]))
    for number, factor in enumerate(plan.kept):
        if source[factor] in pieces.expanded:
            entries[factor] = chosen[cut.axis, plan.taken + number]
    return entries
