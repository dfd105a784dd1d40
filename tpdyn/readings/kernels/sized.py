"""How are tensors handled whose axes have names? Products, sums and diagonals by label, each with its power of the width."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import final

import numpy as np
import torch
from torch import Tensor

from tpdyn.exponents import ZERO, Scaling


@final
@dataclass(eq=False)
class Label:
    """A name for a finite axis while a pair is worked out. Axes of both sides with one label run together."""

    size: int


Labels = tuple[Label, ...]


@final
@dataclass(frozen=True)
class Sized:
    """A tensor times n^order: what leads in the limit of infinite width. `labels` name its axes."""

    value: Tensor
    labels: Labels
    order: Fraction = ZERO


def scaled(sized: Sized | None, scale: Scaling) -> Sized | None:
    """Multiply by a function of the width, of which the leading term counts."""
    if sized is None or scale.is_zero:
        return None
    coefficient, power = scale.terms[0]
    value = sized.value if coefficient == 1 else sized.value * float(coefficient)
    return Sized(value, sized.labels, sized.order + power)


def total(parts: Iterable[Sized | None]) -> Sized | None:
    """Add tensors with equal labels (up to their order): of different powers of the width the largest leads."""
    present = [part for part in parts if part is not None]
    if not present:
        return None
    top = max(part.order for part in present)
    leading = [part for part in present if part.order == top]
    every = tuple(dict.fromkeys(label for part in leading for label in part.labels))
    joint = expanded(leading[0], every).value
    for part in leading[1:]:
        joint = joint + expanded(part, every).value
    return Sized(joint, every, top)


def expanded(sized: Sized, out: Labels, *, broadcast: bool = False) -> Sized:
    """Put axes in the order of `out`; repeat along labels that it lacks (or, for `broadcast`, give them size 1)."""
    if sized.labels == out:
        return sized
    present = tuple(label for label in out if label in sized.labels)
    value = reordered(sized, present).value
    for axis, label in enumerate(out):
        if label not in sized.labels:
            value = value.unsqueeze(axis)
    shape = [label.size for label in out]
    return Sized(value if broadcast else value.expand(shape), out, sized.order)


def reordered(sized: Sized, out: Labels) -> Sized:
    """Put the axes in another order."""
    if sized.labels == out:
        return sized
    return Sized(sized.value.permute([sized.labels.index(label) for label in out]), out, sized.order)


def product(factors: Sequence[Sized], out: Labels, every: set[Label]) -> Sized:
    """Multiply, summed over labels that `out` lacks; `every` label counts, also one that no factor has."""
    number = {label: k for k, label in enumerate(dict.fromkeys(x for f in factors for x in f.labels))}
    kept = tuple(label for label in out if label in number)
    arguments: list[object] = []
    for factor in factors:
        arguments += [factor.value, [number[label] for label in factor.labels]]
    if not factors:
        raise ValueError("a product of nothing")
    value = torch.einsum(*arguments, [number[label] for label in kept])
    result = Sized(value, kept, sum((factor.order for factor in factors), ZERO))
    return repeated(result, out, every, summed_before=set(number))


def summed(sized: Sized, out: Labels, every: set[Label]) -> Sized:
    """Sum over labels that `out` lacks."""
    if set(sized.labels) <= set(out):
        return repeated(sized, out, every, summed_before=set(sized.labels))
    return product([sized], out, every)


def repeated(sized: Sized, out: Labels, every: set[Label], *, summed_before: set[Label]) -> Sized:
    """Repeat along labels of `out` that it lacks; multiply by the sizes of summed labels that nobody has."""
    factor = math.prod(label.size for label in every - summed_before - set(out))
    sized = expanded(sized, out)
    return sized if factor == 1 else Sized(sized.value * factor, out, sized.order)


def identity(sized: Sized, apart: Iterable[tuple[Label, Label]], out: Labels) -> Sized:
    """Multiply by one where two labels have the same index, by zero elsewhere."""
    factors = [sized]
    for one, other in apart:
        if one is not other and (one in out or other in out):
            factors.append(Sized(torch.eye(one.size, dtype=sized.value.dtype, device=sized.value.device), (one, other)))
    present = {label for factor in factors for label in factor.labels}
    return product(factors, out, present) if len(factors) > 1 else expanded(sized, out)


def end_to_end(parts: Sequence[Sized | int], along: int | None, out: Labels) -> Sized | None:
    """Lay parts end to end along an axis of `out` (a number: zeros of that length). Without an axis, sum them."""
    present = [part for part in parts if isinstance(part, Sized)]
    if not present:
        return None
    top = max(part.order for part in present)
    shape = [label.size for label in out]
    pieces = []
    for part in parts:
        if isinstance(part, Sized) and part.order == top:
            pieces.append(part.value)
        elif along is not None:
            size = part if isinstance(part, int) else part.value.shape[along]
            pieces.append(present[0].value.new_zeros([*shape[:along], size, *shape[along + 1 :]]))
    if along is None:
        return Sized(torch.stack(pieces).sum(0), out, top)
    return Sized(torch.cat(pieces, along), out, top)


def rows_of(value: Tensor, table: Tensor) -> Tensor:
    """Return the rows that a table names, "table rest". A view where the table counts evenly along each axis (patches, cuts)."""
    steps = steps_of(table)
    if steps is None:
        return value.index_select(0, table.flatten()).reshape(*table.shape, *value.shape[1:])
    start, strides = steps
    first = value.stride(0)
    return value.as_strided(
        (*table.shape, *value.shape[1:]),
        (*(step * first for step in strides), *value.stride()[1:]),
        value.storage_offset() + start * first,
    )


def steps_of(table: Tensor) -> tuple[int, list[int]] | None:
    """Start and step along each axis of a table that counts evenly upwards; None for any other."""
    numbers = table.cpu().numpy()
    if not numbers.size:
        return None
    start, strides = int(numbers.flat[0]), []
    counted = np.full_like(numbers, start)
    for axis, size in enumerate(numbers.shape):
        second = tuple(min(1, size - 1) if k == axis else 0 for k in range(numbers.ndim))
        strides.append(int(numbers[second]) - start)
        shape = [size if k == axis else 1 for k in range(numbers.ndim)]
        counted += (np.arange(size) * strides[-1]).reshape(shape)
    return (start, strides) if min(strides, default=0) >= 0 and np.array_equal(counted, numbers) else None


def summed_windows(value: Tensor, start: int, strides: Sequence[int], counts: Sequence[int], size: int) -> Tensor:
    """Sum windows of both sides that move together: `sum over k of value[s y + d k, s y' + d k]`, zero outside.

    value: "m m' rest". strides: d of each window axis, of `counts` positions, then s. Returns "size size rest". It adds in the
    order of `looked_up`, so that equal pairs stay equal to the last bit.
    """
    *along, step = strides
    step = max(step, 1)
    result = value.new_empty((size, size, *value.shape[2:])).zero_()
    for number, index in enumerate(itertools.product(*map(range, counts))):
        offset = start + sum(d * k for d, k in zip(along, index, strict=True))
        first = max(0, -(offset // step))
        last = min(size, (value.shape[0] - 1 - offset) // step + 1)
        if last <= first:
            continue
        read, kept = slice(offset + step * first, offset + step * (last - 1) + 1, step), slice(first, last)
        if number:
            result[kept, kept] += value[read, read]
        else:
            result[kept, kept] = value[read, read]
    return result


def looked_up(
    value: Tensor, table: Tensor, joined: Sequence[int], rank: int, same: bool, kept: list[bool], kept_v: list[bool]
) -> Tensor:
    """Look up entries of both sides by one table: `joined` axes of it run together, and are summed unless kept.

    value: "m rest" where all run together (`same`), else "m m' rest". Returns the kept axes of the left side, then the
    right side's that do not run together, then the rest.
    """
    table = table.long()
    if same:
        taken = rows_of(value, table)
        for axis in reversed(range(rank)):
            if not kept[axis]:
                taken = taken.sum(axis)
        return taken
    free = [axis for axis in range(rank) if axis not in joined]
    ordered = table.permute(*joined, *free)
    stacked = []
    for index in itertools.product(*(range(table.shape[axis]) for axis in joined)):
        rows = ordered[index]
        picked = rows_of(rows_of(value, rows).movedim(len(free), 0), rows)  # "right left rest"
        stacked.append(picked.movedim(tuple(range(len(free), 2 * len(free))), tuple(range(len(free)))))
    all_summed = not any(kept[axis] for axis in joined)
    if all_summed:
        taken = stacked[0] if len(stacked) == 1 else stacked[0] + stacked[1]
        for each in stacked[2:]:
            taken += each
        lead: list[int] = []
    else:
        taken = torch.stack(stacked)
        taken = taken.reshape(*(table.shape[axis] for axis in joined), *taken.shape[1:])
        lead = list(joined)
        for k in reversed(range(len(joined))):
            if not kept[joined[k]]:
                taken = taken.sum(k)
                lead.pop(k)
    # axes now: lead, free (left), free (right), rest; the left side's kept axes in the order of the table
    left = {axis: k for k, axis in enumerate(lead)} | {axis: len(lead) + k for k, axis in enumerate(free)}
    order = [left[axis] for axis in range(rank) if axis in left]
    tail = list(range(len(lead) + len(free), taken.dim()))
    taken = taken.permute(*order, *tail)
    drop = [k for k, axis in enumerate(a for a in range(rank) if a in left) if not kept[axis]]
    right = [len(order) + k for k, axis in enumerate(free) if not kept_v[axis]]
    for axis in sorted([*drop, *right], reverse=True):
        taken = taken.sum(axis)
    return taken
