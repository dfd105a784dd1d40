"""What is a value with two wide axes, if nobody writes it down? A linear combination of atoms.

Axes are matched by labels, as in a program's instructions. Labels `0 .. rank-1` are the axes of the result of an operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor

from tpdyn.program.errors import OutsideTheory
from tpdyn.readings.sampled.atoms import (
    DIAGONAL,
    Atom,
    Entrywise,
    Identity,
    Lazy,
    LowRank,
    Unseen,
    as_lazy,
    evaluated,
    through,
)
from tpdyn.readings.sampled.einsum import Labels, Part, einsum, fresh, sizes_of
from tpdyn.readings.sampled.tiles import Cuts, cut, tiles


class Term(NamedTuple):
    """`scale * atom`, the atom's axis k being axis `axes[k]` of the matrix."""

    scale: float
    atom: Atom
    axes: Labels


@final
class Matrix:
    """A value that is not stored: its shape, its wide axes, and the atoms that it sums.

    one: the number 1, in the float type and on the device of the entries.
    """

    def __init__(self, shape: Sequence[int], wide: Sequence[int], terms: Sequence[Term], one: Tensor) -> None:
        self.shape, self.wide, self.one = tuple(shape), tuple(wide), one
        self.terms = _collected(terms)

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def leaf(self) -> Unseen | None:
        """A leaf that takes part in it, if any."""
        lazy = [as_lazy(term.atom).leaf for term in self.terms if not isinstance(term.atom, Entrywise | Identity)]
        return next((leaf for leaf in lazy if leaf is not None), None)

    def placed(self, labels: Labels, scale: float = 1.0) -> list[Term]:
        """Return its terms in a result where its axis k is axis `labels[k]`."""
        return [Term(scale * c, atom, tuple(labels[axis] for axis in axes)) for c, atom, axes in self.terms]

    # -- products that are vectors ----------------------------------------------------------------------------------

    def times(self, labels: Labels, x: Tensor, x_labels: Labels, out: Labels, sizes: dict[int, int]) -> Tensor:
        """Sum matrix times x over all labels that `out` lacks; the result has one wide axis at most."""
        total = x.new_zeros([sizes[label] for label in out])
        lazy = [term for term in self.terms if isinstance(term.atom, Entrywise)]
        for scale, atom, axes in self.terms:
            own = tuple(labels[axis] for axis in axes)
            if isinstance(atom, Identity):
                total.add_(atom.times(own, [(x, x_labels)], out), alpha=scale)
            elif not isinstance(atom, Entrywise):
                product = as_lazy(atom)
                parts, of_leaf = product.relabelled(own, fresh(labels, x_labels, out))
                met = {*x_labels, *of_leaf, *(label for _, each in parts for label in each)}
                unmet = math.prod(sizes[label] for label in set(own) - {*out, *met})
                total.add_(evaluated([*parts, (x, x_labels)], product.leaf, of_leaf, out), alpha=scale * unmet)
        if lazy:
            total += _by_tiles(Matrix(self.shape, self.wide, lazy, self.one), labels, x, x_labels, out, sizes)
        return total

    # -- matrices again ---------------------------------------------------------------------------------------------

    def scaled_by(self, labels: Labels, x: Tensor, x_labels: Labels, rank: int) -> list[Term]:
        """Return the terms of matrix times x, entry by entry or summed over finite axes (labels from `rank` on)."""
        terms = []
        for c, atom, axes in self.terms:
            own = tuple(labels[axis] for axis in axes)
            if isinstance(atom, Entrywise):
                whole = Matrix(self.shape, self.wide, [Term(1.0, atom, axes)], self.one)
                terms.append(Term(c, _weighted(whole, labels, x, x_labels, rank), _axes(rank)))
                continue
            if isinstance(atom, Identity):
                raise OutsideTheory(DIAGONAL)
            product = as_lazy(atom)
            parts, of_leaf = product.relabelled(own, fresh(labels, x_labels, range(rank)))
            lazy = Lazy((*parts, (x, x_labels)), rank, product.leaf, of_leaf)
            met = {*x_labels, *of_leaf, *(label for _, each in parts for label in each)}
            unmet = math.prod(
                n for label, n in zip(labels, self.shape, strict=True) if label >= rank and label not in met
            )
            terms.append(Term(c * unmet, lazy, _axes(rank)))
        return terms

    # -- entries ----------------------------------------------------------------------------------------------------

    def tile(self, cuts: Cuts, memo: dict[object, Tensor]) -> Tensor:
        """Compute the entries of a tile; `memo` holds what was computed of this tile already."""
        key = _key(self, cuts)
        if key in memo:
            return memo[key]
        size = [len(range(*cuts[axis].indices(n))) if axis in cuts else n for axis, n in enumerate(self.shape)]
        total: Tensor | None = None
        for number, (scale, atom, axes) in enumerate(self.terms):
            inside = {k: cuts[axis] for k, axis in enumerate(axes) if axis in cuts}
            part = _placed(_entries(atom, inside, memo, self.one), axes, self.rank)
            if total is None:
                total = part * scale if scale != 1 else part
            elif (number > 1 or self.terms[0].scale != 1) and total.shape == part.shape:
                total.add_(part, alpha=scale)  # in place: it is nobody else's
            else:
                total = total.add(part, alpha=scale)
        memo[key] = self.one.new_zeros(size) if total is None else total.expand(size)
        return memo[key]

    def stored(self) -> Tensor:
        """Compute every entry, for a value with one wide axis: a leaf in it is asked for all its rows."""
        total, out = self.one.new_zeros(self.shape), _axes(self.rank)
        for scale, atom, axes in self.terms:
            product = as_lazy(atom)
            parts, of_leaf = product.relabelled(axes, self.rank)
            if product.leaf is not None:
                parts = [product.leaf.entries(of_leaf), *parts]
            total.add_(einsum(parts, out), alpha=scale)
        return total

    def low_rank(self) -> LowRank | None:
        """Write the whole matrix as `L core R^T`; None if some term has no such form."""
        total: LowRank | None = None
        for scale, atom, axes in self.terms:
            if isinstance(atom, LowRank):
                scaled = atom.times(scale)
            elif isinstance(atom, Lazy) and atom.bases is not None:
                left, right = atom.bases
                scaled = LowRank((left,), scale * torch.eye(len(left.vectors)).to(left.vectors), (right,))
            else:
                return None
            scaled = scaled if axes == (0, 1) else scaled.transposed
            total = scaled if total is None else total.plus(scaled)
        return total


