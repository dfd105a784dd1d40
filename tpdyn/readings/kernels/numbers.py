"""What are the numbers of a forward pass for some inputs? Data, functions of data, and sums over the width in the limit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, final

import torch
from torch import Tensor

from tpdyn.exponents import ZERO, Order, Scaling, show_order
from tpdyn.pointwise import lookup
from tpdyn.program.instructions import Apply, Combine, Concat, Contract, Gather, Leaf, Operand, Slice
from tpdyn.program.program import Program


class Sums(Protocol):
    """Who works out what numbers depend on: sums over the width, and the laws of Gaussian values."""

    def sum_over_width(self, numbers: Numbers, var: int) -> Number:
        """n times a mean, and how large the fluctuation is."""

    def law(self, numbers: Numbers, var: int) -> tuple[Tensor, Tensor | None]:
        """Variance and mean of a Gaussian value."""

    def refusal(self, var: int, text: str) -> Exception:
        """What is not covered, with its line."""


@final
@dataclass(frozen=True)
class Number:
    """`value * n^order` (order None: zero), up to a random part of size `n^fluctuation` (None: exact)."""

    value: Tensor
    order: Order = ZERO
    fluctuation: Order = None

    def times(self, scale: Scaling) -> Number:
        """Times a function of the width, of which the leading term counts."""
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
        """Some of the samples; what is known of all is looked up there."""
        return Numbers(self.program, self.data, self.batch, self.inputs[start:stop], (self, start))

    # -- shapes --------------------------------------------------------------------------------------------------------

    def axis_size(self, var: int, axis: int) -> int:
        """The size of a finite axis, for these inputs."""
        if self.batch.get(var) == axis:
            return self.samples
        return int(self.program.statements[var].shape[axis].constant)

    def size(self, place: Operand, label: int) -> int:
        """The size of an operand's axis, by its label."""
        return self.axis_size(place.var, place.axes.index(label))

    def finite_shape(self, var: int) -> tuple[int, ...]:
        """The sizes of the finite axes."""
        shape = self.program.statements[var].shape
        return tuple(self.axis_size(var, axis) for axis, dim in enumerate(shape) if not dim.is_wide)

    # -- laws of Gaussian values, kept for all pairs ----------------------------------------------------------------------

    def has_kept(self, var: int) -> bool:
        """Whether variance and mean are known already."""
        return var in self.laws

    def keep(self, var: int, law: tuple[Tensor, Tensor | None]) -> None:
        """Keep a variance and a mean."""
        self.laws[var] = law

    def kept(self, var: int) -> tuple[Tensor, Tensor | None]:
        """What was kept."""
        return self.laws[var]

    def law_of_parent(self, var: int, kernels: Sums) -> tuple[Tensor, Tensor | None] | None:
        """These rows of what is known of all samples."""
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
        """The number in the limit, with the axes of its statement; refused where it grows, or stays random."""
        made = self.number(var, kernels)
        if made.fluctuation is not None and made.fluctuation >= 0:
            raise kernels.refusal(
                var,
                "a sum over the width stays random in the limit (attention logits divided by sqrt(d)?); divide by d, or ask "
                "for the limit of a training run",
            )
        if made.order is not None and made.order > 0:
            raise kernels.refusal(var, f"it grows with the width, as n^{show_order(made.order)}")
        return made.value if made.order == 0 else torch.zeros_like(made.value)

    def number(self, var: int, kernels: Sums) -> Number:
        """The number with its power of the width."""
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
                dim.is_wide for place in operands for dim in self.program.statements[place.var].shape
            ):
                return kernels.sum_over_width(self, var)
            case Contract(operands=(place,), scale=scale) | Combine(terms=((scale, place),)) if not scale.is_zero:
                inner = self.number(place.var, kernels)
                alone = isinstance(statement.instruction, Contract) or statement.instruction.constant.is_zero
                if alone and (inner.order != 0 or not scale.is_constant or inner.fluctuation is not None):
                    made = inner.times(scale)
                    shape = tuple(self.axis_size(var, axis) for axis in range(len(statement.shape)))
                    return replace(made, value=_summed_by(made.value, list(place.axes), shape))
                return Number(self._made(var, kernels))
            case _:  # made of numbers that do not depend on the width, or refused there
                return Number(self._made(var, kernels))

    def _made(self, var: int, kernels: Sums) -> Tensor:
        statement = self.program.statements[var]
        instruction = statement.instruction
        shape = tuple(self.axis_size(var, axis) for axis in range(len(statement.shape)))
        if var == self.data:
            return self.inputs.reshape(shape)
        match instruction:
            case Leaf():
                return self._leaf(statement.name, instruction, shape)
            case Contract(operands=operands, scale=scale):
                arguments: list[object] = []
                for place in operands:
                    arguments += [self._float(place.var, kernels), list(place.axes)]
                present = [k for k in range(len(shape)) if any(k in place.axes for place in operands)]
                made = torch.einsum(*arguments, present)
                return (_spread(made, present, len(shape)) * float(scale.constant)).expand(shape)
            case Combine(terms=terms, constant=constant):
                total = torch.full(shape, float(constant.constant), dtype=self.dtype)
                for scale, place in terms:
                    total = total + self._aligned(place, len(shape), kernels) * float(scale.constant)
                return total
            case Apply(function=name, operands=operands, parameters=parameters, along=along):
                numbers = tuple(float(parameter.constant) for parameter in parameters)
                inputs = [self._aligned(place, len(shape), kernels).expand(shape) for place in operands]
                extra = () if along is None else (along,)
                made = lookup(name, numbers).value(torch, *inputs, *numbers, *extra)
                assert isinstance(made, Tensor)
                return made
            case Gather(value=place, index=index, axis=axis):
                rank = len(shape)
                moved = Operand(place.var, tuple(rank if label == axis else label for label in place.axes))
                table = self._aligned(moved, rank + 1, kernels, exact=True)
                where = self._aligned(index, rank, kernels, exact=True).long().expand(shape)
                return table.expand(*shape, table.shape[-1]).gather(-1, where.unsqueeze(-1)).squeeze(-1)
            case Slice(value=place, axis=axis, start=start, step=step, length=length):
                picked = place.axes.index(axis)
                taken = self.value(place.var, kernels).index_select(picked, torch.arange(length) * step + start)
                labels = list(place.axes)
                if length == 1:
                    taken = taken.squeeze(picked)
                    labels.remove(axis)
                return _spread_by(taken, labels, len(shape)).expand(shape)
            case Concat(parts=parts, lengths=lengths, axis=axis):
                pieces = []
                for part, extent in zip(parts, lengths, strict=True):
                    size = (*shape[:axis], int(extent.constant), *shape[axis + 1 :])
                    if part is None:
                        pieces.append(torch.zeros(size, dtype=self.dtype))
                    else:
                        pieces.append(self._aligned(part, len(shape), kernels).expand(size))
                return torch.cat(pieces, axis)
            case _:
                raise NotImplementedError(type(instruction).__name__)

    def _leaf(self, name: str, leaf: Leaf, shape: tuple[int, ...]) -> Tensor:
        if name in self.program.arrays:
            made = torch.as_tensor(self.program.arrays[name])
            return made if leaf.law.kind == "index" else made.to(self.dtype)
        return torch.full(shape, float(leaf.law.location.constant), dtype=self.dtype)

    def _float(self, var: int, kernels: Sums) -> Tensor:
        value = self.value(var, kernels)
        return value if value.is_floating_point() else value.to(self.dtype)

    def _aligned(self, place: Operand, rank: int, kernels: Sums, *, exact: bool = False) -> Tensor:
        value = self.value(place.var, kernels) if exact else self._float(place.var, kernels)
        return _spread_by(value, list(place.axes), rank)


def _spread(value: Tensor, present: list[int], rank: int) -> Tensor:
    for axis in range(rank):
        if axis not in present:
            value = value.unsqueeze(axis)
    return value


def _spread_by(value: Tensor, labels: list[int], rank: int) -> Tensor:
    """Axes in the order of their labels, missing ones of size 1."""
    order = sorted(range(len(labels)), key=lambda k: labels[k])
    return _spread(value.permute(order), sorted(labels), rank)


def _summed_by(value: Tensor, labels: list[int], shape: tuple[int, ...]) -> Tensor:
    """Summed over labels beyond the rank, the rest in order, missing ones repeated."""
    rank = len(shape)
    for axis in sorted((k for k, label in enumerate(labels) if label >= rank), reverse=True):
        value = value.sum(axis)
    return _spread_by(value, [label for label in labels if label < rank], rank).expand(shape)
