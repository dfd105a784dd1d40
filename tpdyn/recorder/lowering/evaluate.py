"""What values does a lowered program take? The plain definition, statement by statement, in torch.

Slow and literal: it is what lowering is checked against, and the script that was recorded is checked against it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch

from tpdyn.pointwise import lookup
from tpdyn.program.evaluation.spectra import eigenvalues, spectral
from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Eigenvalues,
    Gather,
    Leaf,
    Operand,
    Scatter,
    Slice,
    Spectral,
)
from tpdyn.recorder.lowered import Lowered, LoweredStatement, Reshape
from tpdyn.recorder.lowering.finish import reads


def evaluate(lowered: Lowered, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """The value of each statement, floats in `dtype`, leaves from `lowered.leaf_values`."""
    values: list[torch.Tensor] = []
    for value in _values(lowered, dtype, values):
        values.append(value)
    return values


def evaluate_some(
    lowered: Lowered, keep: Collection[int], dtype: torch.dtype = torch.float64
) -> dict[int, torch.Tensor]:
    """The values of some statements; the others are let go of once nothing reads them any more."""
    kept, last = frozenset(keep), list(range(len(lowered.statements)))
    for position, statement in enumerate(lowered.statements):
        for var in reads(statement):
            last[var] = position
    dying: dict[int, list[int]] = {}
    for var, position in enumerate(last):
        if var not in kept:
            dying.setdefault(position, []).append(var)
    values: list[torch.Tensor] = []
    gone = torch.empty(0)
    for value in _values(lowered, dtype, values):
        values.append(value)
        for var in dying.get(len(values) - 1, ()):
            values[var] = gone
    return {position: values[position] for position in sorted(kept)}


def _values(lowered: Lowered, dtype: torch.dtype, values: list[torch.Tensor]) -> Iterator[torch.Tensor]:
    """One value after the other, from those already in `values`."""
    for position, statement in enumerate(lowered.statements):
        if isinstance(statement.instruction, Leaf):
            value = lowered.leaf_values[position]
            value = value.to(dtype) if value.dtype.is_floating_point else value
        else:
            value = _step(statement, values, dtype)
        if tuple(value.shape) != statement.shape:
            raise ValueError(
                f"statement {position}, {statement.instruction}, made {tuple(value.shape)}: not {statement.shape}"
            )
        yield value


def _step(statement: LoweredStatement, values: list[torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    shape = statement.shape
    instruction = statement.instruction
    match instruction:
        case Reshape(value=var):
            return values[var].reshape(shape)
        case Contract(operands=operands, scale=scale):
            return float(scale.constant) * _product(operands, values, shape, dtype)
        case Combine(terms=terms, constant=constant):
            total = torch.full(shape, float(constant.constant), dtype=dtype)
            for scale, operand in terms:
                total = total + float(scale.constant) * _laid_out(operand, values, shape).to(dtype)
            return total
        case Apply(function=name, operands=operands, parameters=parameters, along=along):
            arguments = [_laid_out(operand, values, shape) for operand in operands]
            numbers = tuple(float(p.constant) for p in parameters)
            function = lookup(name, numbers)
            if function.along:
                return function.value(torch, arguments[0], along)  # type: ignore[no-any-return]
            made = function.value(torch, *arguments, *numbers).to(dtype)
            return made.expand(shape)  # type: ignore[no-any-return]
        case Gather(value=value, index=index, axis=axis):
            return _gather(value, index, axis, values, shape)
        case Scatter(value=value, index=index, axis=axis):
            return _scatter(value, index, axis, values, shape)
        case Slice(value=operand, axis=axis, start=start, step=step, length=length):
            where = operand.axes.index(axis)
            source = values[operand.var]
            picked = source.index_select(where, torch.tensor([start + step * k for k in range(length)]))
            if axis >= len(shape):
                picked = picked.squeeze(where)
                labels = tuple(label for label in operand.axes if label != axis)
            else:
                labels = operand.axes
            return _arrange(picked, labels, shape).expand(shape)
        case Concat(parts=parts, lengths=lengths, axis=axis):
            pieces = []
            for part, extent in zip(parts, lengths, strict=True):
                size = (*shape[:axis], int(extent.constant), *shape[axis + 1 :])
                pieces.append(
                    torch.zeros(size, dtype=dtype)
                    if part is None
                    else _laid_out(part, values, size).to(dtype).expand(size)
                )
            return torch.cat(pieces, axis)
        case Eigenvalues(value=value):
            return eigenvalues(instruction, values[value.var].to(dtype), len(shape)).expand(shape)
        case Spectral(weights=weights, value=value):
            factors, matrix = values[weights.var].to(dtype), values[value.var].to(dtype)
            return spectral(instruction, factors, matrix, len(shape)).expand(shape)
        case _:
            raise TypeError(f"no evaluation for {type(instruction).__name__}")


def _arrange(tensor: torch.Tensor, labels: tuple[int, ...], shape: tuple[int, ...]) -> torch.Tensor:
    """Axes put where their labels say; labels beyond the rank (size 1) dropped; missing axes of size 1."""
    rank = len(shape)
    dropped = [axis for axis, label in enumerate(labels) if label >= rank]
    if any(tensor.shape[axis] != 1 for axis in dropped):
        raise ValueError(f"an axis of size {tuple(tensor.shape)} is dropped: labels {labels}, result {shape}")
    tensor = tensor.squeeze(tuple(dropped)) if dropped else tensor
    kept = [label for label in labels if label < rank]
    tensor = tensor.permute(sorted(range(len(kept)), key=kept.__getitem__))
    for label in range(rank):
        if label not in kept:
            tensor = tensor.unsqueeze(label)
    return tensor


def _laid_out(operand: Operand, values: list[torch.Tensor], shape: tuple[int, ...]) -> torch.Tensor:
    return _arrange(values[operand.var], operand.axes, shape)


def _product(
    operands: tuple[Operand, ...], values: list[torch.Tensor], shape: tuple[int, ...], dtype: torch.dtype
) -> torch.Tensor:
    present = sorted({label for operand in operands for label in operand.axes if label < len(shape)})
    arguments: list[object] = []
    for operand in operands:
        arguments += [values[operand.var].to(dtype), list(operand.axes)]
    # einsum takes labels below 52: number them anew
    labels = {label: k for k, label in enumerate(dict.fromkeys(x for operand in operands for x in operand.axes))}
    arguments = [[labels[x] for x in a] if isinstance(a, list) else a for a in arguments]
    made = torch.einsum(*arguments, [labels[x] for x in present])
    return _arrange(made, tuple(present), shape).expand(shape)


def _gather(
    value: Operand, index: Operand, axis: int, values: list[torch.Tensor], shape: tuple[int, ...]
) -> torch.Tensor:
    """Every label becomes an explicit position grid: result[i...] = value[positions of its labels]."""
    rank = len(shape)
    source, positions = values[value.var], _arrange(values[index.var], index.axes, shape)
    grids = []
    for label, size in zip(value.axes, source.shape):
        if label == axis:
            grids.append(positions.expand(shape))
        elif label >= rank:
            grids.append(torch.zeros(shape, dtype=torch.long))
        else:
            grids.append(torch.arange(size).reshape([-1 if k == label else 1 for k in range(rank)]).expand(shape))
    return source[tuple(grids)]


def _scatter(
    value: Operand, index: Operand, axis: int, values: list[torch.Tensor], shape: tuple[int, ...]
) -> torch.Tensor:
    """Over the space of all labels but the filled one: result[..., index, ...] += value."""
    source, positions = values[value.var], values[index.var]
    sizes: dict[int, int] = {label: size for label, size in enumerate(shape) if label != axis}
    for operand, tensor in ((value, source), (index, positions)):
        for label, size in zip(operand.axes, tensor.shape):
            sizes[label] = max(sizes.get(label, 1), size)
    space = sorted(sizes)
    full = tuple(sizes[label] for label in space)
    where = {label: k for k, label in enumerate(space)}

    def spread(tensor: torch.Tensor, labels: tuple[int, ...]) -> torch.Tensor:
        return _arrange(tensor, tuple(where[label] for label in labels), full).expand(full)

    grids = []
    for label in range(len(shape)):
        if label == axis:
            grids.append(spread(positions, index.axes))
        else:
            grids.append(spread(torch.arange(sizes[label]), (label,)))
    result = torch.zeros(shape, dtype=source.dtype)
    return result.index_put(tuple(grids), spread(source, value.axes), accumulate=True)