def _axes(rank: int) -> Labels:
    return tuple(range(rank))


def _collected(terms: Sequence[Term]) -> tuple[Term, ...]:
    """Add up terms of the same atom; all of low rank become one."""
    merged: dict[tuple[int, Labels], Term] = {}
    low: LowRank | None = None
    for scale, atom, axes in terms:
        if isinstance(atom, LowRank):
            scaled = (atom if axes == (0, 1) else atom.transposed).times(scale)
            low = scaled if low is None else low.plus(scaled)
            continue
        key = (id(atom), axes)
        before = merged[key].scale if key in merged else 0.0
        merged[key] = Term(before + scale, atom, axes)
    whole = [] if low is None else [Term(1.0, low, (0, 1))]
    return (*(term for term in merged.values() if term.scale != 0.0), *whole)


def vector(x: Tensor, labels: Labels, rank: int) -> Term:
    """Write a tensor, constant along the axes that it lacks, as a term of a matrix."""
    return Term(1.0, Lazy(((x, labels),), rank), _axes(rank))


def outer(parts: Sequence[Part], scale: float, rank: int) -> Term:
    """Write an outer product of vectors as a lazy term."""
    (x, labels), *rest = parts
    return Term(1.0, Lazy(((x if scale == 1 else x * scale, labels), *rest), rank), _axes(rank))


def unseen(leaf: Unseen) -> Term:
    """Write a leaf as a term of a matrix."""
    rank = len(leaf.shape)
    return Term(1.0, Lazy((), rank, leaf, _axes(rank)), _axes(rank))


