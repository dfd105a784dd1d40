"""What does a slice or a concatenation do to atoms? It picks some of them, ranges over others, and leaves the rest.

A cut axis is a product of atoms, outermost first. A `Cut` sorts them: `fixed`: atoms at which one entry is taken. `ranged`:
the atoms that are ranged over (row-major, as one axis). Those inside stay whole. From it `tpdyn.recorder.canonical` writes
a `Slice` along one axis. If the atoms are written out piece by piece, it only chooses among the pieces.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from tpdyn.exponents import Scaling
from tpdyn.recorder.fitting.atoms import Atoms, Node, whole


@final
@dataclass(frozen=True, slots=True)
class Cut:
    """A slice along one axis, in terms of atoms.

    fixed: (factor in the axis, entry taken). ranged: factors whose flattened index runs over start, start + step, ...
    (`length` of them), which becomes the first `taken` atoms of the result. kept: the other factors, in order; they are
    the result's other atoms.
    """

    fixed: tuple[tuple[int, int], ...]
    ranged: tuple[int, ...]
    taken: int
    start: int
    step: int
    length: int
    kept: tuple[int, ...]


def plan_slice(
    atoms: Atoms, source: Sequence[Node], result: Sequence[Node], start: Scaling, step: int, length: Scaling
) -> Cut | None:
    """Plan how a slice takes the atoms `result` from the atoms `source`; None where it cannot be said in atoms."""
    sizes = [_finite(atoms.sizes[atom]) for atom in source]
    if list(source) == list(result) and start.is_zero and step == 1:
        return Cut((), (), 0, 0, 1, 1, tuple(range(len(source))))
    if step > 1 and start.is_constant and list(source[: len(result)]) == list(result):
        strides = sizes[len(result) :]
        if strides and None not in strides and math.prod(s for s in strides if s) == step:
            fixed = _unravel(int(start.constant), [s for s in strides if s], len(result))
            return Cut(fixed, (), 0, 0, 1, 1, tuple(range(len(result))))
    for inner in range(min(len(source) - 1, len(result)), -1, -1):
        if inner and (step != 1 or list(source[-inner:]) != list(result[-inner:])):
            continue
        part = atoms.size(source[len(source) - inner :])
        first, count = whole(start, part), whole(length, part)
        if first is None or count is None:
            continue
        outer = list(range(len(source) - inner))
        kept = tuple(range(len(source) - inner, len(source)))
        taken = len(result) - inner
        if len(outer) == 1:
            if count == 1 and taken == 0:
                return Cut(((0, first),), (), 0, 0, 1, 1, kept)
            return Cut((), (0,), taken, first, step, count, kept)
        if any(sizes[factor] is None for factor in outer):
            return None
        finite = [s for s in sizes[: len(outer)] if s is not None]
        if count == 1 and taken == 0:
            return Cut(_unravel(first, finite, 0), (), 0, 0, 1, 1, kept)
        return Cut(
            *_narrow(finite, first, step, count), taken, first % _rest(finite, first, step, count), step, count, kept
        )
    return None


def _narrow(
    sizes: Sequence[int], start: int, step: int, length: int
) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
    """Fix outer atoms at which the whole range has one index; the others are ranged over."""
    fixed: list[tuple[int, int]] = []
    last = start + step * (length - 1)
    for factor in range(len(sizes) - 1):
        rest = math.prod(sizes[factor + 1 :])
        if start // rest != last // rest:
            return tuple(fixed), tuple(range(factor, len(sizes)))
        fixed.append((factor, start // rest))
        start, last = start % rest, last % rest
    return tuple(fixed), (len(sizes) - 1,)


def _rest(sizes: Sequence[int], start: int, step: int, length: int) -> int:
    """Return the number of entries of the atoms that are ranged over."""
    _, ranged = _narrow(sizes, start, step, length)
    return math.prod(sizes[factor] for factor in ranged)


def _unravel(index: int, sizes: Sequence[int], first: int) -> tuple[tuple[int, int], ...]:
    """Return a flat index as one index an atom; atoms are numbered from `first` on."""
    indices = []
    for factor in range(len(sizes) - 1, -1, -1):
        indices.append((first + factor, index % sizes[factor]))
        index //= sizes[factor]
    return tuple(reversed(indices))


def _finite(size: Scaling) -> int | None:
    return int(size.constant) if size.is_constant else None
