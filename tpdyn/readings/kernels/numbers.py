"""What are the numbers of a forward pass for some inputs? Data, functions of data, and sums over the width in the limit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, assert_never, final

import torch
from torch import Tensor

from tpdyn.exponents import ZERO, Order, Scaling, show_order
from tpdyn.program.evaluation.evaluate import evaluate
from tpdyn.program.evaluation.labels import aligned
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
    operands_of,
)
from tpdyn.program.program import Program


class Sums(Protocol):
    """Who works out what numbers depend on: sums over the width, and the laws of Gaussian values."""

    def sum_over_width(self, numbers: Numbers, var: int) -> Number:
        """Return n times a mean, and how large the fluctuation is."""

    def law(self, numbers: Numbers, var: int) -> tuple[Tensor, Tensor | None]:
        """Return variance and mean of a Gaussian value."""

    def refusal(self, var: int, text: str) -> Exception:
        """Make the error for a case that is not covered, with its line."""


@final
@dataclass(frozen=True)
class Number:
    """`value * n^order` (order None: zero), up to a random part of size `n^fluctuation` (None: exact)."""

    value: Tensor
    order: Order = ZERO
    fluctuation: Order = None

    def times(self, scale: Scaling) -> Number:
        """Multiply by a function of the width, of which the leading term counts."""
        coefficient, power = scale.terms[0]
        order = None if self.order is None else self.order + power
        return Number(
            self.value * float(coefficient), order, None if self.fluctuation is None else self.fluctuation + power
        )


@final
class Numbers:
    """The numbers of one side: of all its inputs, or of some rows of a larger `parent`.

    batch: for each value, the axis that counts the samples.
    """

    def __init__(
        self,
        program: Program,
        data: int,
        batch: dict[int, int],
        inputs: Tensor,
        parent: tuple[Numbers, int] | None = None,
    ) -> None:
        self.program, self.data, self.batch, self.inputs = program, data, batch, inputs
        self.samples = inputs.shape[0]
        self.dtype = inputs.dtype if inputs.is_floating_point() else torch.get_default_dtype()
        self.parent = parent
        self.values: dict[int, Number] = {}
        self.laws: dict[int, tuple[Tensor, Tensor | None]] = {}

    def rows(self, start: int, stop: int) -> Numbers:
        """Select some of the samples; what is known of all is looked up there."""
        return Numbers(self.program, self.data, self.batch, self.inputs[start:stop], (self, start))

    # -- shapes --------------------------------------------------------------------------------------------------------

    def axis_size(self, var: int, axis: int) -> int:
        """Return the size of a finite axis, for these inputs."""
        if self.batch.get(var) == axis:
            return self.samples
        return int(self.program.statements[var].shape[axis].constant)

    def size(self, operand: Operand, label: int) -> int:
        """Return the size of an operand's axis, by its label."""
        return self.axis_size(operand.var, operand.axes.index(label))

    def finite_shape(self, var: int) -> tuple[int, ...]:
        """Return the sizes of the finite axes."""
        shape = self.program.statements[var].shape
        return tuple(self.axis_size(var, axis) for axis, dim in enumerate(shape) if not dim.is_wide)

    # -- laws of Gaussian values, kept for all pairs ----------------------------------------------------------------------

    def law_of_parent(self, var: int, kernels: Sums) -> tuple[Tensor, Tensor | None] | None:
        """Return these rows of the variance and mean of all samples, if they are rows of a parent."""
        if self.parent is None:
            return None
        whole, start = self.parent
        variance, mean = kernels.law(whole, var)
        return self._cut(var, variance, start), None if mean is None else self._cut(var, mean, start)

    def _cut(self, var: int, value: Tensor, start: int) -> Tensor:
        if var not in self.batch:
            return value
        wide = self.program.statements[var].shape
        axis = sum(not wide[k].is_wide for k in range(self.batch[var]))
        return value.narrow(axis, start, self.samples)

    # -- values --------------------------------------------------------------------------------------------------------

    def value(self, var: int, kernels: Sums) -> Tensor:
        """Compute the number in the limit, with the axes of its statement; refuse one that grows or stays random."""
        number = self.number(var, kernels)
        if number.fluctuation is not None and number.fluctuation >= 0:
            raise kernels.refusal(
                var,
                "a sum over the width stays random in the limit (attention logits divided by sqrt(d)?). Divide by d, or ask "
                "for the limit of a training run",
            )
        if number.order is not None and number.order > 0:
            raise kernels.refusal(var, f"it grows with the width, as n^{show_order(number.order)}")
        return number.value if number.order == 0 else torch.zeros_like(number.value)

    def number(self, var: int, kernels: Sums) -> Number:
        """Compute the number with its power of the width."""
        if var not in self.values:
            if self.parent is not None and var != self.data:
                whole = self.parent[0].number(var, kernels)
                self.values[var] = replace(whole, value=self._cut(var, whole.value, self.parent[1]))
            else:
                self.values[var] = self._found(var, kernels)
        return self.values[var]

    def _found(self, var: int, kernels: Sums) -> Number:
        statement = self.program.statements[var]
        match statement.instruction:
            case Contract(operands=operands) if any(
                dim.is_wide for operand in operands for dim in self.program.statements[operand.var].shape
            ):
                return kernels.sum_over_width(self, var)
            case Contract(operands=(operand,), scale=scale) | Combine(terms=((scale, operand),)) if not scale.is_zero:
                inner = self.number(operand.var, kernels)
                alone = isinstance(statement.instruction, Contract) or statement.instruction.constant.is_zero
                if alone and (inner.order != 0 or not scale.is_constant or inner.fluctuation is not None):
                    scaled = inner.times(scale)
                    shape = tuple(self.axis_size(var, axis) for axis in range(len(statement.shape)))
                    return replace(scaled, value=_summed_by(scaled.value, list(operand.axes), shape))
                return Number(self._made(var, kernels))
            case _:  # made of numbers that do not depend on the width, or refused there
                return Number(self._made(var, kernels))

    def _made(self, var: int, kernels: Sums) -> Tensor:
        statement = self.program.statements[var]
        instruction = statement.instruction
        shape = tuple(self.axis_size(var, axis) for axis in range(len(statement.shape)))
        if var == self.data:
            return self.inputs.reshape(shape)
        if isinstance(instruction, Leaf):
            return self._leaf(statement.name, instruction, shape)
        if not all(scale.is_constant for scale in _scales(instruction)):
            raise kernels.refusal(var, "a number that depends on the width beside others")
        operands = [self.value(operand.var, kernels) for operand in operands_of(instruction)]
        return evaluate(
            instruction, operands, shape, 1, dtype=self.dtype, type=statement.type, device=self.inputs.device
        )

    def _leaf(self, name: str, leaf: Leaf, shape: tuple[int, ...]) -> Tensor:
        if name in self.program.arrays:
            array = torch.as_tensor(self.program.arrays[name])
            return array if leaf.law.kind == "index" else array.to(self.dtype)
        return torch.full(shape, float(leaf.law.location.constant), dtype=self.dtype)


def _summed_by(value: Tensor, labels: list[int], shape: tuple[int, ...]) -> Tensor:
    """Sum over labels beyond the rank; put the rest in order, and repeat along missing ones."""
    rank = len(shape)
    for axis in sorted((k for k, label in enumerate(labels) if label >= rank), reverse=True):
        value = value.sum(axis)
    return aligned(value, tuple(label for label in labels if label < rank), rank).expand(shape)


def _scales(instruction: Instruction) -> tuple[Scaling, ...]:
    """Return the constants of an instruction."""
    match instruction:
        case Contract(scale=scale):
            return (scale,)
        case Combine(terms=terms, constant=constant):
            return (*(scale for scale, _ in terms), constant)
        case Apply(parameters=parameters):
            return parameters
        case Leaf() | Gather() | Scatter() | Slice() | Concat() | Eigenvalues() | Spectral():
            return ()
    assert_never(instruction)
