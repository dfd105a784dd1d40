"""Which steps can a tensor program take? The closed set of instructions.

Every reading of a program is a case distinction over exactly these classes. Each makes one value. Axes are matched by
**labels**, as in einsum. An `Operand` gives each axis of a value an integer label. Labels `0 .. rank-1` are the axes of the
result. Larger labels are summed over (only `Contract` sums). A result axis that an operand lacks is broadcast. So
transposes, expands and unsqueezes are labels, not instructions. Axes of size 1 do not exist: a dim of size one is not an
axis.

Two instructions are about symmetric matrices as a whole: `Eigenvalues`, and `Spectral`, a function of a matrix.
Eigenvectors are not values: they are arbitrary in sign, and where eigenvalues coincide. A function of the matrix is not.

Source of the instruction set: the language NETSOR-T+ and NEXORT of Tensor Programs (arXiv 2009.10685, 2308.01814). Here
it is written per tensor instead of per vector: Contract holds MatMul, Moment and the outer products, Apply holds Nonlin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Union, assert_never, final

from tpdyn.exponents import Scaling
from tpdyn.pointwise import Function, lookup
from tpdyn.program.law import Law as Law

LeafKind = Literal["parameter", "buffer", "data", "random", "constant"]


@final
@dataclass(frozen=True, slots=True)
class Operand:
    """A value read by an instruction: `var` is its position in the program, `axes[k]` the label of its k-th axis."""

    var: int
    axes: tuple[int, ...]


@final
@dataclass(frozen=True, slots=True)
class Leaf:
    """A value that the program starts from: a parameter at initialisation, data, a random draw, a constant array."""

    kind: LeafKind
    name: str
    law: Law


@final
@dataclass(frozen=True, slots=True)
class Contract:
    """The product of one or two values, summed over the labels that the result does not have: `scale * einsum(...)`.

    Without summed labels it is the entrywise (or outer) product; with one operand it is a sum over axes.
    """

    operands: tuple[Operand, ...]
    scale: Scaling = Scaling.of(1)


@final
@dataclass(frozen=True, slots=True)
class Combine:
    """A linear combination: `sum_k scale_k * value_k + constant`.

    `epsilon` marks a constant that only guards a division (Adam's eps): readings may take it as negligible.
    """

    terms: tuple[tuple[Scaling, Operand], ...]
    constant: Scaling = Scaling(())
    epsilon: bool = False


@final
@dataclass(frozen=True, slots=True)
class Apply:
    """A function from `tpdyn.pointwise`, entry by entry; `along` names the label over which a softmax normalises."""

    function: str
    operands: tuple[Operand, ...]
    parameters: tuple[Scaling, ...] = ()
    along: int | None = None

    @property
    def facts(self) -> Function:
        """What is known of the function, with these parameters; for all of them, if one depends on the width.

        Raises KeyError for a function that `tpdyn.pointwise` does not know.
        """
        return lookup(self.function, [float(each.constant) for each in self.parameters if each.is_constant])


@final
@dataclass(frozen=True, slots=True)
class Gather:
    """`result[..., i..., ...] = value[..., index[i...], ...]`: an embedding lookup, the labels of a cross-entropy.

    `value.axes` labels the axes of the value. The axis that is indexed has the label `axis` (>= rank: it is summed
    away). `index.axes` labels the axes of the (integer) index; labels may be shared with `value` (then picked jointly).
    """

    value: Operand
    index: Operand
    axis: int


@final
@dataclass(frozen=True, slots=True)
class Scatter:
    """The transpose of Gather: `result[..., index[i...], ...] += value[..., i..., ...]`, zeros elsewhere.

    `axis` is the label, in the result, of the axis that the index fills. Labels of `index` that the result lacks are
    summed over.
    """

    value: Operand
    index: Operand
    axis: int


@final
@dataclass(frozen=True, slots=True)
class Slice:
    """`value[start : start + step*length : step]` along the axis labelled `axis` (step may be negative: a flip).

    Start and length may grow with the width: `x[n : 2*n]`. A length of 1 drops the axis: its label is then >= rank. Otherwise
    the label is an axis of the result.
    """

    value: Operand
    axis: int
    start: Scaling
    step: int
    length: Scaling

    @staticmethod
    def of(value: Operand, axis: int, start: int, step: int, length: int) -> Slice:
        """Return a slice whose start and length are the same at every width."""
        return Slice(value, axis, Scaling.of(start), step, Scaling.of(length))

    @property
    def is_wide(self) -> bool:
        """Whether start or length depend on the width."""
        return not (self.start.is_constant and self.length.is_constant)

    def entries(self, width: int) -> range:
        """Which entries are taken at one width. Raises ValueError where a bound is not a whole number there."""
        start, length = self.start.size_at(width), self.length.size_at(width)
        return range(start, start + self.step * length, self.step)


@final
@dataclass(frozen=True, slots=True)
class Concat:
    """Values laid end to end along axis number `axis` of the result. A value without the axis has length 1 there.

    Each operand's labels are the axes of the result; a part may be None: zeros of the given length (padding).
    """

    parts: tuple[Operand | None, ...]
    lengths: tuple[Scaling, ...]
    axis: int


@final
@dataclass(frozen=True, slots=True)
class Eigenvalues:
    """The eigenvalues of a symmetric matrix, in ascending order (or descending), along axis number `axis` of the result.

    `rows` and `columns` are the labels of the matrix on the axes of `value`. There are several where its rows are a product
    of axes (row-major). The result does not have them, nor `value` the label `axis`. Labels that remain count matrices of a
    batch.
    """

    value: Operand
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    axis: int
    descending: bool = False


@final
@dataclass(frozen=True, slots=True)
class Spectral:
    """`V diag(w) V^T`, V the eigenvectors of a symmetric matrix in the order of its eigenvalues: a function of the matrix.

    It is one if w is a function of the `Eigenvalues` (in the same order). Then neither the signs of V matter nor its choice
    where eigenvalues coincide. `rows` and `columns` are labels of `value` and of the result. `axis` is the label of the
    eigenvalues on `weights`, which the result does not have.
    """

    weights: Operand
    value: Operand
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    axis: int
    descending: bool = False


Instruction = Union[Leaf, Contract, Combine, Apply, Gather, Scatter, Slice, Concat, Eigenvalues, Spectral]


def operands_of(instruction: Instruction) -> tuple[Operand, ...]:
    """List every value that the instruction reads, in order."""
    match instruction:
        case Leaf():
            return ()
        case Contract(operands=operands) | Apply(operands=operands):
            return operands
        case Combine(terms=terms):
            return tuple(operand for _, operand in terms)
        case Gather(value=value, index=index) | Scatter(value=value, index=index):
            return (value, index)
        case Slice(value=value) | Eigenvalues(value=value):
            return (value,)
        case Spectral(weights=weights, value=value):
            return (weights, value)
        case Concat(parts=parts):
            return tuple(part for part in parts if part is not None)


def with_operands(instruction: Instruction, moved: Callable[[Operand], Operand]) -> Instruction:
    """Replace each operand of an instruction."""
    match instruction:
        case Leaf():
            return instruction
        case Contract(operands=operands) | Apply(operands=operands):
            return replace(instruction, operands=tuple(map(moved, operands)))
        case Combine(terms=terms):
            return replace(instruction, terms=tuple((scale, moved(operand)) for scale, operand in terms))
        case Gather(value=value, index=index) | Scatter(value=value, index=index):
            return replace(instruction, value=moved(value), index=moved(index))
        case Slice(value=value):
            return replace(instruction, value=moved(value))
        case Concat(parts=parts):
            return replace(instruction, parts=tuple(part and moved(part) for part in parts))
        case Eigenvalues(value=value):
            return replace(instruction, value=moved(value))
        case Spectral(weights=weights, value=value):
            return replace(instruction, weights=moved(weights), value=moved(value))
    assert_never(instruction)
