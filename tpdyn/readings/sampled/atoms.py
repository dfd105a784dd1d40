"""What is a matrix made of, if nobody writes it down? Atoms, each known by what it does to vectors.

`Lazy`: a product of tensors that is not carried out. Each has at most one wide axis, and at most one is an unseen leaf.
`LowRank`: `L core R^T`, its bases told apart by identity (Muon's powers would otherwise be thousands of products).
`Entrywise`: a function of matrices, entry by entry, computed a tile at a time whenever it is asked for.
`Identity`: ones on the diagonal (functions of matrices of low rank: Shampoo, K-FAC).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Union, final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from tpdyn.program.errors import OutsideTheory
from tpdyn.readings.sampled.einsum import Labels, Part, einsum, fresh
from tpdyn.readings.sampled.gaussian import Gaussian, Side
from tpdyn.readings.sampled.normed import with_norms
from tpdyn.readings.sampled.rows import inner

if TYPE_CHECKING:
    from tpdyn.readings.sampled.matrix import Matrix

Split = tuple[Labels, Labels, Labels]
"""Axes of a leaf: (counting independent matrices, rows, columns)."""


@final
class Unseen:
    """A leaf of independent entries that is never drawn: operators answer for it.

    How its axes are split into rows and columns is decided at its first product. Every later product must fit that split.
    make: (number of the matrix, axes of the rows, axes of the columns) -> its operator. one: the number 1, in the float type
    and on the device of its answers. sharp: whether norms of rows are their means, as in the limit.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        wide: tuple[int, ...],
        make: Callable[[int, Labels, Labels], Gaussian],
        one: Tensor,
        sharp: bool = False,
    ) -> None:
        self.name, self.shape, self.wide, self.make, self.one, self.sharp = name, shape, wide, make, one, sharp
        self.split: Split | None = None
        self.operators: dict[int, Gaussian] = {}

    def operator(self, number: int) -> Gaussian:
        """Return the operator of one of its matrices."""
        assert self.split is not None
        if number not in self.operators:
            self.operators[number] = self.make(number, *self.split[1:])
        return self.operators[number]

    def times(self, x: Tensor, x_labels: Labels, labels: Labels, summed: frozenset[int]) -> Part:
        """Sum leaf times x over the labels `summed`; `labels[k]` names the leaf's axis k."""
        if self.split is not None:  # independent matrices: one product each
            summed -= {labels[axis] for axis in self.split[0]}
            x, x_labels = self._repeated(x, x_labels, labels, self.split[0])
        over = tuple(axis for axis, label in enumerate(labels) if label in summed)
        batch = tuple(axis for axis, label in enumerate(labels) if label not in summed and label in x_labels)
        kept = tuple(axis for axis, label in enumerate(labels) if label not in summed and label not in x_labels)
        side = self._side(batch, kept, over)
        x, x_labels = self._repeated(x, x_labels, labels, over)  # a sum of rows is a product with ones
        rest = tuple(label for label in x_labels if label not in labels)
        order = (*(labels[axis] for axis in batch), *rest, *(labels[axis] for axis in over))
        x = x.permute([x_labels.index(label) for label in order])
        counts, others = x.shape[: len(batch)], x.shape[len(batch) : len(batch) + len(rest)]
        x = x.reshape(math.prod(counts), math.prod(others), -1)
        product = torch.stack([self.operator(number).times(x[number], side) for number in range(x.shape[0])])
        product = product.reshape((*counts, *others, *(self.shape[axis] for axis in kept)))
        return product, (*(labels[axis] for axis in batch), *rest, *(labels[axis] for axis in kept))

    def _repeated(self, x: Tensor, x_labels: Labels, labels: Labels, axes: Labels) -> Part:
        """Repeat x along those axes that it lacks."""
        for axis in axes:
            if labels[axis] not in x_labels:
                x = x.unsqueeze(-1).expand(*x.shape, self.shape[axis])
                x_labels = (*x_labels, labels[axis])
        return x, x_labels

    def _side(self, batch: Labels, kept: Labels, over: Labels) -> Side:
        if any(axis in self.wide for axis in batch):
            raise OutsideTheory(f"outside the sampler: the entries of {self.name} itself are weighted one by one")
        if self.split is None:
            self.split = (batch, kept, over)
        if self.split == (batch, kept, over):
            return "columns"
        if self.split == (batch, over, kept):
            return "rows"
        raise OutsideTheory(
            f"outside the sampler: {self.name} is multiplied over its axes {over}, and before over {self.split[2]}. "
            "One list of rows and columns must serve every product"
        )

    def any_split(self) -> Split:
        """Return the split; where products have not decided it, the first wide axis is the rows."""
        if self.split is None:
            rows = self.wide[:1]
            self.split = ((), rows, tuple(axis for axis in range(len(self.shape)) if axis not in rows))
        return self.split

    def entries(self, labels: Labels) -> Part:
        """Return all entries, for a leaf with one wide axis: its products with the unit vectors of the finite axes."""
        finite = tuple(axis for axis in range(len(self.shape)) if axis not in self.wide)
        sizes, first = [self.shape[axis] for axis in finite], fresh(labels)
        units = torch.eye(math.prod(sizes)).to(self.one).reshape(sizes * 2)
        new = tuple(first + number for number in range(len(finite)))
        rows = frozenset(labels[axis] for axis in finite)
        entries, order = self.times(units, (*new, *(labels[axis] for axis in finite)), labels, rows)
        renamed = dict(zip(new, (labels[axis] for axis in finite), strict=True))
        return entries, tuple(renamed.get(label, label) for label in order)

    def squared_norm(self) -> float:
        """Return the sum of the squares of all entries."""
        batch = self.any_split()[0]
        return sum(self.operator(k).squared_norm() for k in range(math.prod(self.shape[axis] for axis in batch)))

    def squared_norms(self, kept: Labels) -> Part:
        """Return sums of squares of its entries, and the axes that these have: `kept`, and others of its side."""
        if self.split is None:
            rest = tuple(axis for axis in range(len(self.shape)) if axis not in kept)
            wide, finite = (tuple(axis for axis in kept if (axis in self.wide) == grows) for grows in (True, False))
            self.split = (finite, wide, rest) if wide else (finite, rest[:1], rest[1:])
        batch, rows, columns = self.split
        numbers = range(math.prod(self.shape[axis] for axis in batch))
        if {*kept} <= {*batch}:
            norms = [self.one * self.operator(number).squared_norm() for number in numbers]
            return torch.stack(norms).reshape([self.shape[axis] for axis in batch]), batch
        sides: dict[Side, Labels] = {"rows": rows, "columns": columns}
        for unit, axes in sides.items():
            if {*kept} <= {*batch, *axes}:
                norms = []
                if self.sharp:  # a mean over a wide axis, which leaves the rows as they are
                    operator, across = self.operator(0), self.split[2 if unit == "rows" else 1]
                    if not {*across} & {*self.wide}:
                        raise OutsideTheory(f"outside the limit: norms of {self.name} along an axis that does not grow")
                    mean = operator.mean_square * math.prod(self.shape[axis] for axis in across)
                    return (self.one * mean).expand([self.shape[axis] for axis in (*batch, *axes)]), (*batch, *axes)
                for number in numbers:
                    self.operators[number], each = with_norms(self.operator(number), unit, self.name)
                    norms.append(each)
                axes = (*batch, *axes)
                return torch.stack(norms).reshape([self.shape[axis] for axis in axes]), axes
        raise OutsideTheory(f"outside the sampler: the squares of entries of {self.name} itself")


