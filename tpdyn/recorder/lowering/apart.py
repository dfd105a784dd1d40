"""What is one entry along a dim, if tensors were laid side by side and then computed with entrywise?

It is computed from that tensor alone. Optimizers treat a complex parameter as a real one with a last dim of two. Taken apart,
its parts have updates of their own, as other parameters have: `w.real_1 = w.real - lr * m.real`.
"""

from __future__ import annotations

from typing import Any, final

from tpdyn.program.instructions import Apply, Combine, Concat, Contract, Instruction, Operand, operands_of
from tpdyn.recorder.lowered import Reshape
from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.values import Handle, Tensor


def apart(b: LoweredBuilder, x: Any, dim: int, index: int) -> Tensor:
    """Write `x[..., index, ...]`, where dim is dropped: from the tensor that was laid there, if all of x comes from such."""
    return _Apart(b, index).entry(b.value(x), dim)


@final
class _Apart:
    def __init__(self, b: LoweredBuilder, index: int) -> None:
        self.b, self.index = b, index

    def entry(self, x: Handle, dim: int) -> Tensor:
        key, instruction, made = (x.var, dim, self.index), self.b.instruction(x), self.b.entries
        if not self.b.is_whole(x) or not self.is_laid(x.var, dim) or isinstance(instruction, Concat):
            return self.b.select(x, dim, self.index)
        if key not in made:  # a moment of the step before was made there
            made[key] = self.again(instruction, len(x.shape), dim)
        return made[key]

    def is_laid(self, var: int, dim: int) -> bool:
        """Tell whether all that has this dim was laid along it, and is computed with entry by entry."""
        if (var, dim) not in self.b.laid:
            instruction = self.b.statements[var].instruction
            if isinstance(instruction, Concat):
                self.b.laid[var, dim] = instruction.axis == dim and all(
                    each.constant == 1 for each in instruction.lengths
                )
            elif isinstance(instruction, Contract | Combine) or (
                isinstance(instruction, Apply) and instruction.along != dim
            ):
                having = [operand for operand in operands_of(instruction) if dim in operand.axes]
                self.b.laid[var, dim] = all(self.is_laid(each.var, each.axes.index(dim)) for each in having)
            else:
                self.b.laid[var, dim] = False
        return self.b.laid[var, dim]

    def again(self, instruction: Instruction | Reshape, rank: int, dim: int) -> Tensor:
        """Write an instruction for the entry."""
        out = [label for label in range(rank) if label != dim]
        if isinstance(instruction, Contract):
            pairs = [self.part(operand, dim) for operand in instruction.operands]
            return self.b.contract(out, *pairs, scale=instruction.scale.constant)
        if isinstance(instruction, Combine):
            terms = [(scale.constant, self.aligned(operand, dim, out)) for scale, operand in instruction.terms]
            return self.b.combine(terms, instruction.constant.constant, epsilon=instruction.epsilon)
        assert isinstance(instruction, Apply)
        along = None if instruction.along is None else out.index(instruction.along)
        operands = [self.aligned(operand, dim, out) for operand in instruction.operands]
        parameters = [each.constant for each in instruction.parameters]
        return self.b.apply(instruction.function, *operands, parameters=parameters, along=along)

    def part(self, operand: Operand, dim: int) -> tuple[Tensor, list[int]]:
        """Return an operand's entry, with the labels of its axes."""
        shape = self.b.statements[operand.var].shape
        whole = Handle(operand.var, tuple(range(len(shape))), shape)
        if dim not in operand.axes:
            return whole, list(operand.axes)
        return self.entry(whole, operand.axes.index(dim)), [label for label in operand.axes if label != dim]

    def aligned(self, operand: Operand, dim: int, out: list[int]) -> Handle:
        """Return an operand's entry with the axes of the result; those of size 1 that are broadcast have other labels."""
        x, labels = self.part(operand, dim)
        once = [axis for axis, label in enumerate(labels) if label not in out]
        value = self.b.value(self.b.squeeze(x, once)) if once else self.b.value(x)
        labels = [label for label in labels if label in out]
        value = self.b.value(self.b.permute(value, [labels.index(label) for label in out if label in labels]))
        for axis, label in enumerate(out):
            if label not in labels:
                value = self.b.value(self.b.unsqueeze(value, axis))
        return value