def inner(x: Matrix, x_labels: Labels, y: Matrix, y_labels: Labels, out: Labels, sizes: dict[int, int]) -> Tensor:
    """Sum x times y over all labels that `out` lacks; the result has one wide axis at most."""
    total = x.one.new_zeros([sizes[label] for label in out])
    if any(isinstance(term.atom, Entrywise) for term in (*x.terms, *y.terms)):
        return _inner_by_tiles(total, x, x_labels, y, y_labels, out)
    for c, a, of_a in x.terms:
        for d, b, of_b in y.terms:
            if not c * d:
                continue
            labels, others = tuple(x_labels[k] for k in of_a), tuple(y_labels[k] for k in of_b)
            if isinstance(a, Identity) or isinstance(b, Identity):
                total += c * d * _trace(a, labels, b, others, out)
                continue
            one, two = as_lazy(a), as_lazy(b)
            if one.leaf is not None and two.leaf is not None:
                total += c * d * _squares_of(one, labels, two, others, out)
                continue
            parts, leaf_labels = one.relabelled(labels, fresh(x_labels, y_labels, out))
            more, more_labels = two.relabelled(others, fresh(x_labels, y_labels, out) + one.count)
            every = [*parts, *more]
            met = {*leaf_labels, *more_labels, *(label for _, each in every for label in each)}
            unmet = math.prod(sizes[label] for label in {*labels, *others} - {*out, *met})
            product = evaluated(every, one.leaf or two.leaf, leaf_labels or more_labels, out)
            total += c * d * unmet * product
    return total


def _trace(a: Atom, a_labels: Labels, b: Atom, b_labels: Labels, out: Labels) -> Tensor | float:
    """Sum the entries of one of two atoms where the other one, an identity, is not zero."""
    if not isinstance(a, Identity):
        a, a_labels, b, b_labels = b, b_labels, a, a_labels
    assert isinstance(a, Identity)
    if isinstance(b, Identity):
        if a.same(a_labels) == b.same(b_labels) and not {*out} & {*a_labels}:
            return float(math.prod(a.sizes))
        raise OutsideTheory(DIAGONAL)
    product = as_lazy(b)
    if product.leaf is not None:
        raise OutsideTheory(f"outside the sampler: the diagonal of {product.leaf.name} itself")
    return a.times(a_labels, product.relabelled(b_labels, fresh(a_labels, b_labels, out))[0], out)


def _squares_of(x: Lazy, x_labels: Labels, y: Lazy, y_labels: Labels, out: Labels) -> Tensor:
    """Sum the squares of a leaf, over rows or all: the one product of two leaves that has a rule."""
    assert x.leaf is not None
    assert y.leaf is not None
    if x.leaf is not y.leaf:
        raise OutsideTheory(
            f"outside the sampler: an inner product of two Gaussian leaves, {x.leaf.name} and {y.leaf.name}"
        )
    first = fresh(x_labels, y_labels, out)
    parts, labels = x.relabelled(x_labels, first)
    more, others = y.relabelled(y_labels, first + x.count)
    every = [*parts, *more]
    if labels != others:
        raise OutsideTheory(f"outside the sampler: an inner product of {x.leaf.name} and its own transpose")
    met = {*out, *(label for _, own in every for label in own)}
    kept = tuple(axis for axis, label in enumerate(labels) if label in met)
    if not kept:
        return einsum([*every, (x.leaf.one * x.leaf.squared_norm(), ())], out)
    norms, axes = x.leaf.squared_norms(kept)
    return einsum([*every, (norms, tuple(labels[axis] for axis in axes))], out)


