"""How do eigenvectors, diagonal and identity matrices become instructions? They are carried along until they meet a partner.

* `Eigenvectors`: what `eigh` of a symmetric matrix M returns. They are arbitrary in sign, and where eigenvalues coincide, so
  they are no values. `V diag(w) V^T`, however it is written, is one: `Spectral`, a function of M. Anything else is refused.
* `Damped`: `shift I + rest`. An identity matrix has no size of entries that a product with it would show: products with it
  are relabellings, and in a symmetric matrix it moves the eigenvalues. So it is kept apart.
* `Diagonal`: `diag(w)`; a product with it multiplies rows or columns.

The last two become arrays (`settled`) where something else reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch

from tpdyn.recording.lowering import strides
from tpdyn.recording.lowering.builder import Builder
from tpdyn.recording.lowering.elementwise import LARGEST_GUARD, Rule
from tpdyn.recording.lowering.symmetry import is_square_sum, is_symmetric
from tpdyn.recording.lowering.values import Known, Refusal, Shape, Tensor, Value

IN_THE_EIGENBASIS = (
    "outside the theory: entries in the eigenbasis of a matrix, which is arbitrary where eigenvalues coincide (and in sign); "
    "functions of the matrix have rules, V @ diag(f(eigenvalues)) @ V.T"
)


@final
@dataclass(frozen=True, slots=True)
class Damped:
    """`shift * I + rest`, a square matrix; the shift is a number or a value without dims."""

    shift: Any
    rest: Tensor

    @property
    def shape(self) -> Shape:
        """Its shape."""
        return self.rest.shape


@final
@dataclass(frozen=True, slots=True)
class Diagonal:
    """`diag(entries)`."""

    entries: Value

    @property
    def shape(self) -> Shape:
        """Its shape."""
        return (*self.entries.shape, *self.entries.shape)


@final
@dataclass(frozen=True, slots=True)
class Eigenvectors:
    """`V diag(weights)`, V the eigenvectors of `of`: dim `coordinate` is that of the matrix, dim `spectrum` counts them.

    All other dims have size 1. weights: a vector, or a number. descending: the order of the eigenvalues.
    """

    of: Value
    weights: Tensor
    coordinate: int
    spectrum: int
    shape: Shape
    descending: bool = False


@final
@dataclass(frozen=True, slots=True)
class Cholesky:
    """The Cholesky factor of a symmetric matrix, which only solving with it reads."""

    of: Any

    @property
    def shape(self) -> Shape:
        """Its shape."""
        shape: Shape = self.of.shape
        return shape


class ByParts(Exception):
    """An operation that reads more of an identity or diagonal matrix than its parts: it is `settled` and read as an array."""


SYMBOLIC = (Damped, Diagonal, Eigenvectors, Cholesky)
Symbolic = Damped | Diagonal | Eigenvectors | Cholesky


def identity_of(x: Any) -> float | None:
    """c, where x is the constant matrix `c I`."""
    if not isinstance(x, Known) or x.kind != "constant" or x.is_discrete or len(x.shape) != 2:
        return None
    if x.shape[0] != x.shape[1] or x.shape[0] == 1 or not x.tensor.dtype.is_floating_point:
        return None
    c = float(x.tensor[0, 0])
    if c == 0 or float(x.tensor[0, 1]) != 0:
        return None
    return c if bool((x.tensor == c * torch.eye(x.shape[0], dtype=x.tensor.dtype)).all()) else None


def concerns(name: str, args: Sequence[Any]) -> bool:
    """Whether an operation reads something symbolic, or an identity matrix beside a value."""
    if any(isinstance(arg, SYMBOLIC) or (isinstance(arg, (list, tuple)) and concerns("", arg)) for arg in args):
        return True
    if name not in READERS or not any(isinstance(arg, Value) for arg in args):
        return False
    return any(identity_of(arg) is not None for arg in args)


def shapes_of(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Zeros in place of symbolic matrices, for operations that only read a shape."""
    return tuple(Known.full(arg.shape, 0.0) if isinstance(arg, SYMBOLIC) else arg for arg in args)


