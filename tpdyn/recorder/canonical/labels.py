"""Which label has each axis of a piece in an instruction? Labels by atoms, not by the script's dims."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, final

from tpdyn.program.instructions import Eigenvalues, Operand, Spectral
from tpdyn.recorder.canonical.pieces import Index, Pieces
from tpdyn.recorder.canonical.unstacked import Product, Products

Slot = tuple[int, int]
"""An atom of a statement: (label of the lowered statement, factor in that label's product)."""
Chosen = dict[Slot, int]
"""One entry of each atom that is written out: it chooses a piece."""
_Axis = TypeVar("_Axis")


@final
class Labels:
    """The labels of one statement, atom by atom: `numbers[slot]` is the new label of a slot that is an axis.

    besides: a label that stands for other atoms on the operands than in the result.
    """

    def __init__(self, pieces: Pieces, dims: Products, operands: Sequence[Operand], besides: int | None = None) -> None:
        self._pieces = pieces
        self.products: dict[int, Product] = dict(enumerate(dims))
        for operand in operands:
            for label, product in zip(operand.axes, pieces.held[operand.var].dims, strict=True):
                if label != besides and not self.products.get(label):
                    self.products[label] = product
        self.atom = {(label, k): atom for label, product in self.products.items() for k, atom in enumerate(product)}
        result = [slot for slot in sorted(self.atom) if slot[0] < len(dims)]
        summed = [slot for slot in sorted(self.atom) if slot[0] >= len(dims)]
        axes = [slot for slot in (*result, *summed) if self.atom[slot] not in pieces.expanded]
        self.numbers = {slot: number for number, slot in enumerate(axes)}
        self.shape = pieces.kept_shape(self.atom[slot] for slot in result)
        self._result = [slot for slot in result if self.atom[slot] in pieces.expanded]
        self.summed = [slot for slot in summed if self.atom[slot] in pieces.expanded]

    def results(self) -> Iterator[tuple[Index, Chosen]]:
        """Yield the pieces of the result."""
        return self.choices(self._result)

    def choices(self, slots: Sequence[Slot]) -> Iterator[tuple[Index, Chosen]]:
        """Yield every choice of an entry for each of these written-out slots."""
        for index in self._pieces.indices(self.atom[slot] for slot in slots):
            yield index, dict(zip(slots, index, strict=True))

    def read(
        self, operand: Operand, entry: Callable[[Slot], int], axis: Callable[[Slot], _Axis]
    ) -> tuple[Index, list[_Axis]]:
        """Find which piece of an operand is read, and what its axes are; both given for each of its slots."""
        index: list[int] = []
        axes: list[_Axis] = []
        for label, product in zip(operand.axes, self._pieces.held[operand.var].dims, strict=True):
            for factor, atom in enumerate(product):
                if atom in self._pieces.expanded:
                    index.append(entry((label, factor)))
                else:
                    axes.append(axis((label, factor)))
        return tuple(index), axes

    def piece(self, operand: Operand, chosen: Chosen) -> int | None:
        """Return the operand's piece; None for a zero."""
        index, _ = self.read(operand, chosen.__getitem__, self.numbers.__getitem__)
        return self._pieces.held[operand.var].pieces[index]

    def operand(self, operand: Operand, chosen: Chosen) -> Operand:
        """Return the operand's piece, with the new labels; a zero is written down."""
        index, axes = self.read(operand, chosen.__getitem__, self.numbers.__getitem__)
        return Operand(self._pieces.actual(operand.var, index), tuple(axes))

    def spectrum(self, instruction: Eigenvalues | Spectral) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """Return the labels of rows, columns and eigenvalues: a row may be a product of axes."""

        def atoms(side: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(self.numbers[label, k] for label in side for k in range(len(self.products[label])))

        return atoms(instruction.rows), atoms(instruction.columns), self.numbers[instruction.axis, 0]
