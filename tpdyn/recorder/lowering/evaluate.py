"""What values does a lowered program take? Each statement by the definition of its instruction, in torch.

Slow and literal: it is what lowering is checked against, and the script that was recorded is checked against it.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from tpdyn.program.evaluation.evaluate import evaluate as evaluate_instruction
from tpdyn.program.instructions import Leaf, operands_of
from tpdyn.program.lifetimes import dying
from tpdyn.recorder.lowered import Lowered, Reshape
from tpdyn.recorder.lowering.finish import reads


def evaluate(lowered: Lowered, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Return the value of each statement, floats in `dtype`, leaves from `lowered.leaf_values`."""
    return list(evaluate_some(lowered, range(len(lowered.statements)), dtype).values())


def evaluate_some(lowered: Lowered, keep: Collection[int], dtype: torch.dtype = torch.float64) -> dict[int, Tensor]:
    """Return the values of some statements; the others are freed once nothing reads them any more."""
    freed = dying(map(reads, lowered.statements), frozenset(keep))
    values: dict[int, Tensor] = {}
    for position in range(len(lowered.statements)):
        values[position] = _value(lowered, position, values, dtype)
        for var in freed.get(position, ()):
            del values[var]
    return {position: values[position] for position in sorted(keep)}


def _value(lowered: Lowered, position: int, values: dict[int, Tensor], dtype: torch.dtype) -> Tensor:
    statement = lowered.statements[position]
    instruction = statement.instruction
    if isinstance(instruction, Reshape):
        return values[instruction.value].reshape(statement.shape)
    if isinstance(instruction, Leaf):
        value = lowered.leaf_values[position]
        value = value.to(dtype) if value.dtype.is_floating_point else value
        if tuple(value.shape) != statement.shape:
            raise ValueError(f"the leaf {instruction.name} has shape {tuple(value.shape)}, not {statement.shape}")
        return value
    operands = [values[operand.var] for operand in operands_of(instruction)]
    kind, width = statement.type, lowered.width
    try:
        return evaluate_instruction(instruction, operands, statement.shape, width, dtype=dtype, type=kind)
    except (ValueError, RuntimeError) as error:
        error.add_note(f"in statement {position} of the lowered program, {instruction}, of shape {statement.shape}")
        raise
