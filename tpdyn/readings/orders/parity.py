"""How does a value behave when a symmetric source of randomness is flipped in sign?

A **source** is a coordinatewise symmetric random vector that a program brings in: a Gaussian vector leaf, or the
Gaussian part (**hat**) of `W x`. Flipping some sources in sign leaves every law unchanged. A value splits into parts,
one for each **character**: a set S of sources such that the part changes sign once for each flipped source in S. The
expected product of two parts vanishes unless their characters are equal: that is what decides between a law of large
numbers and a central limit theorem.

A **parity** is the set of characters that a term may contain, kept as an affine subspace of the vector space F_2^sources:
`offset + span(basis)`. One source: {s} is "odd", {} "even", both together "mixed". Products add characters, sums take the
affine hull; an odd function keeps the affine subspace, an even one its directions, any other the span: exact rules, in
linear algebra over F_2. Every step can only enlarge the set, so orders derived from it are upper bounds.

A matrix has characters on each of its two wide axes; they are stored side by side in one integer, a block of bits an
axis. The symmetry behind it is that of the Gaussians in the Master Theorem (Tensor Programs III, arXiv 2009.10685).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, final

BLOCK = 1 << 12
"""Bits an axis: the number of sources that can be told apart. More are folded together, which is sound (coarser)."""

_BLOCK_MASK = (1 << BLOCK) - 1
_LARGEST_BASIS = 48
"""Affine subspaces of a higher dimension are replaced by ANY, which is sound (coarser)."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Parity:
    """`offset + span(basis)`, in reduced echelon form; made by `_parity` only, so that equal sets are the same object.

    `anything` stands for the whole space: nothing is known of the sign.
    """

    offset: int
    basis: tuple[int, ...]
    anything: bool = False


_KNOWN: dict[tuple[int, tuple[int, ...]], Parity] = {}


def _parity(offset: int, basis: tuple[int, ...]) -> Parity:
    key = (offset, basis)
    found = _KNOWN.get(key)
    if found is None:
        found = _KNOWN[key] = Parity(offset, basis)
    return found


EVEN = _parity(0, ())
ANY = Parity(0, (), True)


def _reduced(offset: int, vectors: Iterable[int]) -> Parity:
    """The canonical form: leading bits distinct, each leading bit in one basis vector only, offset free of them."""
    basis: list[int] = []
    for vector in vectors:
        for row in basis:
            vector = min(vector, vector ^ row)
        if vector:
            lead = 1 << (vector.bit_length() - 1)
            basis = [row ^ vector if row & lead else row for row in basis]
            basis.append(vector)
            basis.sort(reverse=True)
    if len(basis) > _LARGEST_BASIS:
        return ANY
    for row in basis:
        offset = min(offset, offset ^ row)
    return _parity(offset, tuple(basis))


def odd_in(source: int, axis: int = 0) -> Parity:
    """The parity of a value that changes sign with one source (a bit number), which lives on wide axis `axis`."""
    return _parity(1 << (source + axis * BLOCK), ())


@lru_cache(maxsize=1 << 16)
def product(p: Parity, q: Parity) -> Parity:
    """Characters of a product: all sums of a character of each."""
    if p.anything or q.anything:
        return ANY
    if not p.basis and not q.basis:
        return _parity(p.offset ^ q.offset, ())
    return _reduced(p.offset ^ q.offset, (*p.basis, *q.basis))


@lru_cache(maxsize=1 << 16)
def hull(p: Parity, q: Parity) -> Parity:
    """Characters of a sum: the smallest affine subspace that holds both."""
    if p == q:
        return p
    if p.anything or q.anything:
        return ANY
    return _reduced(p.offset, (*p.basis, *q.basis, p.offset ^ q.offset))


@lru_cache(maxsize=1 << 16)
def contains(p: Parity, q: Parity) -> bool:
    """Whether every character of q is one of p."""
    return p == q or hull(p, q) == p


@lru_cache(maxsize=1 << 14)
def of_function(p: Parity, symmetry: str) -> Parity:
    """Characters of f(x) for an x with parity p: odd sums of its characters, even sums, or all sums."""
    if p.anything:
        return ANY
    if symmetry == "odd":
        return p
    if symmetry == "even":
        return _parity(0, p.basis)
    return _reduced(0, (*p.basis, p.offset))


@lru_cache(maxsize=1 << 16)
def solve(p: Parity, mask: int, target: int) -> Parity | None:
    """The characters of p whose bits under `mask` are `target`; None if there is none."""
    if p.anything:
        return ANY
    offset = p.offset
    free: list[int] = []
    pivots: list[tuple[int, int]] = []
    for vector in p.basis:
        for row, lead in pivots:
            if vector & lead:
                vector ^= row
        masked = vector & mask
        if not masked:
            free.append(vector)
            continue
        lead = 1 << (masked.bit_length() - 1)
        pivots = [(row ^ vector if row & lead else row, other) for row, other in pivots]
        pivots.append((vector, lead))
    for row, lead in pivots:
        if (offset ^ target) & lead:
            offset ^= row
    return _reduced(offset, free) if (offset ^ target) & mask == 0 else None


def block(axis: int) -> int:
    """The bits of one axis."""
    return _BLOCK_MASK << (axis * BLOCK)


def _mapped(p: Parity, mapping: Callable[[int], int]) -> Parity:
    """The image under a linear map."""
    return p if p.anything else _reduced(mapping(p.offset), [mapping(vector) for vector in p.basis])


