"""What does one instruction make of its operands? The plain definition in torch, at one width: the only one.

The finite reading runs programs by it; lowering and verification are checked against it. It is slow and literal. Values are
floats of one type, or int64; a bool is 0 or 1 in that float type. Besides what programs hold, it takes what lowering holds:
axes of size 1, which have labels that the result lacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import torch
from torch import Tensor

from tpdyn.program.evaluation.labels import aligned
from tpdyn.program.evaluation.spectra import eigenvalues, spectral
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
)
from tpdyn.program.program import Type

Sizes = tuple[int, ...]


def evaluate(
    instruction: Instruction,
    operands: Sequence[Tensor],
    shape: Sizes,
    width: int,
    *,
    dtype: torch.dtype = torch.float64,
    type: Type = "float",
    device: torch.device | str | None = None,
) -> Tensor:
    """Compute the value of an instruction.

    Args:
        instruction: any but a leaf, which is made of nothing.
        operands: the values that it reads, in the order of `operands_of`.
        shape: of the result, in numbers.
        width: the `n` in its constants.
        dtype: the float type.
        type: of the result; an int is an int64.
        device: of a result without operands.

    Raises:
        ValueError: for a leaf, or for an operand with an axis that the result lacks.
    """
    value = _value(instruction, operands, shape, width, dtype, device)
    return value.expand(shape).to(torch.int64 if type == "int" else dtype)


def _value(
    instruction: Instruction,
    operands: Sequence[Tensor],
    shape: Sizes,
    width: int,
    dtype: torch.dtype,
    device: torch.device | str | None,
) -> Tensor:
    """Compute the value up to its type, and up to axes of size 1 that are still to be broadcast."""
    rank = len(shape)
    match instruction:
        case Leaf():
            raise ValueError(f"the leaf {instruction.name} is not a step; its value is given or drawn")
        case Contract(operands=reads, scale=scale):
            product, factor = _einsum(reads, [_float(value, dtype) for value in operands], rank), scale.at(width)
            return product if factor == 1 else product * factor
        case Combine(terms=terms, constant=constant):
            where = operands[0].device if operands else device
            total = torch.full((), constant.at(width), dtype=dtype, device=where)
            for (scale, read), value in zip(terms, operands, strict=True):
                total = torch.add(total, aligned(_float(value, dtype), read.axes, rank), alpha=scale.at(width))
            return total
        case Apply(operands=reads, parameters=parameters, along=along):
            numbers = [each.at(width) for each in parameters]
            inputs = [aligned(_float(x, dtype), r.axes, rank) for r, x in zip(reads, operands, strict=True)]
            function = instruction.facts
            if along is not None:  # an axis that is broadcast has to be there to be summed over
                return function.value(torch, inputs[0].expand(shape), *numbers, along)  # type: ignore[no-any-return]
            return function.value(torch, *inputs, *numbers)  # type: ignore[no-any-return]
        case Gather():
            return _gather(instruction, operands[0], operands[1], shape)
        case Scatter():
            return _scatter(instruction, operands[0], operands[1], shape)
        case Slice():
            return _slice(instruction, operands[0], rank, width)
        case Concat(parts=parts, lengths=lengths, axis=axis):
            values = iter(operands)
            first = operands[0] if operands else torch.zeros((), dtype=dtype, device=device)
            pieces = []
            for part, length in zip(parts, lengths, strict=True):
                size = (*shape[:axis], length.size_at(width), *shape[axis + 1 :])
                pieces.append(
                    first.new_zeros(size) if part is None else aligned(next(values), part.axes, rank).expand(size)
                )
            return torch.cat(pieces, axis)
        case Eigenvalues():
            return eigenvalues(instruction, _float(operands[0], dtype), rank)
        case Spectral():
            return spectral(instruction, _float(operands[0], dtype), _float(operands[1], dtype), rank)
    assert_never(instruction)


def _float(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value if value.dtype == dtype else value.to(dtype)


def _einsum(reads: Sequence[Operand], values: Sequence[Tensor], rank: int) -> Tensor:
    """Compute the `sum over the labels >= rank of the product`; result axes that nobody has get size 1."""
    labels = sorted({label for read in reads for label in read.axes})
    letter = {label: number for number, label in enumerate(labels)}  # torch knows 52 letters
    present = [label for label in labels if label < rank]
    arguments: list[Any] = []
    for read, value in zip(reads, values, strict=True):
        arguments += [value, [letter[label] for label in read.axes]]
    product: Tensor = torch.einsum(*arguments, [letter[label] for label in present])
    return aligned(product, present, rank)


def _slice(cut: Slice, value: Tensor, rank: int, width: int) -> Tensor:
    at, entries = cut.value.axes.index(cut.axis), cut.entries(width)
    taken = value.index_select(at, torch.arange(entries.start, entries.stop, entries.step, device=value.device))
    return aligned(taken, cut.value.axes, rank)  # one entry, whose label the result lacks, drops its axis


def _from_the_front(index: Tensor, size: int) -> Tensor:
    """Make negative indices count from the front."""
    return torch.where(index < 0, index + size, index)


def _gather(gather: Gather, value: Tensor, index: Tensor, shape: Sizes) -> Tensor:
    """Compute `result[...] = value[..., index[...], ...]`: the gathered axis last, all others those of the result."""
    rank = len(shape)
    labels = [rank if label == gather.axis else label + (label >= rank) for label in gather.value.axes]
    table = aligned(value, labels, rank + 1)
    size = table.shape[-1]
    chosen = _from_the_front(aligned(index, gather.index.axes, rank), size).expand(shape).unsqueeze(-1)
    return table.expand(*shape, size).gather(-1, chosen).squeeze(-1)


def _scatter(scatter: Scatter, value: Tensor, index: Tensor, shape: Sizes) -> Tensor:
    """Compute `result[..., index[...], ...] += value[...]`: the filled axis last, the labels summed over flattened into one."""
    axis, rank = scatter.axis, len(shape)
    kept = [label for label in range(rank) if label != axis]
    sizes = {label: shape[label] for label in kept}
    for operand, tensor in ((scatter.value, value), (scatter.index, index)):
        for label, size in zip(operand.axes, tensor.shape, strict=True):
            sizes[label] = max(sizes.get(label, 1), size)
    summed = sorted(label for label in sizes if label >= rank)
    axis_of = {label: number for number, label in enumerate([*kept, *summed])}
    full = [sizes[label] for label in axis_of]
    flat = [*full[: len(kept)], -1]

    def spread(tensor: Tensor, operand: Operand) -> Tensor:
        there = aligned(tensor, [axis_of[label] for label in operand.axes], len(full))
        return there.expand(full).reshape(flat)

    chosen = _from_the_front(spread(index, scatter.index), shape[axis])
    filled = value.new_zeros((*flat[:-1], shape[axis]))
    return filled.scatter_add(-1, chosen, spread(value, scatter.value)).movedim(-1, axis)