def through(b: Builder, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """One operation that reads something symbolic."""
    rule = READERS.get(name)
    if rule is None:
        raise ByParts
    return rule(b, *args, **kwargs)


def settled(b: Builder, item: Any) -> Any:
    """Arguments with identity and diagonal matrices as arrays. Raises Refusal for eigenvectors."""
    if isinstance(item, (list, tuple)):
        return type(item)(settled(b, part) for part in item)
    if isinstance(item, Damped):
        eye = Known(torch.eye(item.shape[0], dtype=torch.float64), name="identity")
        return b.combine([(1, item.rest), (1, b.product(eye, item.shift))])
    if isinstance(item, Diagonal):
        return strides.diag_embed(b, item.entries)
    if isinstance(item, Eigenvectors):
        raise Refusal(IN_THE_EIGENBASIS)
    if isinstance(item, Cholesky):
        raise Refusal("a Cholesky factor depends on the order of the coordinates; solving with it has a rule")
    return item


# -- identity matrices -------------------------------------------------------------------------------------------------


def damped(x: Any) -> Damped | None:
    """x as `shift I + rest`, where it has such a part."""
    if isinstance(x, Damped):
        return x
    number = identity_of(x)
    return None if number is None else Damped(number, Known.full(x.shape, 0.0))


def _made(b: Builder, shift: Any, rest: Tensor) -> Any:
    number = b.number(shift)
    return rest if number == 0 else Damped(shift if number is None else number, rest)


def _number_of(b: Builder, x: Any) -> Any:
    """x as a number or value without dims; None where it has more than one entry."""
    if b.number(x) is not None and not b.shape(x):
        return b.number(x)
    if isinstance(x, (Value, Known)) and all(size == 1 for size in x.shape):
        return b.reshape(x, ())
    return None


def _scaled(b: Builder, x: Any, factor: Any) -> Any:
    if isinstance(x, Damped):
        return _made(b, b.product(x.shift, factor), b.product(x.rest, factor))
    if isinstance(x, Diagonal):
        return Diagonal(b.value(b.product(x.entries, factor)))
    number = identity_of(x)
    return b.product(x, factor) if number is None else _scaled(b, damped(x), factor)


def _sum(b: Builder, x: Any, y: Any, *, alpha: Any = 1, beta: Any = 1, **_: Any) -> Any:
    """`beta x + alpha y`."""
    if any(isinstance(arg, (Eigenvectors, Diagonal, Cholesky)) for arg in (x, y)):
        raise ByParts
    parts = [damped(each) or Damped(0, each) for each in (x, y)]
    shape = next(each.shape for each in (damped(x), damped(y)) if each is not None)
    if b.broadcast(*[part.rest for part in parts]) != shape:
        raise ByParts
    x, y = (_scaled(b, part, factor) for part, factor in zip(parts, (beta, alpha), strict=True))
    x, y = (each if isinstance(each, Damped) else Damped(0, each) for each in (x, y))
    return _made(b, b.combine([(1, x.shift), (1, y.shift)]), b.combine([(1, x.rest), (1, y.rest)], shape=shape))


def _difference(b: Builder, x: Any, y: Any, *, alpha: Any = 1, **_: Any) -> Any:
    return _sum(b, x, y, alpha=b.product(alpha, -1) if isinstance(alpha, Value) else -alpha)


def _lerp(b: Builder, start: Any, end: Any, weight: Any) -> Any:
    w = b.number(weight)
    if w is None:
        raise ByParts
    return _sum(b, start, end, alpha=w, beta=1 - w)


def _times(b: Builder, x: Any, y: Any, **_: Any) -> Any:
    for one, other in ((x, y), (y, x)):
        if isinstance(one, Eigenvectors):
            return _reweighted(b, one, other)
        factor = _number_of(b, other)
        if factor is not None and (isinstance(one, Diagonal) or damped(one) is not None):
            return _scaled(b, one, factor)
    raise ByParts


def _over(b: Builder, x: Any, y: Any, *, rounding_mode: str | None = None, **_: Any) -> Any:
    if rounding_mode is not None or isinstance(y, SYMBOLIC):
        raise ByParts
    number = b.number(y)
    return _times(b, x, b.apply("reciprocal", y) if number is None else 1 / number)


def _same(b: Builder, x: Any, *_: Any, **__: Any) -> Any:
    return x


def _copy(b: Builder, x: Any, source: Any, *_: Any) -> Any:
    if b.shape(x) != source.shape:
        raise ByParts
    return source


# -- views -------------------------------------------------------------------------------------------------------------


def _permuted(b: Builder, x: Any, order: Sequence[int]) -> Any:
    order = [d % len(x.shape) for d in order]
    if isinstance(x, Damped):
        return Damped(x.shift, _permuted(b, x.rest, order))
    if isinstance(x, Eigenvectors):
        shape = tuple(x.shape[d] for d in order)
        return replace(x, coordinate=order.index(x.coordinate), spectrum=order.index(x.spectrum), shape=shape)
    if isinstance(x, Diagonal) or order == list(range(len(x.shape))):
        return x
    if isinstance(x, Known) and x.number is not None:
        return Known.full(tuple(x.shape[d] for d in order), x.number)
    return b.permute(x, order)


def _transposed(b: Builder, x: Any, one: int = 0, other: int = 1) -> Any:
    order = list(range(len(x.shape)))
    order[one], order[other] = order[other], order[one]
    return _permuted(b, x, order)


def _viewed(b: Builder, x: Any, size: Sequence[int], *_: Any, **__: Any) -> Any:
    count = 1
    for s in x.shape:
        count *= s
    known = 1
    for s in size:
        known *= s if s != -1 else 1
    shape = tuple(count // known if s == -1 else s for s in size)
    if shape == x.shape:
        return x
    if isinstance(x, Eigenvectors):
        return _in_shape(x, shape)
    raise ByParts


def _in_shape(x: Eigenvectors, shape: Shape) -> Eigenvectors:
    """Dims of size 1 come and go."""
    large = [d for d, size in enumerate(shape) if size != 1]
    if [shape[d] for d in large] != [x.shape[d] for d in sorted((x.coordinate, x.spectrum))]:
        raise ByParts
    first, second = large if x.coordinate < x.spectrum else large[::-1]
    return replace(x, coordinate=first, spectrum=second, shape=shape)


def _unsqueezed(b: Builder, x: Any, dim: int) -> Any:
    if not isinstance(x, Eigenvectors):
        raise ByParts
    dim %= len(x.shape) + 1
    return _in_shape(x, (*x.shape[:dim], 1, *x.shape[dim:]))


def _squeezed(b: Builder, x: Any, *dims: Any) -> Any:
    if not isinstance(x, Eigenvectors):
        return x
    gone = range(len(x.shape)) if not dims else [dims[0]] if isinstance(dims[0], int) else dims[0]
    dropped = {d % len(x.shape) for d in gone}
    return _in_shape(x, tuple(s for d, s in enumerate(x.shape) if s != 1 or d not in dropped))


# -- products ----------------------------------------------------------------------------------------------------------

Factor = tuple[Any, list[Any]]


def product(b: Builder, out: list[Any], x: Factor, y: Factor) -> Any:
    """The einsum of two factors, each with a letter for each dim; a sum over the letters that `out` lacks."""
    if isinstance(x[0], Cholesky) or isinstance(y[0], Cholesky):
        raise ByParts
    if isinstance(x[0], Eigenvectors) or isinstance(y[0], Eigenvectors):
        return _met(b, out, x, y)
    for first, second in ((x, y), (y, x)):
        parts = damped(first[0])
        if parts is not None:
            moved = _relabelled(b, out, first[1], second)
            if b.number(parts.rest) == 0:
                return _scaled(b, moved, parts.shift)
            if isinstance(moved, Diagonal):
                raise ByParts
            return _sum_of(b, _scaled(b, moved, parts.shift), product(b, out, (parts.rest, first[1]), second))
    for first, second in ((x, y), (y, x)):
        if isinstance(first[0], Diagonal):
            kept = _kept_letter(out, first[1], second[1])
            letters = [kept if letter not in out and letter in first[1] else letter for letter in second[1]]
            if isinstance(second[0], Diagonal):
                return Diagonal(b.value(b.product(first[0].entries, second[0].entries)))
            return b.contract(out, (first[0].entries, [kept]), (second[0], letters))
    return b.contract(out, x, y)


def _sum_of(b: Builder, x: Any, y: Any) -> Any:
    if damped(x) is not None or damped(y) is not None:
        return _sum(b, x, y)
    return b.combine([(1, x), (1, y)])


def _kept_letter(out: Sequence[Any], square: Sequence[Any], other: Sequence[Any]) -> Any:
    """The letter of a square matrix that stays, the other one being summed with the partner."""
    kept = [letter for letter in square if letter in out and letter not in other]
    summed = [letter for letter in square if letter not in out and letter in other]
    if len(square) != 2 or len(kept) != 1 or len(summed) != 1:
        raise ByParts
    return kept[0]


def _relabelled(b: Builder, out: list[Any], square: Sequence[Any], other: Factor) -> Any:
    """The product of an identity matrix with a partner: the partner, one letter renamed."""
    kept = _kept_letter(out, square, other[1])
    letters = [kept if letter in square else letter for letter in other[1]]
    return _permuted(b, other[0], [letters.index(letter) for letter in out])


def _met(b: Builder, out: list[Any], x: Factor, y: Factor) -> Any:
    """Eigenvectors meet: each other along the eigenvalues (a function of the matrix), or a diagonal matrix."""
    (one, mine), (other, theirs) = x, y
    if isinstance(one, Eigenvectors) and isinstance(other, Eigenvectors):
        same = (one.of, one.descending) == (other.of, other.descending)
        k = mine[one.spectrum]
        if not same or k != theirs[other.spectrum] or k in out:
            raise ByParts
        made = function_of(b, one.of, _joint(b, one.weights, other.weights), one.descending)
        return _laid_out(b, made, [mine[one.coordinate], theirs[other.coordinate]], out)
    vectors, letters, partner, its = (
        (one, mine, other, theirs) if isinstance(one, Eigenvectors) else (other, theirs, one, mine)
    )
    if not isinstance(partner, Diagonal):
        raise ByParts
    kept = _kept_letter(out, its, letters)
    if letters[vectors.spectrum] not in its:
        raise ByParts
    letters = [kept if k == vectors.spectrum else letter for k, letter in enumerate(letters)]
    scaled = replace(vectors, weights=_joint(b, vectors.weights, partner.entries))
    return _permuted(b, scaled, [letters.index(letter) for letter in out])


def _laid_out(b: Builder, made: Any, letters: list[Any], out: list[Any]) -> Any:
    """A matrix with its dims in the order of `out`; the other letters have size 1."""
    made = _permuted(b, made, [letters.index(letter) for letter in out if letter in letters])
    for place, letter in enumerate(out):
        if letter not in letters:
            made = b.unsqueeze(settled(b, made), place)
    return made


def _joint(b: Builder, one: Any, other: Any) -> Any:
    """The weights of both."""
    return other if b.number(one) == 1 and b.shape(other) else b.product(one, other)


def _reweighted(b: Builder, x: Eigenvectors, factor: Any) -> Eigenvectors:
    """Each eigenvector times a number of its own."""
    if isinstance(factor, SYMBOLIC):
        raise ByParts
    number = _number_of(b, factor)
    if number is not None:
        return replace(x, weights=_joint(b, x.weights, number))
    shape = b.shape(factor)
    own = [d + len(x.shape) - len(shape) for d, size in enumerate(shape) if size != 1]
    if own != [x.spectrum]:
        raise ByParts
    return replace(x, weights=_joint(b, x.weights, b.reshape(factor, (-1,))))


def _mm(b: Builder, x: Any, y: Any, *_: Any, **__: Any) -> Any:
    return product(b, ["i", "j"], (x, ["i", "k"]), (y, ["k", "j"]))


def _bmm(b: Builder, x: Any, y: Any, **_: Any) -> Any:
    return product(b, ["b", "i", "j"], (x, ["b", "i", "k"]), (y, ["b", "k", "j"]))


def _mv(b: Builder, x: Any, y: Any) -> Any:
    return product(b, ["i"], (x, ["i", "k"]), (y, ["k"]))


def _matmul(b: Builder, x: Any, y: Any) -> Any:
    by_ranks: dict[tuple[int, int], Callable[..., Any]] = {(2, 2): _mm, (3, 3): _bmm, (2, 1): _mv}
    rule = by_ranks.get((len(b.shape(x)), len(b.shape(y))))
    if rule is None:
        raise ByParts
    return rule(b, x, y)


def _linear(b: Builder, x: Any, weight: Any, bias: Any = None) -> Any:
    lead = list(range(len(b.shape(x)) - 1))
    made = product(b, [*lead, "j"], (x, [*lead, "k"]), (weight, ["j", "k"]))
    return made if bias is None else b.combine([(1, settled(b, made)), (1, bias)])


def _addmm(b: Builder, start: Any, x: Any, y: Any, *, beta: Any = 1, alpha: Any = 1, **_: Any) -> Any:
    made = product(b, ["i", "j"], (x, ["i", "k"]), (y, ["k", "j"]))
    if damped(start) is None and damped(made) is None:
        return b.combine([(alpha, made), (beta, start)], shape=b.shape(made))
    return _sum(b, start, made, alpha=alpha, beta=beta)


def _trace(b: Builder, x: Any) -> Any:
    if isinstance(x, Diagonal):
        return b.contract([], (x.entries, ["i"]))
    if not isinstance(x, Damped):
        raise ByParts
    return b.combine([(1, b.contract([], (x.rest, ["i", "i"]))), (x.shape[0], x.shift)])


# -- decompositions ----------------------------------------------------------------------------------------------------


def function_of(b: Builder, of: Value, weights: Any, descending: bool = False) -> Any:
    """`V diag(weights) V^T`; of equal weights, a multiple of the identity matrix."""
    number = b.number(weights)
    if number is not None:
        return _made(b, number, Known.full(of.shape, 0.0))
    return b.spectral(of, b.expand(weights, of.shape[:1]), descending)


def _symmetric(b: Builder, x: Any, what: str, why: str = "") -> tuple[Any, Value | None]:
    """A symmetric matrix as the multiple of the identity in it, and the rest (None: nothing else)."""
    parts = damped(x) or Damped(0, x)
    if len(parts.shape) != 2 or isinstance(x, (Diagonal, Eigenvectors, Cholesky)):
        raise Refusal(f"{what} of several matrices at once, or of a diagonal one")
    if b.number(parts.rest) == 0:
        return parts.shift, None
    if not isinstance(parts.rest, Value) or not is_symmetric(b, parts.rest):
        raise Refusal(
            f"outside the theory: {what} of a matrix that is not symmetric by construction"
            f"{why or '; symmetric are G @ G.T, sums and averages of such, and A + A.T'}"
        )
    return parts.shift, parts.rest


def eigenvalues(b: Builder, shift: Any, rest: Value, descending: bool = False) -> Tensor:
    """The eigenvalues of `shift I + rest`; a small shift only guards a division."""
    found = b.eigenvalues(rest, descending)
    number = b.number(shift)
    if number == 0:
        return found
    guards = number is not None and 0 < number <= LARGEST_GUARD
    return b.combine([(1, found), (1, shift)], epsilon=guards)


def eigh(b: Builder, x: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
    """Eigenvalues in ascending order, and eigenvectors."""
    shift, rest = _symmetric(b, x, "the eigenvalues")
    size = x.shape[0]
    if rest is None:
        return b.expand(shift, (size,)), Known(torch.eye(size, dtype=torch.float64))
    if size == 1:
        return b.reshape(b.combine([(1, rest), (1, shift)]), (1,)), Known.full((1, 1), 1.0)
    return eigenvalues(b, shift, rest), Eigenvectors(rest, Known.full((size,), 1.0), 0, 1, x.shape)


_SINGULAR = (
    ": its singular vectors are arbitrary where singular values coincide, and the factor U @ V.T of a matrix of low rank, as "
    "gradients are, is undefined on its null space; a Newton-Schulz iteration has rules"
)


def svd(b: Builder, x: Any, *_: Any, **__: Any) -> tuple[Any, Any, Any]:
    """Of a symmetric matrix without negative eigenvalues: its eigenvalues in descending order, and eigenvectors twice."""
    shift, rest = _symmetric(b, x, "the singular values", _SINGULAR)
    size = x.shape[0]
    if rest is None or size == 1:
        values, vectors = eigh(b, x)
        return vectors, values, vectors
    number = b.number(shift)
    if number is None or number < 0 or not is_square_sum(b, rest):
        raise Refusal("outside the theory: the singular values of a matrix that may have negative eigenvalues")
    left = Eigenvectors(rest, Known.full((size,), 1.0), 0, 1, x.shape, True)
    return left, eigenvalues(b, shift, rest, True), replace(left, coordinate=1, spectrum=0)


def inverse(b: Builder, x: Any, *_: Any, **__: Any) -> tuple[Any, None]:
    """The inverse of a symmetric matrix: a function of it."""
    if isinstance(x, Diagonal):
        return Diagonal(b.apply("reciprocal", x.entries)), None
    shift, rest = _symmetric(b, x, "the inverse")
    if rest is None or x.shape[0] == 1:
        whole = shift if rest is None else b.combine([(1, rest), (1, shift)])
        one = b.number(whole)
        inverted = b.apply("reciprocal", whole) if one is None else 1 / one
        return (_made(b, inverted, Known.full(x.shape, 0.0)) if rest is None else inverted), None
    return function_of(b, rest, b.apply("reciprocal", eigenvalues(b, shift, rest))), None


def solve(b: Builder, x: Any, y: Any, *, left: bool = True, **_: Any) -> tuple[Any, None, None, None]:
    """`x^-1 y`, or `y x^-1`."""
    inverted = inverse(b, x)[0]
    if isinstance(y, SYMBOLIC):
        y = settled(b, y)
    if len(b.shape(y)) == 1:
        return _mv(b, inverted, y), None, None, None
    return (_mm(b, inverted, y) if left else _mm(b, y, inverted)), None, None, None


def cholesky(b: Builder, x: Any, *_: Any, **__: Any) -> tuple[Cholesky, None]:
    """The factor, symbolically."""
    _symmetric(b, x, "the Cholesky factor")
    return Cholesky(x), None


def _of_cholesky(x: Any) -> Any:
    if not isinstance(x, Cholesky):
        raise Refusal("solving with a triangular matrix that is no Cholesky factor")
    return x.of


def cholesky_solve(b: Builder, y: Any, factor: Any, *_: Any, **__: Any) -> Any:
    """`(L L^T)^-1 y`."""
    return solve(b, _of_cholesky(factor), y)[0]


def cholesky_inverse(b: Builder, factor: Any, *_: Any, **__: Any) -> Any:
    """`(L L^T)^-1`."""
    return inverse(b, _of_cholesky(factor))[0]


def diag_embed(b: Builder, x: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """A diagonal matrix; several at once are arrays."""
    if len(b.shape(x)) == 1 and offset == 0 and isinstance(x, Value) and x.shape[0] != 1:
        return Diagonal(x)
    return strides.diag_embed(b, x, offset, dim1, dim2)


DECOMPOSITIONS: dict[str, Rule] = {
    "_linalg_eigh": eigh,
    "_linalg_svd": svd,
    "linalg_inv_ex": inverse,
    "_linalg_solve_ex": solve,
    "linalg_cholesky_ex": cholesky,
    "cholesky_solve": cholesky_solve,
    "cholesky_inverse": cholesky_inverse,
}
RULES: dict[str, Rule] = {**DECOMPOSITIONS, "diag_embed": diag_embed}
READERS: dict[str, Rule] = {
    **DECOMPOSITIONS,
    **dict.fromkeys(("clone", "detach", "alias", "_to_copy", "contiguous", "lift_fresh", "positive"), _same),
    **dict.fromkeys(("view", "_unsafe_view", "reshape"), _viewed),
    "copy": _copy,
    "add": _sum,
    "sub": _difference,
    "rsub": lambda b, x, y, **options: _difference(b, y, x, **options),
    "neg": lambda b, x: _times(b, x, -1),
    "mul": _times,
    "div": _over,
    "lerp": _lerp,
    "t": _transposed,
    "transpose": _transposed,
    "permute": _permuted,
    "unsqueeze": _unsqueezed,
    "squeeze": _squeezed,
    "mm": _mm,
    "bmm": _bmm,
    "mv": _mv,
    "matmul": _matmul,
    "linear": _linear,
    "addmm": _addmm,
    "trace": _trace,
}
