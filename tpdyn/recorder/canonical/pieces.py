"""Which statements of the program are a lowered value? Its pieces: one for each index over the atoms that are written out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Combine, Concat, Instruction, Operand, Slice
from tpdyn.program.program import Statement, Type
from tpdyn.recorder.canonical.unstacked import Products
from tpdyn.recorder.fitting.atoms import ONE, Atoms, Node
from tpdyn.recorder.fitting.widths import Fitted, FittedStatement

Index = tuple[int, ...]


@final
@dataclass(frozen=True, slots=True)
class Held:
    """A lowered value in the program: the atoms of each script axis, and the statement of each piece (None: zero)."""

    dims: Products
    pieces: dict[Index, int | None]
    type: Type


@final
class Pieces:
    """The program as far as it is written, and the pieces of the lowered values that it holds already."""

    def __init__(self, fitted: Fitted, atoms: Atoms, expanded: Collection[Node]) -> None:
        self.atoms, self.expanded = atoms, expanded
        self.held: list[Held] = []
        self.statements: list[Statement] = []
        self._fitted = fitted
        self._zeros: dict[tuple[int, Index], int] = {}

    @property
    def current(self) -> FittedStatement:
        """The statement that is being written: the first that is not held yet."""
        return self._fitted.statements[len(self.held)]

    def count(self, atom: Node) -> int:
        """Return the size of a finite atom."""
        return int(self.atoms.sizes[atom].constant)

    def indices(self, flat: Iterable[Node]) -> Iterator[Index]:
        """Yield every index over the written-out atoms, row-major."""
        return itertools.product(*(range(self.count(atom)) for atom in flat if atom in self.expanded))

    def kept_shape(self, flat: Iterable[Node]) -> tuple[Scaling, ...]:
        """Return the shape of a piece."""
        return tuple(self.atoms.sizes[atom] for atom in flat if atom not in self.expanded)

    def emit(self, instruction: Instruction, shape: tuple[Scaling, ...], name: str = "") -> int:
        """Return a further statement of the program, from the line of the current one."""
        self.statements.append(Statement(name, instruction, shape, self.current.type, self.current.origin))
        return len(self.statements) - 1

    def actual(self, position: int, index: Index) -> int:
        """Return the statement of a piece; a zero is written when somebody needs it."""
        held = self.held[position]
        piece = held.pieces[index]
        if piece is not None:
            return piece
        if (position, index) not in self._zeros:
            shape = self.kept_shape(itertools.chain.from_iterable(held.dims))
            origin = self._fitted.statements[position].origin
            self.statements.append(Statement("", Combine(()), shape, held.type, origin))
            self._zeros[position, index] = len(self.statements) - 1
        return self._zeros[position, index]

    def entry_along(self, var: int, at: int, entry: int) -> int:
        """Return a value at one entry of an axis, which it loses."""
        before = self.statements[var].shape
        rank = len(before) - 1
        operand = Operand(var, (*range(at), rank, *range(at, rank)))
        return self.emit(Slice.of(operand, rank, entry, 1, 1), (*before[:at], *before[at + 1 :]))

    def merged(self, var: int, at: int, count: int) -> int:
        """Return the value with its finite axes at, ..., at + count - 1 as one. Entries of the outer axis are laid end to end."""
        for outer in range(at + count - 2, at - 1, -1):
            before = self.statements[var].shape
            rank, small = len(before) - 1, (*before[:outer], *before[outer + 1 :])
            length = int(before[outer].constant)
            parts = [self.entry_along(var, outer, entry) for entry in range(length)]
            operands = tuple(Operand(part, tuple(range(rank))) for part in parts)
            shape = (*small[:outer], before[outer] * small[outer], *small[outer + 1 :])
            var = self.emit(Concat(operands, (small[outer],) * length, outer), shape)
        return var

    def divided(self, var: int, at: int, sizes: Sequence[int]) -> int:
        """Return the inverse of `merged`: a finite axis as several, of the given sizes."""
        for number, length in enumerate(sizes[:-1]):
            axis, rest = at + number, math.prod(sizes[number + 1 :])
            before = self.statements[var].shape
            rank = len(before)
            small = (*before[:axis], Scaling.of(rest), *before[axis + 1 :])
            own = Operand(var, tuple(range(rank)))
            parts = [self.emit(Slice.of(own, axis, entry * rest, 1, rest), small) for entry in range(length)]
            operands = tuple(Operand(part, (*range(axis), *range(axis + 1, rank + 1))) for part in parts)
            shape = (*before[:axis], Scaling.of(length), *small[axis:])
            var = self.emit(Concat(operands, (ONE,) * length, axis), shape)
        return var

    def relabelled(self, var: int, axes: tuple[int, ...], shape: tuple[Scaling, ...], moved: dict[Operand, int]) -> int:
        """Return the value itself where its axes are the result's, else a copy with the axes in their order."""
        if axes == tuple(range(len(shape))):
            return var
        operand = Operand(var, axes)
        if operand not in moved:
            moved[operand] = self.emit(Combine(((ONE, operand),)), shape)
        return moved[operand]