@final
@dataclass(frozen=True, eq=False)
class Lazy:
    """A product that is not carried out. Labels `0 .. rank-1` are its axes, larger ones are summed over.

    axes: the labels of the leaf's axes, where one takes part.
    """

    parts: tuple[Part, ...]
    rank: int
    leaf: Unseen | None = None
    axes: Labels = ()

    def relabelled(self, labels: Labels, first: int) -> tuple[list[Part], Labels]:
        """Relabel parts and leaf: its axes are named `labels`, and summed labels are counted from `first`."""

        def renamed(own: Labels) -> Labels:
            return tuple(labels[label] if label < self.rank else label - self.rank + first for label in own)

        return [(tensor, renamed(own)) for tensor, own in self.parts], renamed(self.axes)

    @property
    def count(self) -> int:
        """How many labels from `rank` on are taken."""
        return max(0, fresh(*(own for _, own in self.parts), self.axes) - self.rank)

    @cached_property
    def bases(self) -> tuple[Basis, Basis] | None:
        """Left and right vectors, if this is a sum of outer products of two axes; None otherwise."""
        sides = self.vectors((0,), (1,)) if self.rank == 2 else None
        return None if sides is None else (Basis(sides[0]), Basis(sides[1]))

    def vectors(self, rows: Labels, columns: Labels) -> tuple[Tensor, Tensor] | None:
        """Write it as `X^T Y`: X (k, rows) and Y (k, columns), where each side may be a product of axes.

        None if a tensor has labels of both sides, or a side's label is nobody's.
        """
        left = [part for part in self.parts if set(part[1]) & {*rows}]
        right = [part for part in self.parts if set(part[1]) & {*columns}]
        met = {label for _, own in self.parts for label in own}
        if (
            self.leaf is not None
            or not met >= {*rows, *columns}
            or any({*own} & {*rows} and {*own} & {*columns} for _, own in self.parts)
        ):
            return None
        left += [part for part in self.parts if not set(part[1]) & {*rows, *columns}]
        shared = tuple(dict.fromkeys(label for _, own in right for label in own if label >= self.rank))
        shared = tuple(label for label in shared if any(label in own for _, own in left))
        x, y = einsum(left, (*shared, *rows)), einsum(right, (*shared, *columns))
        return x.reshape(-1, math.prod(x.shape[len(shared) :])), y.reshape(-1, math.prod(y.shape[len(shared) :]))


