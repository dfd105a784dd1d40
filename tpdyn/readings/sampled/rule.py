"""How does each instruction act on values that are stored and on values that are not? The rule of the sampled reading.

A value is a tensor, or, with two wide axes, a `Matrix` that is never written down.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Union, assert_never, final
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from tpdyn.program.errors import OutsideTheory
from tpdyn.program.evaluation.evaluate import evaluate
from tpdyn.program.evaluation.leaves import known
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
from tpdyn.program.program import Program, Statement
from tpdyn.readings.sampled.atoms import Unseen
from tpdyn.readings.sampled.einsum import Labels
from tpdyn.readings.sampled.gaussian import Draw, Gaussian, Orthogonal, Side
from tpdyn.readings.sampled.matrix import Matrix, Term, entrywise, inner, outer, product, unseen, vector
from tpdyn.readings.sampled.spectra import Spectrum, spectrum

Sampled = Union[Tensor, Matrix]

STANDS_FOR = {
    "iid": "known by mean and standard deviation only",
    "uniform": "uniform",
    "bernoulli": "zeros and ones",
    "orthogonal": "orthogonal, but not multiplied as one matrix of all its rows",
}
"""The laws that a Gaussian of the same mean and standard deviation replaces, as the notes call them."""


class Noise(Protocol):
    """Where fresh coordinates come from.

    sharp: whether norms of rows are their means, as in the limit.
    """

    sharp: bool

    def leaf(self, position: int, leaf: Leaf, shape: tuple[int, ...], wide: Labels) -> Tensor:
        """Draw a leaf with at most one wide axis from its law."""
        ...

    def draw(self, position: int, axes: Labels, shape: tuple[int, ...], number: int) -> Draw:
        """Draw fresh standard normal vectors for these axes of the leaf at a position, its matrix `number`."""
        ...

    def padding(self, position: int, size: int, number: int) -> Draw:
        """Draw fresh standard normal vectors of `size` further coordinates, which lie beside the leaf."""
        ...


@final
class Rule:
    """(position, statement, operand values) -> value, at one width.

    one: the number 1, in the float type and on the device of the computation.
    leaves: values by leaf name. operators: leaves with one wide axis that are answered for like matrices (`limit` asks for
    them).
    """

    def __init__(
        self,
        program: Program,
        width: int,
        noise: Noise,
        one: Tensor,
        *,
        leaves: Mapping[str, Tensor],
        operators: frozenset[str] = frozenset(),
        seed: int = 0,
    ) -> None:
        self.program, self.width, self.noise, self.leaves = program, width, noise, leaves
        self.operators, self.seed, self.one = operators, seed, one
        self.notes: dict[str, None] = {}
        self.spectra: WeakKeyDictionary[Matrix, dict[tuple[Labels, Labels], Spectrum]] = WeakKeyDictionary()

    def __call__(self, position: int, statement: Statement, operands: tuple[Sampled, ...]) -> Sampled:
        """Compute the value of a statement."""
        instruction = statement.instruction
        shape = tuple(dim.size_at(self.width) for dim in statement.shape)
        if isinstance(instruction, Leaf):
            return self._leaf(position, instruction, statement, shape)
        operands = self._entries(instruction, statement, operands)
        if len(statement.wide_axes) < 2 and not any(isinstance(operand, Matrix) for operand in operands):
            tensors = [operand for operand in operands if isinstance(operand, Tensor)]
            dtype, device = self.one.dtype, self.one.device
            return evaluate(instruction, tensors, shape, self.width, dtype=dtype, type=statement.type, device=device)
        return self._matrix(instruction, statement, shape, operands)

    # -- leaves -----------------------------------------------------------------------------------------------------

    def _leaf(self, position: int, leaf: Leaf, statement: Statement, shape: tuple[int, ...]) -> Sampled:
        wide, law = statement.wide_axes, leaf.law
        value = self._given(leaf, statement, shape)
        if value is not None:
            return (
                value
                if len(wide) < 2
                else self._made(shape, wide, [vector(value, tuple(range(len(shape))), len(shape))])
            )
        if len(wide) < 2 and leaf.name not in self.operators:
            return self.noise.leaf(position, leaf, shape, wide).to(self.one)
        location, std = law.moments_at(self.width)
        if law.kind in STANDS_FOR and law.kind != "orthogonal":
            self._note(leaf, STANDS_FOR[law.kind])
        terms = [vector(self.one * location, (), len(shape))] if location else []
        if std:
            terms.append(unseen(self._unseen(position, leaf, shape, wide, std)))
        return self._made(shape, wide, terms)

    def _given(self, leaf: Leaf, statement: Statement, shape: tuple[int, ...]) -> Tensor | None:
        value = known(self.program, leaf, shape, self.width, self.leaves)
        if value is None:
            return None
        return value.to(self.one.device) if statement.type == "int" else value.to(self.one)

    def _unseen(self, position: int, leaf: Leaf, shape: tuple[int, ...], wide: Labels, std: float) -> Unseen:
        if len(wide) > 2:
            raise OutsideTheory(f"outside the sampler: {leaf.name} is a Gaussian leaf with {len(wide)} wide axes")

        def make(number: int, rows: Labels, columns: Labels) -> Gaussian:
            sides: dict[Side, Labels] = {"rows": rows, "columns": columns}
            height, length = (math.prod(shape[axis] for axis in axes) for axes in sides.values())
            draw = {side: self.noise.draw(position, axes, shape, number) for side, axes in sides.items()}
            generator = np.random.default_rng([self.seed, position, number])
            if leaf.law.kind == "orthogonal" and len(wide) == 2:
                if (0,) in (rows, columns) and len(rows) + len(columns) == len(shape):
                    large, small = max(height, length), min(height, length)
                    if small < large:
                        short: Side = "rows" if height < length else "columns"
                        more = self.noise.padding(position, large - small, number)
                        draw[short] = _joined(draw[short], more)
                    return Orthogonal(
                        height, length, std * math.sqrt(large), draw, generator, self.one.dtype, self.one.device
                    )
                self._note(leaf, STANDS_FOR["orthogonal"])
            return Gaussian(height, length, std, draw, generator, self.one.dtype, self.one.device)

        return Unseen(leaf.name, shape, wide, make, self.one, self.noise.sharp)

    def _note(self, leaf: Leaf, law: str) -> None:
        self.notes[f"{leaf.name} ({law}) is replaced by Gaussian entries of the same mean and standard deviation"] = (
            None
        )

    def _entries(
        self, instruction: Instruction, statement: Statement, operands: tuple[Sampled, ...]
    ) -> tuple[Sampled, ...]:
        """Return the operands; `operators` (and sums with them) become tensors, unless they are only added or summed."""
        if isinstance(instruction, Combine) and len(statement.wide_axes) < 2:
            return operands
        rank, reads = len(statement.shape), operands_of(instruction)
        known: list[Sampled] = []
        for operand, read in zip(operands, reads, strict=True):
            summed = isinstance(instruction, Contract) and all(
                read.axes[axis] >= rank for axis in (operand.wide if isinstance(operand, Matrix) else ())
            )
            alone = sum(isinstance(each, Matrix) for each in operands) == 1
            small = isinstance(operand, Matrix) and len(operand.wide) < 2
            known.append(operand.stored() if small and not (summed and alone) else operand)  # type: ignore[union-attr]
        return tuple(known)

    # -- values that are not stored ---------------------------------------------------------------------------------

    def _made(self, shape: Sequence[int], wide: Sequence[int], terms: Sequence[Term]) -> Matrix:
        return Matrix(shape, wide, terms, self.one)

    def _matrix(
        self,
        instruction: Instruction,
        statement: Statement,
        shape: tuple[int, ...],
        operands: tuple[Sampled, ...],
    ) -> Sampled:
        rank, wide = len(shape), statement.wide_axes
        match instruction:
            case Contract(operands=reads, scale=scale):
                return self._contract(reads, operands, scale.at(self.width), shape, wide)
            case Combine(terms=terms, constant=constant):
                atoms = [vector(self.one * constant.at(self.width), (), rank)] if not constant.is_zero else []
                for (scale, read), value in zip(terms, operands, strict=True):
                    atoms += self._scaled(value, read.axes, scale.at(self.width), rank)
                return self._made(shape, wide, atoms)
            case Apply(function=name, operands=reads, parameters=parameters, along=along):
                numbers: list[Any] = [parameter.at(self.width) for parameter in parameters]
                function = instruction.facts
                if along is not None:
                    raise OutsideTheory(f"outside the sampler: {name} along an axis of a matrix")
                named = [(value, read.axes) for value, read in zip(operands, reads, strict=True)]
                return self._made(
                    shape, wide, [entrywise(lambda *xs: function.value(torch, *xs, *numbers), named, rank)]
                )
            case Eigenvalues():
                return self._eigenvalues(instruction, operands[0], shape)
            case Spectral():
                return self._made(shape, wide, self._spectral(instruction, operands[0], operands[1], shape))
            case Slice(value=read, axis=cut) if read.axes.index(cut) not in operands[0].wide:  # type: ignore[union-attr]
                entries = list(instruction.entries(self.width))
                picked = torch.eye(operands[0].shape[read.axes.index(cut)]).to(self.one)[entries]
                return self._along(read, operands[0], cut, picked, shape, wide)
            case Concat(axis=axis) if axis not in wide:
                return self._laid_out(instruction, operands, shape, wide)
            case Leaf() | Gather() | Scatter() | Slice() | Concat():
                what = type(instruction).__name__.lower()
                raise OutsideTheory(f"outside the sampler: {what} of a matrix whose rows and columns both grow")
            case _:
                assert_never(instruction)

    def _laid_out(self, concat: Concat, operands: tuple[Sampled, ...], shape: tuple[int, ...], wide: Labels) -> Matrix:
        """Lay matrices end to end along a finite axis (of tokens): each is placed among zeros, and all are added."""
        places = torch.eye(shape[concat.axis]).to(self.one)
        lengths, values = [length.size_at(self.width) for length in concat.lengths], iter(operands)
        terms: list[Term] = []
        for part, place in zip(concat.parts, torch.split(places, lengths, 1), strict=True):
            if part is not None:
                placed = self._along(part, next(values), concat.axis, place, shape, wide)
                terms += self._scaled(placed, tuple(range(len(shape))), 1.0, len(shape))
        return self._made(shape, wide, terms)

    def _along(
        self, read: Operand, value: Sampled, axis: int, numbers: Tensor, shape: tuple[int, ...], wide: Labels
    ) -> Sampled:
        """Multiply a matrix by numbers along a finite axis; their rows are those of the result. A missing axis has one entry."""
        rank = len(shape)
        inner = max(rank, *read.axes) + 1
        summed = tuple(inner if label == axis else label for label in read.axes)
        kept = (*((axis,) if axis < rank else ()), *((inner,) if axis in read.axes else ()))
        numbers = numbers if axis in read.axes else numbers[:, 0]
        numbers = numbers if axis < rank else numbers[0]
        return self._contract((Operand(0, summed), Operand(1, kept)), (value, numbers), 1.0, shape, wide)

    def _eigenvalues(self, instruction: Eigenvalues, value: Sampled, shape: tuple[int, ...]) -> Tensor:
        """Compute the eigenvalues of one matrix of low rank."""
        matrix, rows, columns = self._sides(instruction, value)
        values = self._spectrum(matrix, rows, columns).eigenvalues
        return (values.flip(0) if instruction.descending else values).expand(shape)

    def _spectral(self, instruction: Spectral, weights: Sampled, value: Sampled, shape: tuple[int, ...]) -> list[Term]:
        """Return the terms of a function of one matrix of low rank."""
        matrix, rows, columns = self._sides(instruction, value)
        if not isinstance(weights, Tensor) or weights.dim() != 1:
            raise OutsideTheory("outside the sampler: several functions of one matrix at once")
        factors = weights.flip(0) if instruction.descending else weights
        own = (*instruction.rows, *instruction.columns)
        return [Term(scale, atom, own) for scale, atom in self._spectrum(matrix, rows, columns).function(factors)]

    def _spectrum(self, matrix: Matrix, rows: Labels, columns: Labels) -> Spectrum:
        """Find the eigenvalues of a matrix, once."""
        known = self.spectra.setdefault(matrix, {})
        if (rows, columns) not in known:
            known[rows, columns] = spectrum(matrix, rows, columns)
        return known[rows, columns]

    def _sides(self, instruction: Eigenvalues | Spectral, value: Sampled) -> tuple[Matrix, Labels, Labels]:
        """Return a matrix with the axes of its rows and columns."""
        axes = instruction.value.axes
        if not isinstance(value, Matrix) or len(axes) > len(instruction.rows) + len(instruction.columns):
            raise OutsideTheory("outside the sampler: eigenvalues of a batch of matrices whose rows and columns grow")
        rows, columns = (tuple(axes.index(label) for label in side) for side in (instruction.rows, instruction.columns))
        return value, rows, columns

    def _scaled(self, value: Sampled, labels: Labels, scale: float, rank: int) -> list[Term]:
        """Return the terms of a multiple of a value."""
        if isinstance(value, Tensor):
            return [vector(value * scale, labels, rank)]
        if math.isfinite(scale):
            return value.placed(labels, scale)
        # An infinite factor of a sum is not a sum of infinite terms: they would cancel to NaN where the sum is finite.
        return [entrywise(lambda x: x * scale, [(value, labels)], rank)]

    def _contract(
        self,
        reads: tuple[Operand, ...],
        values: tuple[Sampled, ...],
        scale: float,
        shape: tuple[int, ...],
        wide: Labels,
    ) -> Sampled:
        rank, out = len(shape), tuple(range(len(shape)))
        labels = tuple(read.axes for read in reads)
        sizes = dict(enumerate(shape))
        for value, own in zip(values, labels, strict=True):
            sizes |= dict(zip(own, value.shape, strict=True))
        stays = len(wide) >= 2 or any(
            isinstance(value, Matrix) and all(own[axis] < rank for axis in value.wide)
            for value, own in zip(values, labels, strict=True)
        )
        match values:
            case (Matrix() as x,):
                if not stays:
                    return x.times(labels[0], self.one * scale, (), out, sizes)
                if set(labels[0]) <= set(out):
                    return self._made(shape, wide, self._scaled(x, labels[0], scale, rank))
                return self._made(shape, wide, x.scaled_by(labels[0], self.one * scale, (), rank))
            case (Matrix() as x, Matrix() as y):
                if not stays:
                    return inner(x, labels[0], y, labels[1], out, sizes) * scale
                return self._made(shape, wide, self._matrices(x, labels[0], y, labels[1], scale, rank))
            case (Matrix() as x, Tensor() as y) | (Tensor() as y, Matrix() as x):
                first = isinstance(values[0], Matrix)
                of_x, of_y = labels if first else labels[::-1]
                if not stays:
                    return x.times(of_x, y, of_y, out, sizes) * scale
                if not y.dim():
                    return self._made(shape, wide, self._scaled(x, of_x, float(y) * scale, rank))
                return self._made(shape, wide, x.scaled_by(of_x, y * scale, of_y, rank))
            case _:  # an outer product, not carried out
                parts = [(value, own) for value, own in zip(values, labels, strict=True) if isinstance(value, Tensor)]
                return self._made(shape, wide, [outer(parts, scale, rank)])

    def _matrices(
        self, x: Matrix, x_labels: Labels, y: Matrix, y_labels: Labels, scale: float, rank: int
    ) -> list[Term]:
        """Return the terms of a product of two matrices that is a matrix."""
        summed = max((*x_labels, *y_labels)) >= rank
        if summed or x.leaf or y.leaf:
            return [Term(c * scale, atom, axes) for c, atom, axes in product(x, x_labels, y, y_labels, rank)]
        if x is y and x_labels == y_labels:
            term = entrywise(torch.square, [(x, x_labels)], rank)
        else:
            term = entrywise(torch.mul, [(x, x_labels), (y, y_labels)], rank)
        return [term._replace(scale=scale)]


def _joined(one: Draw, other: Draw) -> Draw:
    """Lay the vectors of both end to end."""
    return lambda count, along=None: torch.cat([one(count, along), other(count, along)], 1)