def product(x: Matrix, x_labels: Labels, y: Matrix, y_labels: Labels, rank: int) -> list[Term]:
    """Return the terms of x times y, summed over labels from `rank` on, if that is a matrix (Muon, Shampoo)."""
    for with_one, labels, other, others in ((x, x_labels, y, y_labels), (y, y_labels, x, x_labels)):
        diagonal = [term for term in with_one.terms if isinstance(term.atom, Identity)]
        if diagonal:
            moved = [each for term in diagonal for each in _moved(term, labels, other, others, rank)]
            terms = [term for term in with_one.terms if term not in diagonal]
            rest = Matrix(with_one.shape, with_one.wide, terms, x.one)
            return [*moved, *product(rest, labels, other, others, rank)]
    if rank == x.rank == y.rank == 2 and (low := _low_rank_product(x, x_labels, y, y_labels)) is not None:
        return [low]
    terms = []
    for c, a, of_a in x.terms:
        for d, b, of_b in y.terms:
            if isinstance(a, Entrywise) or isinstance(b, Entrywise):
                leaf = x.leaf or y.leaf
                what = "a matrix" if leaf is None else f"the Gaussian leaf {leaf.name}"
                raise OutsideTheory(f"outside the sampler: a product of {what} and an entrywise function of a matrix")
            one, two = as_lazy(a), as_lazy(b)
            if one.leaf is not None and two.leaf is not None:
                if max((*x_labels, *y_labels)) < rank:
                    raise OutsideTheory(f"outside the sampler: a product of entries of {one.leaf.name} itself")
                raise OutsideTheory(
                    f"outside the sampler: a product of two Gaussian leaves, {one.leaf.name} and {two.leaf.name}. Apply "
                    "them to a vector one after the other"
                )
            first = fresh(x_labels, y_labels, range(rank))
            parts, leaf_labels = one.relabelled(tuple(x_labels[k] for k in of_a), first)
            more, more_labels = two.relabelled(tuple(y_labels[k] for k in of_b), first + one.count)
            leaf, own, every = one.leaf or two.leaf, leaf_labels or more_labels, [*parts, *more]
            if leaf is not None and any(label >= rank for label in own):
                every, leaf, own = through(every, leaf, own, _axes(rank)), None, ()
            terms.append(Term(c * d, Lazy(tuple(_reduced(every, own, rank)), rank, leaf, own), _axes(rank)))
    return terms


def _moved(term: Term, labels: Labels, other: Matrix, others: Labels, rank: int) -> list[Term]:
    """Return the terms of an identity times another matrix: its own, summed axes being named as those kept."""
    scale, atom, axes = term
    assert isinstance(atom, Identity)
    same = atom.same(tuple(labels[axis] for axis in axes))
    renamed = tuple(same.get(label, label) for label in others)
    summed = all(gone >= rank > kept for gone, kept in same.items())
    if not summed or not {*same} <= {*others} or len(set(renamed)) < len(renamed):
        raise OutsideTheory(DIAGONAL)
    if max(renamed) < rank:
        return other.placed(renamed, scale)
    return other.scaled_by(renamed, other.one * scale, (), rank)


def _low_rank_product(x: Matrix, x_labels: Labels, y: Matrix, y_labels: Labels) -> Term | None:
    one, two = x.low_rank(), y.low_rank()
    if one is None or two is None or len({*x_labels} & {*y_labels}) != 1:
        return None
    one = one if x_labels[0] < 2 else one.transposed  # kept, summed
    two = two if y_labels[1] < 2 else two.transposed  # summed, kept
    kept = (min(x_labels), min(y_labels))
    return Term(1.0, one.after(two), kept)


def _reduced(parts: list[Part], leaf_labels: Labels, rank: int) -> list[Part]:
    """Carry out the sums that make nothing larger: inner products of factors become small cores."""
    while True:
        sizes, best = sizes_of(parts), None
        for first in range(len(parts)):
            for second in range(first + 1, len(parts)):
                pair = parts[first][1] + parts[second][1]
                rest = {*leaf_labels, *(a for k, p in enumerate(parts) if k not in (first, second) for a in p[1])}
                kept = tuple(label for label in dict.fromkeys(pair) if label < rank or label in rest)
                size = math.prod(sizes[label] for label in kept)
                smaller = size <= max(parts[first][0].numel(), parts[second][0].numel())
                axes = {
                    label for label in kept if label < rank
                }  # two sides of a matrix stay apart, at small widths too
                smaller = smaller and any(axes <= {*parts[k][1]} for k in (first, second))
                if len(kept) < len(set(pair)) and smaller and (best is None or size < best[0]):
                    best = (size, first, second, kept)
        if best is None:
            return parts
        _, first, second, kept = best
        joint = einsum([parts[first], parts[second]], kept)
        parts = [part for k, part in enumerate(parts) if k not in (first, second)] + [(joint, kept)]