@final
@dataclass(frozen=True, eq=False)
class Basis:
    """Some vectors of one space, (k, n); what they are to other bases is computed once."""

    vectors: Tensor
    known: WeakKeyDictionary[Basis, Tensor] = field(default_factory=WeakKeyDictionary)

    def gram(self, basis: Basis) -> Tensor:
        """Compute the inner products with the vectors of another basis."""
        if basis not in self.known:
            self.known[basis] = inner(self.vectors, basis.vectors)
        return self.known[basis]


@final
@dataclass(frozen=True, eq=False)
class LowRank:
    """`L core R^T`, the columns of L and R being the vectors of several bases."""

    left: tuple[Basis, ...]
    core: Tensor
    right: tuple[Basis, ...]

    @property
    def transposed(self) -> LowRank:
        """The same with its axes exchanged."""
        return LowRank(self.right, self.core.T, self.left)

    def times(self, scale: float) -> LowRank:
        """Multiply by a number."""
        return LowRank(self.left, self.core * scale, self.right)

    def plus(self, other: LowRank) -> LowRank:
        """Add, in the union of the bases."""
        left, right = tuple(dict.fromkeys(self.left + other.left)), tuple(dict.fromkeys(self.right + other.right))
        core = self.core.new_zeros(_count(left), _count(right))
        for each in (self, other):
            core[_indices(left, each.left)[:, None], _indices(right, each.right)[None]] += each.core
        return LowRank(left, core, right)

    def after(self, other: LowRank) -> LowRank:
        """Multiply as matrices: this one after another."""
        gram = torch.cat([torch.cat([x.gram(y) for y in other.left], 1) for x in self.right])
        return LowRank(self.left, self.core @ gram @ other.core, other.right)

    @cached_property
    def lazy(self) -> Lazy:
        """The same as a product of three tensors."""
        left, right = (torch.cat([basis.vectors for basis in side]) for side in (self.left, self.right))
        return Lazy(((left, (2, 0)), (self.core, (2, 3)), (right, (3, 1))), 2)


@final
@dataclass(frozen=True, eq=False)
class Entrywise:
    """A function of matrices and vectors, entry by entry: `labels` give the axes of each operand in this atom."""

    function: Callable[..., Tensor]
    operands: tuple[tuple[Matrix | Tensor, Labels], ...]
    rank: int


