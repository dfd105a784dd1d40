"""Which vectors does a symmetric matrix act on, and has it finite rank? Read off how it is made.

The columns of its **generators** G span the range of a sum of squares `S = G G^T + ...`. A negative power of S is large only
outside of the range, where only an epsilon keeps it finite. So its argument must lie in the range. In S that holds for
the gradients, sums of them (momentum), and other functions of S applied to those. Exponents do not enter.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import final

from tpdyn.exponents import ZERO
from tpdyn.facts.signs import Axes, Generator, squares
from tpdyn.program.errors import OutsideTheory
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
    operands_of,
)
from tpdyn.program.program import Program


@final
class Ranges:
    """Answers about one program, each worked out once."""

    def __init__(self, program: Program, nonnegative: Sequence[bool], readers: Sequence[Sequence[int]]) -> None:
        self.program = program
        self._nonnegative = nonnegative
        self._readers = readers
        self._finite: dict[tuple[int, Axes], bool] = {}

    def rows(self, instruction: Eigenvalues | Spectral) -> Fraction:
        """Compute the order of a matrix's number of rows. Raises OutsideTheory if the orders of its spectrum are unknown."""
        rows, columns = sides_of(instruction)
        var = instruction.value.var
        shape = self.program.statements[var].shape
        if any(dim.is_wide for axis, dim in enumerate(shape) if axis not in (*rows, *columns)):
            raise OutsideTheory("outside the theory: the eigenvalues of a number of matrices that grows with the width")
        if any(shape[axis].is_wide for axis in rows) and not self.finite_rank(var, rows):
            raise OutsideTheory(
                "outside the theory: the spectrum of a matrix whose rank may grow with the width. Expected a sum of finitely "
                "many outer products, as G @ G.T of gradients G is. An untrained weight is none, nor is a gradient after an "
                "entrywise function"
            )
        return sum((shape[axis].order or ZERO for axis in rows), ZERO)

    def own_eigenvalues(self, spectral: Spectral) -> int:
        """Find the eigenvalues of the same matrix behind the weights; raises OutsideTheory without them."""
        read = spectral.weights
        position = self.eigenvalues_behind(read.var, read.axes.index(spectral.axis))
        instruction = None if position is None else self.program.statements[position].instruction
        same = isinstance(instruction, Eigenvalues) and instruction.value.var == spectral.value.var
        if position is None or not same or instruction.descending != spectral.descending:  # type: ignore[union-attr]
            raise OutsideTheory(
                "outside the theory: eigenvectors with weights that are not a function of their own eigenvalues. "
                "The result is arbitrary where eigenvalues coincide"
            )
        return position

    def eigenvalues_behind(self, var: int, axis: int) -> int | None:
        """Find the eigenvalues of which a value is an entrywise function along an axis; None if it is none."""
        instruction = self.program.statements[var].instruction
        if isinstance(instruction, Eigenvalues):
            return var if instruction.axis == axis else None
        if not isinstance(instruction, Apply | Combine | Contract):
            return None
        rank = len(self.program.statements[var].shape)
        sources = set()
        for operand in operands_of(instruction):
            if any(label >= rank for label in operand.axes):
                return None
            if axis in operand.axes:
                sources.add(self.eigenvalues_behind(operand.var, operand.axes.index(axis)))
        return sources.pop() if len(sources) == 1 else None

    def sums_over_eigenvalues(self) -> frozenset[int]:
        """Collect products that sum over eigenvalues. All but finitely many of these vanish, so the rules for sums do not
        apply.
        """
        if not any(isinstance(statement.instruction, Eigenvalues) for statement in self.program.statements):
            return frozenset()
        return frozenset(
            position
            for position, statement in enumerate(self.program.statements)
            if isinstance(contract := statement.instruction, Contract)
            for operand in contract.operands
            for axis, label in enumerate(operand.axes)
            if label >= len(statement.shape) and self.eigenvalues_behind(operand.var, axis) is not None
        )

    # -- the range ----------------------------------------------------------------------------------------------------

    def expect_within(self, position: int) -> None:
        """Raise OutsideTheory if a function of a matrix may meet a vector outside of the matrix's range."""
        spectral = self.program.statements[position].instruction
        assert isinstance(spectral, Spectral)
        for number in self._readers[position]:
            if not self._inside(spectral, position, number):
                reader = self.program.statements[number]
                source = reader.origin.source
                raise OutsideTheory(
                    "outside the theory: a function of a matrix that does not vanish on its null space (a negative power, say). It "
                    f"is read by `{source.text.strip() or reader.name}` ({source}), and what it meets there may lie outside of "
                    "the matrix's range. There only the epsilon keeps it finite. Expected a product with the gradients that "
                    "the matrix is made of, or with sums of them"
                )

    def _inside(self, spectral: Spectral, position: int, reader: int) -> bool:
        contract = self.program.statements[reader].instruction
        generators = squares(self.program, self._nonnegative, spectral.value.var, *sides_of(spectral))
        if generators is None or not isinstance(contract, Contract) or len(contract.operands) != 2:
            return False
        for one, other in itertools.permutations(contract.operands):
            if one.var != position:
                continue
            axes = self._met(spectral, one, other)
            if axes is not None and self.spans(other.var, axes, frozenset(generators)):
                return True
        return False

    def _met(self, spectral: Spectral, one: Operand, other: Operand) -> Axes | None:
        """Find the axes of `other` along which it meets one side of the matrix (without knowing the other side)."""
        for side, opposite in itertools.permutations((spectral.rows, spectral.columns)):
            labels = [one.axes[axis] for axis in side]
            free = [one.axes[axis] for axis in opposite]
            if all(label in other.axes for label in labels) and not any(label in other.axes for label in free):
                return tuple(other.axes.index(label) for label in labels)
        return None

    def spans(self, var: int, axes: Axes, generators: frozenset[Generator]) -> bool:
        """Tell whether the generators span the vectors of a value along some axes."""
        if (var, axes) in generators:
            return True
        instruction = self.program.statements[var].instruction
        match instruction:
            case Combine(terms=terms, constant=constant) if constant.is_zero:
                return bool(terms) and all(self._along(operand, axes, generators) for _, operand in terms)
            case Contract(operands=(one,)):
                return self._along(one, axes, generators)
            case Contract(operands=(one, other)):
                carrying = [each for each in (one, other) if any(label in axes for label in each.axes)]
                if len(carrying) != 1:
                    return False
                partner = other if carrying[0] is one else one
                return self._along(carrying[0], axes, generators) or self._through(carrying[0], partner, generators)
            case Slice(value=value, axis=axis) if axis not in axes:
                return self._along(value, axes, generators)
            case _:
                return False  # other instructions may leave the range: False refuses, and never misleads

    def _along(self, operand: Operand, labels: Axes, generators: frozenset[Generator]) -> bool:
        if any(label not in operand.axes for label in labels):
            return False
        return self.spans(operand.var, tuple(operand.axes.index(label) for label in labels), generators)

    def _through(self, carrying: Operand, partner: Operand, generators: frozenset[Generator]) -> bool:
        """Carry ranges through `f(S) y`: it stays in the range of S if y lies in it."""
        spectral = self.program.statements[carrying.var].instruction
        if not isinstance(spectral, Spectral):
            return False
        own = squares(self.program, self._nonnegative, spectral.value.var, *sides_of(spectral))
        axes = self._met(spectral, carrying, partner)
        return own is not None and axes is not None and own <= generators and self.spans(partner.var, axes, own)

    # -- the rank -----------------------------------------------------------------------------------------------------

    def finite_rank(self, var: int, axes: Axes) -> bool:
        """Tell whether a value, as a matrix between some axes and the others, has bounded rank at all widths."""
        key = (var, axes)
        if key not in self._finite:
            self._finite[key] = self._has_finite_rank(var, axes)
        return self._finite[key]

    def _has_finite_rank(self, var: int, axes: Axes) -> bool:
        statement = self.program.statements[var]
        wide = set(statement.wide_axes)
        if not wide & set(axes) or wide <= set(axes):
            return True
        instruction = statement.instruction
        match instruction:
            case Leaf(law=law):
                return law.kind == "zero"
            case Combine(terms=terms):
                return all(self._cut(operand, set(axes)) for _, operand in terms)
            case Contract(operands=operands):
                summed = sorted(self._wide_labels(operands) - set(range(len(statement.shape))))
                return any(
                    all(self._cut(operand, {*axes, *chosen}) for operand in operands) for chosen in _subsets(summed)
                )
            case Slice(value=value):
                return self._cut(value, set(axes))
            case Gather(value=value, index=index) | Scatter(value=value, index=index):
                return not self._wide_labels((index,)) and self._cut(value, set(axes))
            case Concat(parts=parts):
                return all(part is None or self._cut(part, set(axes)) for part in parts)
            case Apply() | Eigenvalues() | Spectral():
                return False

    def _wide_labels(self, operands: tuple[Operand, ...]) -> set[int]:
        return {operand.axes[axis] for operand in operands for axis in self.program.statements[operand.var].wide_axes}

    def _cut(self, operand: Operand, labels: set[int]) -> bool:
        return self.finite_rank(operand.var, tuple(axis for axis, label in enumerate(operand.axes) if label in labels))


def _subsets(labels: list[int]) -> Iterator[tuple[int, ...]]:
    for count in range(len(labels) + 1):
        yield from itertools.combinations(labels, count)


def sides_of(instruction: Eigenvalues | Spectral) -> tuple[Axes, Axes]:
    """Return the axes of the matrix (as a statement) that are its rows, and those that are its columns."""
    axes = instruction.value.axes
    rows, columns = (tuple(axes.index(label) for label in side) for side in (instruction.rows, instruction.columns))
    return rows, columns