@lru_cache(maxsize=1 << 16)
def relabel(p: Parity, targets: tuple[int, ...]) -> Parity:
    """Move the characters of axis k to axis targets[k]; several axes may move to one (their characters then add)."""
    if p == EVEN or p.anything or targets == tuple(range(len(targets))):
        return p

    def move(vector: int) -> int:
        moved = 0
        for axis, target in enumerate(targets):
            moved ^= ((vector >> (axis * BLOCK)) & _BLOCK_MASK) << (target * BLOCK)
        return moved

    return _mapped(p, move)


@lru_cache(maxsize=1 << 16)
def aligned(p: Parity, axis: int) -> Parity | None:
    """The part that survives an average over an axis: characters that are trivial on it; None if there is none."""
    return solve(p, block(axis), 0)


@lru_cache(maxsize=1 << 16)
def forget(p: Parity, axis: int) -> Parity:
    """What is left on the other axes of a fluctuation along an axis."""
    mask = block(axis)
    return _mapped(p, lambda vector: vector & ~mask)


@final
class Sources:
    """Names for sources, handed out in the order in which a program brings them in.

    The hat of `W x` carries `hat(W, side)`, and in addition, for each source s in x's character, the bit
    `(W, side, s)`: a linear and injective code, so that hats of orthogonal vectors (different characters) have
    different characters, and an affine set of characters becomes an affine set again. (Tensor Programs III: hats of
    one W are jointly Gaussian with covariance E[x x'], zero when the characters differ.)
    """

    def __init__(self, classes_per_matrix: int = 8) -> None:
        self._bits: dict[object, int] = {}
        self._limit = classes_per_matrix
        self._classes: dict[tuple[int, int], tuple[int, ...]] = {}
        self._preimage: dict[tuple[int, int], dict[int, int]] = {}
        self.products: dict[
            object, Any
        ] = {}  # of terms with parities in these sources (`tpdyn.readings.orders.contraction`)

    def _bit(self, key: object) -> int:
        if key not in self._bits:
            self._bits[key] = min(len(self._bits), BLOCK - 1)
        return self._bits[key]

    def leaf(self, position: int) -> int:
        """The source of a vector leaf."""
        return self._bit(("leaf", position))

    def hat(self, matrix: int, side: int) -> int:
        """The source that every Gaussian part living on axis `side` of the matrix is odd in."""
        return self._bit(("hat", matrix, side))

    def _all_classes(self, matrix: int, side: int) -> tuple[int, ...]:
        """The bits that mark what a matrix was applied to, set aside at its first use."""
        key = (matrix, side)
        if key not in self._classes:
            self._classes[key] = tuple(self._bit(("class", *key, number)) for number in range(self._limit))
            self._preimage[key] = {}
        return self._classes[key]

    def _class(self, matrix: int, side: int, source: int) -> int:
        """The bit that marks `source` in the character of what the matrix was applied to.

        The last bit is shared by all sources that come late: classes may then be confused, which is sound.
        """
        key = ("source", matrix, side, source)
        if key not in self._bits:
            bits, preimage = self._all_classes(matrix, side), self._preimage[matrix, side]
            bit = bits[min(len(preimage), len(bits) - 1)]
            preimage[bit] = -1 if bit == bits[-1] else source
            self._bits[key] = bit
        return self._bits[key]

    def apply_hat(self, p: Parity, matrix: int, side: int, axis: int, other: int, alone: bool) -> Parity:
        """The parity of the Gaussian part of `W x`: x's characters on `axis` are coded on the axis `other`, the one on
        which W's axis number `side` lives. `alone`: x has no further wide axes."""
        source = 1 << (self.hat(matrix, side) + other * BLOCK)
        if p.anything:
            if not alone:
                return ANY
            return _reduced(source, [1 << (bit + other * BLOCK) for bit in self._all_classes(matrix, side)])
        mask = block(axis)

        def code(vector: int) -> int:
            inner = (vector >> (axis * BLOCK)) & _BLOCK_MASK
            coded = vector & ~mask
            while inner:
                low = inner & -inner
                coded ^= 1 << (self._class(matrix, side, low.bit_length() - 1) + other * BLOCK)
                inner ^= low
            return coded

        return _reduced(code(p.offset) ^ source, [code(vector) for vector in p.basis])

    def apply_dot(self, p: Parity, matrix: int, side: int, axis: int, other: int) -> Parity | None:
        """The parity of the correction (dot) of `W x`: the parts of x that are correlated with a Gaussian part of
        `W^T y` give back that y. None when x has none. (Stein's lemma: E[dx/dhat] != 0 iff E[x hat] != 0.)

        `side` is the axis of W that x meets on `axis`; W's other axis lives on `other`.
        """
        if p.anything:
            return ANY
        bits, preimage = self._all_classes(matrix, side), self._preimage[matrix, side]
        hat = self.hat(matrix, side)
        coded = sum(1 << bit for bit in bits)
        found = solve(p, block(axis) & ~(coded << (axis * BLOCK)), 1 << (hat + axis * BLOCK))
        if found is None or found.anything:
            return found
        met = 0
        for vector in (found.offset, *found.basis):
            met |= (vector >> (axis * BLOCK)) & coded
        if any(preimage.get(bit, -1) < 0 for bit in bits if (met >> bit) & 1):
            return ANY
        mask = block(axis)

        def decode(vector: int) -> int:
            decoded = vector & ~mask
            inner = (vector >> (axis * BLOCK)) & coded
            while inner:
                low = inner & -inner
                decoded ^= 1 << (preimage[low.bit_length() - 1] + other * BLOCK)
                inner ^= low
            return decoded

        return _reduced(decode(found.offset), [decode(vector) for vector in found.basis])