@final
@dataclass(frozen=True, eq=False)
class Identity:
    """One where each axis of the rows is equal to that of the columns, zero elsewhere.

    sizes: of the axes whose product a row is.
    """

    sizes: tuple[int, ...]

    def same(self, own: Labels) -> dict[int, int]:
        """Return pairs of labels with equal values, the larger label first: the name that goes, and the one that stays."""
        count = len(self.sizes)
        pairs = zip(own[:count], own[count:], strict=True)
        return {max(pair): min(pair) for pair in pairs}

    def times(self, own: Labels, parts: list[Part], out: Labels) -> Tensor:
        """Multiply with tensors; `own` names its axes. Labels that `out` lacks are summed."""
        same = self.same(own)
        sizes = dict(zip(own, self.sizes * 2, strict=True))
        renamed = [(x, tuple(same.get(label, label) for label in labels)) for x, labels in parts]
        kept = tuple(same.get(label, label) for label in out)
        if len(set(kept)) < len(kept) or len(same) < len(self.sizes):
            raise OutsideTheory(DIAGONAL)
        met = {*kept, *(label for _, labels in renamed for label in labels)}
        return einsum(renamed, kept) * math.prod(sizes[label] for label in same.values() if label not in met)

    def tile(self, cuts: dict[int, slice], like: Tensor) -> Tensor:
        """Compute the entries of a tile."""
        count = len(self.sizes)
        total = like.new_ones([1] * 2 * count)
        for axis, size in enumerate(self.sizes):
            places = torch.arange(size, device=like.device)
            rows, columns = (places[cuts.get(each, slice(None))] for each in (axis, axis + count))
            shape = [1] * 2 * count
            shape[axis], shape[axis + count] = len(rows), len(columns)
            total = total * (rows[:, None] == columns).to(like).reshape(shape)
        return total


DIAGONAL = "outside the sampler: the diagonal of a matrix, weighted one by one"


@lru_cache(maxsize=64)
def identity(sizes: tuple[int, ...]) -> Identity:
    """Return the identity of matrices whose rows are a product of axes of these sizes: always the same object."""
    return Identity(sizes)


Atom = Union[Lazy, LowRank, Entrywise, Identity]


def as_lazy(atom: Atom) -> Lazy:
    """Write an atom that is a product of tensors as a lazy one."""
    assert isinstance(atom, Lazy | LowRank)
    return atom.lazy if isinstance(atom, LowRank) else atom


def evaluated(parts: list[Part], leaf: Unseen | None, axes: Labels, out: Labels) -> Tensor:
    """Multiply tensors and at most one leaf; labels of `out` remain (missing ones get size 1), others are summed."""
    return einsum(parts if leaf is None else through(parts, leaf, axes, out), out)


def through(parts: list[Part], leaf: Unseen, axes: Labels, out: Labels) -> list[Part]:
    """Apply the leaf of a product to the tensors that meet it in a summed label. Return the parts without the leaf."""
    summed = frozenset(_summed(leaf, axes, out))
    touching = [part for part in parts if summed & set(part[1])]
    others = [part for part in parts if not summed & set(part[1])]
    needed = {*out, *axes, *(label for _, labels in others for label in labels)}
    labels = tuple(dict.fromkeys(label for _, own in touching for label in own if label in needed))
    x = einsum(touching, labels) if touching else leaf.one
    if leaf.split is None:
        summed = _first(summed, touching, {axes[axis] for axis in leaf.wide})
    return [leaf.times(x, labels, axes, summed), *others]


def _first(summed: frozenset[int], touching: list[Part], wide: set[int]) -> frozenset[int]:
    """Choose what the first product of a leaf sums over, which decides how its axes are split.

    A finite axis counts independent matrices if no tensor has it together with a wide one. An expert that is chosen by indices
    is such a matrix, an offset of a convolution is not. The sum over matrices is taken afterwards.
    """
    joint = {label for _, own in touching if wide & summed & {*own} for label in own}
    return frozenset(label for label in summed if label in wide or label in joint) if joint else summed


def _summed(leaf: Unseen, axes: Labels, out: Labels) -> Labels:
    """Choose the labels over which to apply a leaf: all that are summed, of one side only."""
    gone = tuple(label for label in axes if label not in out)
    wide = [axes[axis] for axis in leaf.wide if axes[axis] in gone]
    if len(wide) < 2:
        return gone
    if leaf.split is None:
        return tuple(label for label in gone if label != wide[0])
    return tuple(axes[axis] for axis in leaf.split[2])


def _count(bases: tuple[Basis, ...]) -> int:
    return sum(basis.vectors.shape[0] for basis in bases)


def _indices(union: tuple[Basis, ...], bases: tuple[Basis, ...]) -> Tensor:
    """Find the positions of the vectors of some bases among those of a union."""
    where, start = {}, 0
    for basis in union:
        where[basis] = torch.arange(start, start + basis.vectors.shape[0], device=basis.vectors.device)
        start += basis.vectors.shape[0]
    return torch.cat([where[basis] for basis in bases])