# -- tiles ----------------------------------------------------------------------------------------------------------


def _key(value: object, cuts: Cuts) -> object:
    return id(value), tuple((axis, each.start, each.stop) for axis, each in sorted(cuts.items()))


def _entries(atom: Atom, cuts: Cuts, memo: dict[object, Tensor], one: Tensor) -> Tensor:
    """Compute the entries of a tile of an atom (axes of size 1 where it is constant)."""
    key = _key(atom, cuts)
    if key not in memo:
        if isinstance(atom, Entrywise):
            memo[key] = atom.function(*_arguments(atom, cuts, memo))
        elif isinstance(atom, Identity):
            memo[key] = atom.tile(cuts, one)
        else:
            product = as_lazy(atom)
            if product.leaf is not None:
                raise OutsideTheory(f"outside the sampler: a function of the entries of {product.leaf.name} itself")
            memo[key] = einsum([(cut(x, labels, cuts), labels) for x, labels in product.parts], _axes(product.rank))
    return memo[key]


def _arguments(atom: Entrywise, cuts: Cuts, memo: dict[object, Tensor]) -> list[Tensor]:
    arguments = []
    for operand, labels in atom.operands:
        own = {axis: cuts[label] for axis, label in enumerate(labels) if label in cuts}
        entries = operand.tile(own, memo) if isinstance(operand, Matrix) else cut(operand, labels, cuts)
        arguments.append(_placed(entries, labels, atom.rank))
    return arguments


def _placed(entries: Tensor, labels: Labels, rank: int) -> Tensor:
    """Put the axes of a tensor where its labels say, of size 1 where it has none."""
    return entries if labels == _axes(rank) else einsum([(entries, labels)], _axes(rank))


def entrywise(function: Callable[..., Tensor], operands: Sequence[tuple[Matrix | Tensor, Labels]], rank: int) -> Term:
    """Write an entrywise function of matrices and vectors as a term of a matrix."""
    return Term(1.0, Entrywise(function, tuple(operands), rank), _axes(rank))


def _weighted(matrix: Matrix, labels: Labels, x: Tensor, x_labels: Labels, rank: int) -> Entrywise:
    """Multiply entry by entry, and sum over finite axes (labels from `rank` on) within each tile."""
    summed = sorted({label for label in (*labels, *x_labels) if label >= rank})
    place = {label: rank + number for number, label in enumerate(summed)}
    of_matrix, of_x = (tuple(place.get(label, label) for label in own) for own in (labels, x_labels))
    trailing = tuple(place.values())

    def function(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(trailing) if trailing else a * b

    return Entrywise(function, ((matrix, of_matrix), (x, of_x)), rank + len(trailing))


def _by_tiles(
    matrix: Matrix, labels: Labels, x: Tensor, x_labels: Labels, out: Labels, sizes: dict[int, int]
) -> Tensor:
    total = x.new_zeros([sizes[label] for label in out])
    for cuts in tiles(matrix.shape, matrix.wide):
        named = {labels[axis]: each for axis, each in cuts.items()}
        entries = matrix.tile(cuts, {})
        where = tuple(named.get(label, slice(None)) for label in out)
        total[where] += einsum([(entries, labels), (cut(x, x_labels, named), x_labels)], out)
    return total


def _inner_by_tiles(total: Tensor, x: Matrix, x_labels: Labels, y: Matrix, y_labels: Labels, out: Labels) -> Tensor:
    leaf = x.leaf or y.leaf
    if leaf is not None:
        raise OutsideTheory(
            f"outside the sampler: an entrywise inner product of {leaf.name} itself with a function of a matrix"
        )
    for cuts in tiles(x.shape, x.wide):
        named = {x_labels[axis]: each for axis, each in cuts.items()}
        memo: dict[object, Tensor] = {}
        first = x.tile(cuts, memo)
        second = y.tile({axis: named[label] for axis, label in enumerate(y_labels) if label in named}, memo)
        where = tuple(named.get(label, slice(None)) for label in out)
        total[where] += einsum([(first, x_labels), (second, y_labels)], out)
    return total
