"""How are statements written down while lowering? Contract, combine, apply, reshape: on values with script shapes.

`LoweredBuilder` is what the rules (one file a family of aten operations) are given. It keeps the views lazy, folds constants
into numbers, and shares statements that are equal by construction. Decisions may not depend on the value of a number or a
size other than 1. Recordings at several widths must give the same statements.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

import torch

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Eigenvalues,
    Gather,
    Instruction,
    Law,
    Leaf,
    LeafKind,
    Operand,
    Scatter,
    Slice,
    Spectral,
)
from tpdyn.program.program import Origin, Type
from tpdyn.recorder.lowered import Leaves, LoweredStatement, Reshape
from tpdyn.recorder.lowering.identity import Drawn
from tpdyn.recorder.lowering.values import Handle, Known, Number, Refusal, Shape, Tensor

Term = tuple[Number, Any]


def scaling(number: Number) -> Scaling:
    """Write a number of the script as a constant scaling."""
    return Scaling.of(number if isinstance(number, Fraction) else float(number))


def common_shape(*shapes: Shape) -> Shape:
    """Broadcast some shapes."""
    rank = max((len(shape) for shape in shapes), default=0)
    common = [1] * rank
    for shape in shapes:
        for k, size in enumerate(shape, rank - len(shape)):
            if size != 1:
                if common[k] not in (1, size):
                    raise Refusal(f"the shapes {', '.join(map(str, shapes))} do not broadcast")
                common[k] = size
    return tuple(common)


def letters_but(rank: int, named: dict[int, Any]) -> list[Any]:
    """Name the dims of a tensor 0, 1, 2, ..., but for those that have other names."""
    return [named.get(dim, dim) for dim in range(rank)]


def whole_sizes(shape: Sequence[int], old: Shape) -> Shape:
    """Return a shape for as many entries as another has; one -1 in it is computed."""
    known = math.prod(s for s in shape if s != -1)
    return tuple(math.prod(old) // max(known, 1) if s == -1 else s for s in shape)


@final
class LoweredBuilder:
    """Statements so far, and the ways to add one. Results are `Handle`s, or `Known` when everything was constant."""

    def __init__(self) -> None:
        self.statements: list[LoweredStatement] = []
        self.leaf_values = Leaves()
        self.notes: list[str] = []
        self.made: dict[str, str] = {}
        self.origin = Origin()
        self._shared: dict[Any, int] = {}
        self._names: dict[str, int] = {}
        self._numbers: dict[tuple[Any, Shape], Handle] = {}
        self.drawn = Drawn()
        self.known_of: dict[Any, Known] = {}  # initial values of parameters, by statement; complex ones by themselves
        self.scattered: dict[int, Tensor] = {}  # one-hot gradients of losses: their sum over the classes
        self.masks: dict[tuple[int, int], Known] = {}
        self.settled: set[Any] = set()  # the maxima that had to be computed (see `shifted`)
        self.indices: dict[tuple[Any, ...], Known] = {}  # constant indices that many operations share
        self.pairs: dict[Known, tuple[Known, Known]] = {}  # real and imaginary parts of complex tensors
        self.laid: dict[tuple[int, int], bool] = {}  # whether a dim of a statement was laid side by side (see `apart`)
        self.entries: dict[tuple[int, int, int], Tensor] = {}  # entries along such dims

    # -- reading ------------------------------------------------------------------------------------------------------

    def shape(self, x: Any) -> Shape:
        """Return the shape of a tensor or number."""
        return x.shape if isinstance(x, (Handle, Known)) else ()

    def number(self, x: Any) -> Number | None:
        """Return the number x, or the equal entries of a constant tensor x; else None."""
        if isinstance(x, Known):
            return x.number
        return x if isinstance(x, (int, float, Fraction)) else None

    def instruction(self, x: Handle) -> Instruction | Reshape:
        """Return the instruction of a handle's statement."""
        return self.statements[x.var].instruction

    def value(self, x: Any) -> Handle:
        """Return a handle of x: a number or known tensor becomes a leaf (once)."""
        if isinstance(x, Handle):
            return x
        if isinstance(x, Known):
            if x.leaf is None and x.made is not None:
                x.leaf = x.made()
            if x.leaf is None:
                x.leaf = self.drawn.same_data(x) or self._leaf_of(x)
            return x.leaf
        if isinstance(x, (int, float, Fraction)):
            return self.constant((), x)
        raise Refusal(f"expected a tensor, got {type(x).__name__}")

    def is_whole(self, x: Handle) -> bool:
        """Tell whether x is its statement's tensor, unchanged."""
        return x.axes == tuple(range(len(x.shape))) and x.shape == self.statements[x.var].shape

    def position(self, x: Any) -> int:
        """Return the statement whose tensor is exactly x, made if need be."""
        value = self.value(x)
        if self.is_whole(value):
            return value.var
        (operand,) = self._entrywise(value.shape, [value])
        return self._emit(Combine(((Scaling.of(1), operand),)), value.shape, share=True).var

    # -- leaves -------------------------------------------------------------------------------------------------------

    def constant(self, shape: Shape, number: Number) -> Handle:
        """Return a leaf filled with one number."""
        key = (number, shape)
        if key not in self._numbers:
            law = Law("zero") if number == 0 else Law("constant", scaling(number))
            # the value is not part of the name: it may depend on the width
            leaf = Leaf("constant", self.fresh_name("constant"), law)
            self._numbers[key] = self.leaf(leaf, torch.full((), float(number), dtype=torch.float64).expand(shape))
        return self._numbers[key]

    def fresh_name(self, name: str) -> str:
        """Return `name`, or `name_0`, `name_1`, ... for words that are used again and again."""
        numbered = name in ("constant", "data", "tokens", "index", "mask", "array", "random", "dropout")
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        if numbered:
            return f"{name}_{count}"
        return name if count == 0 else f"{name}~{count + 1}"

    def leaf(self, leaf: Leaf, tensor: torch.Tensor, *, type: Type = "float") -> Handle:
        """Write a leaf and remember its live value."""
        value = self._emit(leaf, tuple(tensor.shape), type=type)
        floating = tensor.dtype.is_floating_point
        self.leaf_values[value.var] = tensor.detach().to(torch.float64) if floating else tensor.detach()
        return value

    def _leaf_of(self, known: Known) -> Handle:
        tensor = known.tensor
        number = known.number
        if number is not None:
            return self.constant(known.shape, number)
        kind: LeafKind = "data" if known.kind == "data" else known.kind
        if tensor.dtype == torch.bool:
            law, type_, word = Law("array"), "bool", "mask"
        elif known.is_discrete:
            law, type_, word = Law("index"), "int", "tokens" if kind == "data" else "index"
        elif known.draw is not None:
            law, type_, word = known.draw.to_law(), "float", "data" if kind == "data" else "random"
        elif kind == "data":
            law, type_, word = Law("data"), "float", "data"
        else:
            law, type_, word = Law("array"), "float", "array"
        if known.draw is not None and law.kind == "bernoulli":
            tensor, type_, word = tensor.to(torch.float64), "float", "dropout"
        self.notes.extend(known.notes)
        leaf = self.leaf(Leaf(kind, self.fresh_name(known.name or word), law), tensor, type=type_)  # type: ignore[arg-type]
        self.drawn.add_data(known, leaf)
        return leaf

    def _index(self, x: Any) -> Handle:
        """Read x as an index: whole numbers, also where all are equal (segments of a sentence that has only one)."""
        if not isinstance(x, Known) or x.number is None:
            return self.value(x)
        key = ("index", x.number, x.shape)
        if key not in self._shared:
            leaf = Leaf("constant", self.fresh_name("index"), Law("index"))
            self._shared[key] = self.leaf(leaf, x.tensor.to(torch.int64).contiguous(), type="int").var
        return Handle(self._shared[key], tuple(range(len(x.shape))), x.shape)

    # -- the instructions ---------------------------------------------------------------------------------------------

    def _emit(self, instruction: Any, shape: Shape, *, type: Type = "float", share: bool = False) -> Handle:
        axes = tuple(range(len(shape)))
        if share:
            shared = self._shared.get((instruction, shape))
            if shared is not None:
                return Handle(shared, axes, shape)
        position = len(self.statements)
        self.statements.append(LoweredStatement(instruction, shape, type, self.origin))
        if share:
            self._shared[(instruction, shape)] = position
        return Handle(position, axes, shape)

    def _operand(
        self,
        x: Handle,
        letters: Sequence[Any],
        sizes: dict[Any, int],
        labels: dict[Any, int],
        fresh: Iterator[int],
    ) -> Operand:
        """Make x with its dims named `letters` an operand. An axis of size 1 that is broadcast gets a label of its own."""
        axes = []
        for size, dim in zip(self.statements[x.var].shape, x.axes):
            if dim is None or (size == 1 and sizes[letters[dim]] != 1):
                axes.append(next(fresh))
            else:
                axes.append(labels[letters[dim]])
        return Operand(x.var, tuple(axes))

    def _entrywise(self, shape: Shape, tensors: Sequence[Any]) -> tuple[Operand, ...]:
        """Make tensors operands of what is done entry by entry, with broadcasting."""
        rank = len(shape)
        sizes, labels, fresh = dict(enumerate(shape)), {k: k for k in range(rank)}, itertools.count(rank)
        return tuple(
            self._operand(self.value(x), range(rank - len(self.shape(x)), rank), sizes, labels, fresh) for x in tensors
        )

    def contract(
        self, out: Sequence[Any], *pairs: tuple[Any, Sequence[Any]], scale: Number = 1, share: bool = False
    ) -> Tensor:
        """Write `scale * einsum` of one or two tensors: each comes with one letter a dim, `out` are the letters kept."""
        sizes: dict[Any, int] = {}
        for x, letters in pairs:
            for letter, size in zip(letters, self.shape(x), strict=True):
                sizes[letter] = size if sizes.get(letter, 1) == 1 else sizes[letter]
        shape = tuple(sizes[letter] for letter in out)
        labels = {letter: label for label, letter in enumerate([*out, *(s for s in sizes if s not in out)])}
        fresh = itertools.count(len(labels))
        operands, factor = [], scale
        for x, letters in pairs:
            number = self.number(x)
            if number is not None:
                factor = factor * number
            else:
                operands.append(self._operand(self.value(x), letters, sizes, labels, fresh))
        carried = {label for operand in operands for label in operand.axes}
        for letter, size in sizes.items():
            if letter not in out and labels[letter] not in carried:
                factor = factor * size  # a sum over equal terms
        if not operands or factor == 0:
            return Known.full(shape, factor)
        return self._emit(Contract(tuple(operands), scaling(factor)), shape, share=share)

    def product(self, a: Any, b: Any, *, scale: Number = 1, share: bool = False) -> Tensor:
        """Write `scale * a * b`, entry by entry with broadcasting; a linear combination when one of them is a number."""
        for x, y in ((a, b), (b, a)):
            number = self.number(x)
            if number is not None:
                if number == 0 and isinstance(x, Known):
                    return Known.full(self.broadcast(a, b), 0.0)
                return self.combine([(scale * number, y)], shape=self.broadcast(a, b), share=share)
        rank = max(len(self.shape(a)), len(self.shape(b)))
        letters = [tuple(range(rank - len(self.shape(x)), rank)) for x in (a, b)]
        return self.contract(tuple(range(rank)), (a, letters[0]), (b, letters[1]), scale=scale, share=share)

    def broadcast(self, *tensors: Any) -> Shape:
        """Return the common shape of tensors and numbers."""
        return common_shape(*[self.shape(x) for x in tensors])

    def combine(
        self,
        terms: Sequence[Term],
        constant: Number = 0.0,
        *,
        shape: Shape | None = None,
        epsilon: bool = False,
        share: bool = False,
    ) -> Tensor:
        """Write `sum_k c_k * x_k + constant` with broadcasting; numbers and constant tensors join the constant."""
        shape = self.broadcast(*[x for _, x in terms]) if shape is None else shape
        kept = []
        for coefficient, x in terms:
            number = self.number(x)
            if number is None:
                kept.append((coefficient, x))
            else:
                constant = constant + coefficient * number
        if not kept:
            return Known.full(shape, constant)
        scales = [scaling(coefficient) for coefficient, _ in kept]
        operands = self._entrywise(shape, [x for _, x in kept])
        new = Combine(tuple(zip(scales, operands, strict=True)), scaling(constant), epsilon)
        return self._emit(new, shape, share=share)

    def apply(
        self, function: str, *tensors: Any, parameters: Sequence[Number] = (), along: int | None = None
    ) -> Handle:
        """Write `function(x, ...)`, entry by entry with broadcasting (`along`: the dim a softmax normalises over)."""
        if len(tensors) == 1 and along is None:
            # apply to the statement itself and keep the view: so that two views share one statement
            x = self.value(tensors[0])
            own = self.statements[x.var].shape
            instruction = Apply(function, (Operand(x.var, tuple(range(len(own)))),), tuple(map(scaling, parameters)))
            return Handle(self._emit(instruction, own, share=True).var, x.axes, x.shape)
        shape = self.broadcast(*tensors)
        instruction = Apply(function, self._entrywise(shape, tensors), tuple(map(scaling, parameters)), along)
        return self._emit(instruction, shape, share=True)

    def again(self, function: str, applied: Apply, shape: Shape) -> Handle:
        """Write another function of the same arguments."""
        return self._emit(Apply(function, applied.operands, applied.parameters, applied.along), shape, share=True)

    def gather(
        self, x: Any, letters: Sequence[Any], index: Any, index_letters: Sequence[Any], axis: Any, out: Sequence[Any]
    ) -> Handle:
        """Write `out[...] = x[..., index[...], ...]`: letters name the dims; `axis` is the letter of x that is indexed."""
        x = self.value(x)
        if x.shape[list(letters).index(axis)] == 1:  # there is nothing to choose from
            sizes = {**dict(zip(index_letters, self.shape(index))), **dict(zip(letters, x.shape))}
            one = self.contract([letter for letter in letters if letter != axis], (x, letters))
            return self._spread(one, [letter for letter in letters if letter != axis], out, sizes)
        index = self._index(index)
        sizes = {**dict(zip(index_letters, index.shape)), **dict(zip(letters, x.shape))}
        labels = {letter: label for label, letter in enumerate([*out, axis])}
        fresh = itertools.count(len(labels))
        instruction = Gather(
            self._operand(x, letters, sizes, labels, fresh),
            self._operand(index, index_letters, sizes, labels, fresh),
            labels[axis],
        )
        return self._emit(instruction, tuple(sizes[letter] for letter in out), share=True)

    def _spread(self, x: Any, letters: Sequence[Any], out: Sequence[Any], sizes: dict[Any, int]) -> Handle:
        """Put dims in the order of `out`; broadcast those that x lacks."""
        x = self.permute(x, [letters.index(letter) for letter in out if letter in letters])
        for k, letter in enumerate(out):
            if letter not in letters:
                x = self.unsqueeze(x, k)
        return self.value(self.expand(x, [sizes[letter] for letter in out]))

    def scatter(
        self,
        x: Any,
        letters: Sequence[Any],
        index: Any,
        index_letters: Sequence[Any],
        axis: Any,
        out: Sequence[Any],
        size: int,
    ) -> Handle:
        """Write `out[..., index[...], ...] += x[...]`: `axis` (in `out`, of `size`) is the dim that the index fills."""
        if size == 1:  # everything is added up
            kept = [letter for letter in out if letter != axis]
            repeats = math.prod(
                s for k, s in zip(index_letters, self.shape(index)) if k not in letters and k not in out
            )
            total = self.contract(kept, (x, letters), scale=repeats)
            shape = {**dict(zip(letters, self.shape(x))), axis: 1}
            return self._spread(total, kept, out, shape)
        x, index = self.value(x), self._index(index)
        sizes = {**dict(zip(index_letters, index.shape)), **dict(zip(letters, x.shape)), axis: size}
        extra = [s for s in dict.fromkeys([*letters, *index_letters]) if s not in out]
        labels = {letter: label for label, letter in enumerate([*out, *extra])}
        fresh = itertools.count(len(labels))
        instruction = Scatter(
            self._operand(x, letters, sizes, labels, fresh),
            self._operand(index, index_letters, sizes, labels, fresh),
            labels[axis],
        )
        return self._emit(instruction, tuple(sizes[letter] for letter in out))

    def along(self, x: Any, dim: int, matrix: Known, *, transposed: bool = False, scale: Number = 1) -> Tensor:
        """Write x with one dim multiplied by a constant matrix [out, in], or by its transpose."""
        letters = letters_but(len(self.shape(x)), {dim: "in"})
        sides = ["in", dim] if transposed else [dim, "in"]
        return self.contract(range(len(letters)), (x, letters), (matrix, sides), scale=scale)

    def pick(self, x: Any, dim: int, index: Known) -> Handle:
        """Write x at the positions of an index along dim."""
        letters = letters_but(len(self.shape(x)), {dim: "old"})
        return self.gather(x, letters, index, [dim], "old", range(len(letters)))

    def put(self, x: Any, dim: int, index: Known, size: int) -> Tensor:
        """Write the transpose of `pick` from a dim of that size: what comes to one position is added up."""
        letters = letters_but(len(self.shape(x)), {dim: "old"})
        return self.scatter(x, letters, index, ["old"], dim, range(len(letters)), size)

    def slice(self, x: Any, dim: int, start: int, step: int, length: int) -> Handle:
        """Write `x[..., start : start + step*length : step, ...]` along dim, which stays (size `length`)."""
        x = self.value(x)
        shape = (*x.shape[:dim], length, *x.shape[dim + 1 :])
        if dim not in x.axes or self.statements[x.var].shape[x.axes.index(dim)] == 1:
            one = (*x.shape[:dim], 1, *x.shape[dim + 1 :])
            return self.value(self.expand(Handle(x.var, tuple(None if d == dim else d for d in x.axes), one), shape))
        if length == 1:
            return self.unsqueeze(self.select(x, dim, start), dim)
        part = self._part(x, dim, start, length) if step == 1 else None
        if part is not None:
            return part
        (operand,) = self._entrywise(x.shape, [x])
        return self._emit(Slice.of(operand, dim, start, step, length), shape, share=True)

    def _part(self, x: Handle, dim: int, start: int, length: int) -> Handle | None:
        """Return what lies at start : start + length along dim, if that is one part of a concatenation x."""
        concat = self.statements[x.var].instruction
        if not (isinstance(concat, Concat) and self.is_whole(x) and concat.axis == dim):
            return None
        offset = 0
        for operand, extent in zip(concat.parts, concat.lengths, strict=True):
            if offset == start and extent.constant == length and operand is not None:
                return Handle(operand.var, operand.axes, self.statements[operand.var].shape)
            offset += int(extent.constant)
        return None

    def select(self, x: Any, dim: int, index: int) -> Handle:
        """Write `x[..., index, ...]`: dim is dropped."""
        x = self.value(x)
        shape = (*x.shape[:dim], *x.shape[dim + 1 :])
        if dim not in x.axes or self.statements[x.var].shape[x.axes.index(dim)] == 1:
            axes = tuple(None if d is None or d == dim else d - (d > dim) for d in x.axes)
            return Handle(x.var, axes, shape)
        part = self._part(x, dim, index, 1)
        if part is not None:
            return self.squeeze(part, [dim])
        rank = len(shape)
        labels = {k: (rank if k == dim else k - (k > dim)) for k in range(rank + 1)}
        operand = self._operand(x, tuple(range(rank + 1)), dict(enumerate(x.shape)), labels, itertools.count(rank + 1))
        return self._emit(Slice.of(operand, rank, index, 1, 1), shape, share=True)

    def concat(self, parts: Sequence[Tensor | int], dim: int, shape: Shape) -> Tensor:
        """Lay tensors end to end along dim of a result of that shape (the size of dim is computed). An int means so many zeros."""
        if len(parts) == 1 and not isinstance(parts[0], int):
            return parts[0]
        lengths = [part if isinstance(part, int) else self.shape(part)[dim] for part in parts]
        operands: list[Operand | None] = []
        for part in parts:
            if isinstance(part, int) or self.number(part) == 0:
                operands.append(None)
            else:
                position = self.position(part)
                operands.append(Operand(position, tuple(range(len(shape)))))
        shape = (*shape[:dim], sum(lengths), *shape[dim + 1 :])
        if all(operand is None for operand in operands):
            return Known.full(shape, 0.0)
        scalings = tuple(Scaling.of(Fraction(length)) for length in lengths)
        return self._emit(Concat(tuple(operands), scalings, dim), shape)

    def eigenvalues(self, matrix: Handle, descending: bool = False) -> Handle:
        """Return the eigenvalues of a symmetric matrix, in order."""
        instruction = Eigenvalues(Operand(self.position(matrix), (1, 2)), (1,), (2,), 0, descending)
        return self._emit(instruction, matrix.shape[:1], share=True)

    def spectral(self, matrix: Handle, weights: Any, descending: bool = False) -> Handle:
        """Write `V diag(weights) V^T`, V the eigenvectors of a symmetric matrix in the order of its eigenvalues."""
        read = Operand(self.position(weights), (2,)), Operand(self.position(matrix), (0, 1))
        return self._emit(Spectral(*read, (0,), (1,), 2, descending), matrix.shape, share=True)

    # -- views: no statements, but for reshape ------------------------------------------------------------------------

    def permute(self, x: Any, order: Sequence[int]) -> Handle:
        """Put dims in another order: new dim k is old dim order[k]."""
        x = self.value(x)
        order = [d % len(x.shape) for d in order]
        new = {old: k for k, old in enumerate(order)}
        axes = tuple(None if d is None else new[d] for d in x.axes)
        return Handle(x.var, axes, tuple(x.shape[d] for d in order))

    def transpose(self, x: Any, a: int, b: int) -> Handle:
        """Swap two dims."""
        rank = len(self.shape(x))
        order = list(range(rank))
        if rank:
            order[a % rank], order[b % rank] = order[b % rank], order[a % rank]
        return self.permute(x, order)

    def unsqueeze(self, x: Any, dim: int) -> Handle:
        """Return a new dim of size 1 at position dim (0 <= dim <= rank)."""
        x = self.value(x)
        axes = tuple(None if d is None else d + (d >= dim) for d in x.axes)
        return Handle(x.var, axes, (*x.shape[:dim], 1, *x.shape[dim:]))

    def squeeze(self, x: Any, dims: Sequence[int]) -> Handle:
        """Drop those of the dims that have size 1."""
        x = self.value(x)
        gone = {d % len(x.shape) for d in dims if x.shape and x.shape[d % len(x.shape)] == 1}
        kept = [d for d in range(len(x.shape)) if d not in gone]
        new = {old: k for k, old in enumerate(kept)}
        axes = tuple(None if d is None else new.get(d) for d in x.axes)
        return Handle(x.var, axes, tuple(x.shape[d] for d in kept))

    def expand(self, x: Any, shape: Sequence[int]) -> Tensor:
        """Broadcast to a shape (-1: as it is)."""
        lead = len(shape) - len(self.shape(x))
        old = self.shape(x)
        full = tuple(old[k - lead] if s == -1 else s for k, s in enumerate(shape))
        number = self.number(x)
        if number is not None:
            return Known.full(full, number)
        x = self.value(x)
        axes = tuple(None if d is None or (old[d] == 1 and full[d + lead] != 1) else d + lead for d in x.axes)
        return Handle(x.var, axes, full)

    def reshape(self, x: Any, shape: Sequence[int]) -> Tensor:
        """Return the same entries in the same order (one -1 is computed). It is free when only dims of size 1 come and go.

        Dims that overlap, as where (5, 6) becomes (6, 5), are no parts of common dims. Their entries are looked up one by one.
        """
        old = self.shape(x)
        full = whole_sizes(shape, old)
        number = self.number(x)
        if number is not None:
            return Known.full(full, number)
        value = self.value(x)
        if full == old:
            return value
        before, after = [d for d, s in enumerate(old) if s != 1], [d for d, s in enumerate(full) if s != 1]
        if [old[d] for d in before] == [full[d] for d in after]:
            new = dict(zip(before, after))
            return Handle(value.var, tuple(None if d is None else new.get(d) for d in value.axes), full)
        position = self.position(value)
        made = self.statements[position].instruction
        if isinstance(made, Reshape):
            source = self.statements[made.value].shape
            if source == full:
                return Handle(made.value, tuple(range(len(full))), full)
            position = made.value if _overlapping(source, full) is None else position
        overlapping = _overlapping(self.statements[position].shape, full)
        if overlapping is None:
            return self._emit(Reshape(position), full, share=True)
        flat = self._emit(Reshape(position), overlapping.flat, share=True)
        at, dims = overlapping.at, range(len(overlapping.flat))
        order = Known(torch.arange(overlapping.flat[at]), name="row-major")
        again = self.gather(flat, ["old" if k == at else k for k in dims], order, [at], "old", dims)
        return self.reshape(again, full)


@final
@dataclass(frozen=True, slots=True)
class _Overlapping:
    """flat: the old shape, with dims made one where the new ones overlap with them. at: the first such dim."""

    flat: Shape
    at: int


def _overlapping(old: Shape, new: Shape) -> _Overlapping | None:
    """Find the first dims whose regrouping splits them where none divides the other; None if there are none.

    They overlap at every width if their sizes are the same at every width. Others that overlap are refused, as before.
    """
    ends = list(itertools.accumulate(old, operator.mul))
    cuts = sorted({1, *ends, *itertools.accumulate(new, operator.mul)})
    wrong = next((k for k in range(1, len(cuts)) if cuts[k] % cuts[k - 1]), None) if cuts[0] else None
    if wrong is None:
        return None
    news = {1, *itertools.accumulate(new, operator.mul)}
    low = max(cut for cut in cuts[:wrong] if cut in news and cut in {1, *ends})
    high = min(cut for cut in cuts[wrong:] if cut in news and cut in ends)
    first = next(k for k, end in enumerate(ends) if end > low)
    last = next(k for k, end in enumerate(ends) if end == high)
    return _Overlapping((*old[:first], math.prod(old[first : last + 1]), *old[last + 1 :]), first)
