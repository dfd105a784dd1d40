"""What do the rules of the kernels share? Values seen from the two sides of a pair, and questions about them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, final

import torch
from torch import Tensor

from tpdyn.exponents import Scaling, show_order
from tpdyn.program.check import ring
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.instructions import Combine, Concat, Contract, Gather, Leaf, Operand, Slice
from tpdyn.program.program import Program
from tpdyn.readings.kernels.gaussian import Gaussian
from tpdyn.readings.kernels.kinds import matrix_of, numbers_of, sources_of
from tpdyn.readings.kernels.numbers import Number, Numbers
from tpdyn.readings.kernels.sized import Label, Labels, Sized, scaled

Kind = Literal["second", "tangent"]


@final
@dataclass(frozen=True)
class Seen:
    """A value seen from one side of a pair: inputs (0 or 1), statement, a label for each finite axis."""

    side: int
    var: int
    labels: Labels


@final
@dataclass
class Tile:
    """The inputs of a block of pairs: the numbers known on both sides, and the results so far.

    tangents: whether tangent kernels will be asked for, so that slopes are worth finding with second moments.
    """

    sides: tuple[Numbers, Numbers]
    tangents: bool = False
    found: dict[object, Sized | None] = field(default_factory=dict)
    slopes: dict[object, Tensor] = field(default_factory=dict)


class Frame(ABC):
    """A program whose kernels are read: what kind each value is, and the pairs and means that rules ask for."""

    def __init__(self, program: Program, data: int, batch: dict[int, int]) -> None:
        self.program, self.data, self.batch = program, data, batch
        self.numeric = numbers_of(program, data)
        self.sources = sources_of(program, self.numeric)
        self.wide = [tuple(dim.is_wide for dim in statement.shape) for statement in program.statements]
        self.finite_axes = [[axis for axis, is_wide in enumerate(mask) if not is_wide] for mask in self.wide]
        self._matrices_known: dict[int, tuple[Operand, Operand] | None] = {}

    @abstractmethod
    def pair(self, kind: Kind, tile: Tile, u: Seen, v: Seen, out: Labels) -> Sized | None:
        """Compute the kernel of two values, summed over labels that `out` lacks; None for zero."""

    @abstractmethod
    def mean(self, tile: Tile, u: Seen, out: Labels) -> Sized | None:
        """Compute `E[u]`, summed over labels that `out` lacks; None for zero."""

    @abstractmethod
    def law(self, numbers: Numbers, var: int) -> tuple[Tensor, Tensor | None]:
        """Return variance and mean of a Gaussian value for all inputs of one side."""

    @abstractmethod
    def sum_over_width(self, numbers: Numbers, var: int) -> Number:
        """Sum over the width: n times a mean, and a fluctuation that is smaller by the root of n."""

    @abstractmethod
    def law_in(self, tile: Tile, a: Seen, every: Labels) -> Gaussian:
        """Return mean and variance of a Gaussian value on its own side, as broadcast over the labels of a pair."""

    def seen(self, tile: Tile, side: int, var: int) -> Seen:
        """Give a value fresh labels."""
        return Seen(side, var, tuple(Label(size) for size in tile.sides[side].finite_shape(var)))

    def of_order_zero(self, var: int, sized: Sized) -> Sized:
        """Take the limit of a moment: zero where it vanishes; refuse one that grows."""
        if sized.order == 0:
            return sized
        if sized.order < 0:
            return Sized(torch.zeros_like(sized.value), sized.labels)
        raise self.refusal(var, f"it grows with the width, its square as n^{show_order(sized.order)}")

    def by_label(self, u: Seen) -> dict[int, Label]:
        """Return the label of each finite axis of a statement, by the number of the axis."""
        return dict(zip(self.finite_axes[u.var], u.labels, strict=True))

    def label_of(self, u: Seen, axis: int) -> Label:
        """Return the label of a finite axis."""
        return self.by_label(u)[axis]

    def operand(self, tile: Tile, u: Seen, operand: Operand, names: dict[int, Label]) -> Seen:
        """Label the finite axes of an operand as the instruction says. An axis that is summed gets a label of its own."""
        labels = []
        for axis, label in enumerate(operand.axes):
            if self.wide[operand.var][axis]:
                continue
            if label not in names:
                names = {**names, label: Label(tile.sides[u.side].axis_size(operand.var, axis))}
            labels.append(names[label])
        return Seen(u.side, operand.var, tuple(labels))

    def with_summed(self, tile: Tile, u: Seen, operands: Sequence[Operand]) -> dict[int, Label]:
        """Label the finite axes of a statement and those that it sums over, which its operands share."""
        names = dict(self.by_label(u))
        for operand in operands:
            for axis, label in enumerate(operand.axes):
                if label not in names and not self.wide[operand.var][axis]:
                    names[label] = Label(tile.sides[u.side].axis_size(operand.var, axis))
        return names

    def sums_wide(self, shape: tuple[Scaling, ...], operand: Operand) -> bool:
        """Tell whether an operand has a wide axis that the result lacks."""
        wide = self.wide[operand.var]
        return any(is_wide and label >= len(shape) for is_wide, label in zip(wide, operand.axes, strict=True))

    def gathers_positions(self, gather: Gather) -> bool:
        """Tell whether a lookup is along a finite axis, by a table that is the same for all samples."""
        axis = gather.value.axes.index(gather.axis)
        index = self.program.statements[gather.index.var].instruction
        fixed = isinstance(index, Leaf) and index.kind != "data"
        return fixed and not self.wide[gather.value.var][axis]

    def matrix(self, var: int) -> tuple[Operand, Operand] | None:
        """(weights, what they multiply) where a statement is a product with independent centred entries that sums."""
        if var not in self._matrices_known:
            self._matrices_known[var] = matrix_of(self.program, self.numeric, var)
        return self._matrices_known[var]

    def is_gaussian(self, var: int) -> bool:
        """Tell whether a value is a linear combination of matrix products and of leaves of vectors."""
        instruction = self.program.statements[var].instruction
        if isinstance(instruction, Leaf) or var in self.numeric or self.matrix(var):
            return True
        match instruction:
            case Combine(terms=terms):
                return all(self.is_gaussian(operand.var) for _, operand in terms)
            case Contract(operands=operands):
                rest = [operand for operand in operands if operand.var not in self.numeric]
                return len(rest) == 1 and self.is_gaussian(rest[0].var)
            case Gather(value=value) | Slice(value=value):
                return self.is_gaussian(value.var)
            case Concat(parts=parts):
                return all(self.is_gaussian(part.var) for part in parts if part is not None)
            case _:
                return False  # nothing else is known to keep a value Gaussian

    def number(self, tile: Tile, u: Seen) -> Sized:
        """Look up the value of a number."""
        return Sized(tile.sides[u.side].value(u.var, self), u.labels)

    def entries(self, var: int, cut: Slice) -> Tensor:
        """Return the numbers of the entries that a slice takes."""
        if cut.is_wide:
            raise self.refusal(var, "no rule for a slice whose bounds grow with the width")
        return torch.tensor(cut.entries(1))

    def refusal(self, var: int, text: str) -> OutsideTheory:
        """Make the error for a case outside the theory, with its statement and line."""
        return OutsideTheory(ring(self.program, var, f"no kernel is known here: {text}"))


def level(labels: Labels, number: Scaling, tile: Tile) -> Sized | None:
    """Give all indices one number; None for zero."""
    if number.is_zero:
        return None
    return scaled(Sized(torch.ones([label.size for label in labels], dtype=tile.sides[0].dtype), labels), number)
