"""What does an instruction make of tensors? The plain definitions, in the float type of the simulation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import torch
from torch import Tensor

from tpdyn.pointwise import lookup
from tpdyn.program.evaluation.spectra import eigenvalues, spectral
from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Eigenvalues,
    Gather,
    Operand,
    Scatter,
    Slice,
    Spectral,
)
from tpdyn.readings.sampled.einsum import einsum

Plain = Contract | Combine | Apply | Gather | Scatter | Slice | Concat | Eigenvalues | Spectral


def evaluate(instruction: Plain, operands: Sequence[Tensor], shape: tuple[int, ...], width: int, one: Tensor) -> Tensor:
    """The value of an instruction, every operand being a tensor."""
    rank = len(shape)
    floats = [value if value.dtype == one.dtype else value.to(one) for value in operands]
    match instruction:
        case Contract(operands=reads, scale=scale):
            result = einsum([(value, read.axes) for value, read in zip(floats, reads, strict=True)], range(rank))
            factor = scale.at(width)
            return (result if factor == 1 else result * factor).expand(shape)
        case Combine(terms=terms, constant=constant):
            result = one * constant.at(width)
            for (scale, read), value in zip(terms, floats, strict=True):
                result = result + scale.at(width) * aligned(value, read.axes, rank)
            return result.expand(shape)
        case Apply(function=name, operands=reads, parameters=parameters, along=along):
            numbers: list[Any] = [parameter.at(width) for parameter in parameters]
            function = lookup(name, tuple(numbers))
            numbers += [] if along is None else [along]
            inputs = [aligned(value, read.axes, rank).expand(shape) for read, value in zip(reads, floats, strict=True)]
            made: Tensor = function.value(torch, *inputs, *numbers).to(one)
            return made
        case Gather(value=read, index=index, axis=axis):
            return _gather(read, index, axis, operands[0], operands[1], shape)
        case Scatter(value=read, index=index, axis=axis):
            return _scatter(read, index, axis, operands[0], operands[1], shape)
        case Slice(value=read, axis=axis, start=start, step=step, length=length):
            entries = torch.arange(length, device=one.device) * step + start
            taken = operands[0].index_select(read.axes.index(axis), entries)
            if length == 1:
                taken = taken.squeeze(read.axes.index(axis))
                read = Operand(read.var, tuple(label for label in read.axes if label != axis))
            return aligned(taken, read.axes, rank).expand(shape)
        case Concat(parts=parts, lengths=lengths, axis=axis):
            values, pieces = iter(operands), []
            for part, extent in zip(parts, lengths, strict=True):
                size = (*shape[:axis], extent.size_at(width), *shape[axis + 1 :])
                pieces.append(
                    one.new_zeros(size) if part is None else aligned(next(values), part.axes, rank).expand(size)
                )
            return torch.cat(pieces, axis)
        case Eigenvalues():
            return eigenvalues(instruction, floats[0], rank).expand(shape)
        case Spectral():
            return spectral(instruction, floats[0], floats[1], rank).expand(shape)
        case _:
            assert_never(instruction)


def aligned(value: Tensor, axes: tuple[int, ...], rank: int) -> Tensor:
    """The value with its axes in the order of the labels `0 .. rank-1`; a label that it lacks gets size 1."""
    value = value.permute(sorted(range(len(axes)), key=axes.__getitem__))
    for label in range(rank):
        if label not in axes:
            value = value.unsqueeze(label)
    return value


def _gather(read: Operand, index: Operand, axis: int, value: Tensor, where: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`result[...] = value[..., index[...], ...]`: the gathered axis last, all others those of the result."""
    rank = len(shape)
    table = aligned(value, tuple(rank if label == axis else label for label in read.axes), rank + 1)
    table = table.expand(*shape, table.shape[-1])
    chosen = aligned(where, index.axes, rank).expand(shape).unsqueeze(-1)
    return table.gather(-1, chosen).squeeze(-1)


def _scatter(read: Operand, index: Operand, axis: int, value: Tensor, where: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`result[..., index[...], ...] += value[...]`: the filled axis last, the labels summed over flattened into one."""
    rank = len(shape)
    kept = [label for label in range(rank) if label != axis]
    summed = sorted({label for operand in (read, index) for label in operand.axes if label >= rank})
    place = {label: number for number, label in enumerate([*kept, *summed])}
    sizes = {label: shape[label] for label in kept}
    for operand, tensor in ((read, value), (index, where)):
        sizes |= dict(zip(operand.axes, tensor.shape, strict=True))
    full = [sizes[label] for label in (*kept, *summed)]
    flat = [*full[: len(kept)], -1]
    entries = aligned(value, tuple(place[a] for a in read.axes), len(full)).expand(full).reshape(flat)
    chosen = aligned(where, tuple(place[a] for a in index.axes), len(full)).expand(full).reshape(flat)
    filled = torch.zeros(*flat[:-1], shape[axis], dtype=value.dtype, device=value.device)
    return filled.scatter_add(-1, chosen, entries).movedim(-1, axis)
