"""How does a value behave when a symmetric source of randomness is flipped in sign?

A **source** is a coordinatewise symmetric random vector that a program brings in. It is a Gaussian vector leaf, or the
Gaussian part (**hat**) of `W x`. Flipping some sources in sign leaves every law unchanged. A value splits into parts, one
for each **character**. That is a set S of sources: the part changes sign once for each flipped source in S. The expected
product of two parts vanishes unless their characters are equal. This decides between a law of large numbers and a central
limit theorem.

A **parity** is the set of characters that a term may contain. It is kept as an affine subspace of the vector space
F_2^sources. One source: {s} is "odd", {} "even", both together "mixed". Products add characters, sums take the affine hull.
An odd function keeps the affine subspace, an even one its directions, any other the span. These rules are exact, in linear
algebra over F_2. Every step can only enlarge the set, so orders derived from it are upper bounds.

In a deep network a term is mixed in most sources that it has met. It says nothing of the others. So mixed sources are kept
as a mask, and rows only hold what ties several sources together. A parity is as large as the program is long, and its
algebra touches the rows alone.

A matrix has characters on each of its wide axes; an integer holds them interleaved, source by source. The symmetry behind
it is that of the Gaussians in the Master Theorem (Tensor Programs III, arXiv 2009.10685).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeVar, final

from tpdyn.exact.affine import Chart

T = TypeVar("T")

AXES = 8
"""Wide axes that the numbering of one instruction can tell apart."""

SOURCES = 1 << 15
"""The number of sources that can be told apart. More are folded together, which is sound (coarser)."""

_EVERY_SOURCE = sum(1 << (AXES * source) for source in range(64))
while _EVERY_SOURCE.bit_length() < AXES * SOURCES:
    _EVERY_SOURCE |= _EVERY_SOURCE << (_EVERY_SOURCE.bit_length() + AXES - 1)
_BLOCKS = tuple(_EVERY_SOURCE << axis for axis in range(AXES))

_MOST_ROWS = 512
"""With more rows than that, the sources they tie together are taken as mixed, which is sound (coarser)."""


@final
@dataclass(frozen=True, eq=False)
class Parity:
    """`offset + span(rows) + all subsets of mixed`, made by `_parity` only, so that equal sets are the same object.

    rows: in reduced echelon form, largest first; the leading bit of each stands in it alone, and not in offset. None has a
    single bit. Neither they nor offset have bits of `mixed`. `anything` stands for the whole space: nothing is known.
    """

    offset: int
    rows: tuple[int, ...] = ()
    mixed: int = 0
    anything: bool = False

    @cached_property
    def rank(self) -> tuple[int, int, tuple[int, ...], int]:
        """A key to sort by: the smallest sets first, equal only for equal sets."""
        return len(self.rows) + self.mixed.bit_count(), self.mixed, self.rows, self.offset

    @cached_property
    def leads(self) -> dict[int, int]:
        """The rows by their leading bits."""
        return {_lead(row): row for row in self.rows}

    @cached_property
    def all_leads(self) -> int:
        """The leading bits of all rows."""
        return sum(self.leads)


_KNOWN: dict[tuple[int, tuple[int, ...], int], Parity] = {}


def _parity(offset: int, rows: tuple[int, ...] = (), mixed: int = 0) -> Parity:
    key = (offset, rows, mixed)
    known = _KNOWN.get(key)
    if known is None:
        known = _KNOWN[key] = Parity(offset, rows, mixed)
    return known


EVEN = _parity(0)
ANY = Parity(0, (), 0, True)


def _lead(vector: int) -> int:
    return 1 << (vector.bit_length() - 1)


@final
class _Space:
    """A linear subspace that grows: a mask of mixed sources, and rows in reduced echelon form by their leading bits."""

    def __init__(self, known: Parity = EVEN) -> None:
        self.mixed, self.rows, self.leads = known.mixed, dict(known.leads), known.all_leads

    def reduced(self, vector: int) -> int:
        """Reduce a vector modulo the subspace."""
        vector ^= vector & self.mixed
        hit = vector & self.leads
        while hit:
            lead = _lead(hit)
            vector ^= self.rows[lead]
            hit ^= lead
        return vector

    def mix(self, mask: int) -> None:
        """Add every subset of some sources."""
        mask ^= mask & self.mixed
        if not mask:
            return
        self.mixed |= mask
        touched = [item for item in self.rows.items() if item[1] & mask]
        for lead, _ in touched:
            del self.rows[lead]
            self.leads ^= lead
        for _, row in touched:
            self.add(row)

    def add(self, vector: int) -> None:
        """Add one vector."""
        vector = self.reduced(vector)
        if not vector:
            return
        lead = _lead(vector)
        alone = vector == lead
        for other, row in list(self.rows.items()):
            if row & lead:
                row ^= vector
                if row == other:  # a single source is mixed: its leading bit stands in no other row
                    del self.rows[other]
                    self.leads ^= other
                    self.mixed |= other
                else:
                    self.rows[other] = row
        if alone:
            self.mixed |= lead
        else:
            self.rows[lead] = vector
            self.leads |= lead

    def parity(self, offset: int) -> Parity:
        """Write `offset + subspace` in its canonical form."""
        if len(self.rows) > _MOST_ROWS:
            tied = 0
            for row in self.rows.values():
                tied |= row
            self.mix(tied)
        return _parity(self.reduced(offset), tuple(sorted(self.rows.values(), reverse=True)), self.mixed)


def _made(offset: int, vectors: Iterable[int], mixed: int = 0, onto: Parity = EVEN) -> Parity:
    """Make a parity: `offset`, plus the span of `vectors`, of the subsets of `mixed`, and of the directions of `onto`."""
    space = _Space(onto)
    space.mix(mixed)
    for vector in vectors:
        space.add(vector)
    return space.parity(offset)


def odd_in(source: int, axis: int = 0) -> Parity:
    """Return the parity of a value that changes sign with one source (a number), which lives on wide axis `axis`."""
    return _parity(1 << (AXES * source + axis))


@lru_cache(maxsize=1 << 16)
def product(p: Parity, q: Parity) -> Parity:
    """Return characters of a product: all sums of a character of each."""
    if p.anything or q.anything:
        return ANY
    if p.rank < q.rank:
        p, q = q, p
    return _made(p.offset ^ q.offset, q.rows, q.mixed, p)


@lru_cache(maxsize=1 << 16)
def hull(p: Parity, q: Parity) -> Parity:
    """Return characters of a sum: the smallest affine subspace that holds both."""
    if p == q:
        return p
    if p.anything or q.anything:
        return ANY
    if p.rank < q.rank:
        p, q = q, p
    return _made(p.offset, (*q.rows, p.offset ^ q.offset), q.mixed, p)


@lru_cache(maxsize=1 << 16)
def contains(p: Parity, q: Parity) -> bool:
    """Tell whether every character of q is one of p."""
    if p == q or p.anything:
        return True
    if q.anything or q.mixed & ~p.mixed or len(q.rows) > p.rank[0]:
        return False
    space = _Space(p)
    return not space.reduced(p.offset ^ q.offset) and not any(map(space.reduced, q.rows))


@lru_cache(maxsize=1 << 14)
def of_function(p: Parity, symmetry: str) -> Parity:
    """Return characters of f(x) for an x with parity p: odd sums of its characters, even sums, or all sums."""
    if p.anything or symmetry == "odd":
        return p
    if symmetry == "even":
        return _parity(0, p.rows, p.mixed)
    return _made(0, (p.offset,), 0, p)


def solve(p: Parity, mask: int, target: int) -> Parity | None:
    """Find the characters of p whose bits under `mask` are `target`; None if there is none."""
    if p.anything:
        return ANY
    chosen = p.mixed & mask  # mixed sources take the values that are asked for
    offset = p.offset
    wanted, mask = (target ^ (target & chosen)), mask ^ chosen
    free: list[int] = []
    pivots: list[tuple[int, int]] = []
    for vector in p.rows:
        for row, lead in pivots:
            if vector & lead:
                vector ^= row
        masked = vector & mask
        if not masked:
            free.append(vector)
            continue
        lead = _lead(masked)
        pivots = [(row ^ vector if row & lead else row, other) for row, other in pivots]
        pivots.append((vector, lead))
    for row, lead in pivots:
        if (offset ^ wanted) & lead:
            offset ^= row
    if (offset ^ wanted) & mask:
        return None
    return _made(offset | (target & chosen), free, p.mixed ^ chosen)


def block(axis: int) -> int:
    """Return the bits of one axis."""
    return _BLOCKS[axis]


def _mapped(p: Parity, mapping: Callable[[int], int]) -> Parity:
    """Map characters by a map of sources to sources (several may go to one: they add; or to none)."""
    if p.anything:
        return p
    return _made(mapping(p.offset), map(mapping, p.rows), mapping(p.mixed))


@lru_cache(maxsize=1 << 16)
def relabel(p: Parity, targets: tuple[int, ...]) -> Parity:
    """Move the characters of axis k to axis targets[k]; several axes may move to one (their characters then add)."""
    if p == EVEN or p.anything or targets == tuple(range(len(targets))):
        return p

    def moved(vector: int) -> list[int]:
        return [((vector & _BLOCKS[axis]) >> axis) << target for axis, target in enumerate(targets)]

    def added(vector: int) -> int:
        result = 0
        for part in moved(vector):
            result ^= part
        return result

    mixed = 0
    for part in moved(p.mixed):
        mixed |= part
    return _made(added(p.offset), map(added, p.rows), mixed)


@lru_cache(maxsize=1 << 16)
def aligned(p: Parity, axis: int) -> Parity | None:
    """Keep the part that survives an average over an axis: characters that are trivial on it. None if there is none."""
    return solve(p, block(axis), 0)


@lru_cache(maxsize=1 << 16)
def forget(p: Parity, axis: int) -> Parity:
    """Project a fluctuation along an axis to the other axes."""
    mask = block(axis)
    return _mapped(p, lambda vector: vector ^ (vector & mask))


@final
@dataclass(frozen=True, eq=False)
class _Met:
    """What one side of a matrix was applied to, as far as it is told apart. One class a source, at most some. Made by `_met`
    only, so that equal ones are the same object.

    bits: those set aside for classes, the last of them shared. first: the sources that came first, each with a bit of its own.
    late: all others. They share a bit, and what holds one of them is mixed in it. So hats of late sources are correlated,
    which is sound. `anything`: it was applied to a vector of which nothing was known.
    """

    bits: tuple[int, ...]
    first: tuple[int, ...] = ()
    late: int = 0
    anything: bool = False

    @cached_property
    def own(self) -> dict[int, int]:
        """The class bit of each of the sources that came first."""
        return dict(zip(self.first, self.bits[:-1], strict=False))

    @cached_property
    def known(self) -> int:
        """All sources with a class bit of their own."""
        return sum(self.first)

    @property
    def shared(self) -> int:
        """The class bit of all others."""
        return self.bits[-1]

    def noted(self, sources: int) -> _Met:
        """Note sources that are told apart from now on."""
        new = sources & ~(self.known | self.late)
        if not new:
            return self
        first = list(self.first)
        while new and len(first) < len(self.bits) - 1:
            first.append(new & -new)
            new ^= first[-1]
        return _met(self.bits, tuple(first), self.late | new, self.anything)


_KNOWN_METS: dict[tuple[tuple[int, ...], tuple[int, ...], int, bool], _Met] = {}


def _met(bits: tuple[int, ...], first: tuple[int, ...] = (), late: int = 0, anything: bool = False) -> _Met:
    return _KNOWN_METS.setdefault((bits, first, late, anything), _Met(bits, first, late, anything))


@lru_cache(maxsize=1 << 14)
def _hat(p: Parity, met: _Met, hat: int, axis: int, other: int, alone: bool) -> tuple[Parity, _Met]:
    """Return the parity of the Gaussian part of `W x`, and what W has met then (`Sources.apply_hat`)."""
    source = 1 << (AXES * hat + other)
    if p.anything:
        after = _met(met.bits, met.first, met.late, True)
        return _made(source, (), sum(met.bits) << other) if alone else ANY, after
    mask = block(axis)
    shared = 0
    for vector in (p.offset, *p.rows, p.mixed):  # a source of known sign is told apart before mixed ones
        inner = (vector & mask) >> axis
        met = met.noted(inner)
        if inner & met.late:
            shared = met.shared << other

    def code(vector: int) -> int:
        inner, coded = ((vector & mask) >> axis) & met.known, 0
        while inner:
            low = inner & -inner
            coded ^= met.own[low]
            inner ^= low
        return coded << other

    def moved(vector: int) -> int:
        return vector ^ (vector & mask) ^ code(vector)

    mixed = p.mixed ^ (p.mixed & mask) | code(p.mixed) | shared
    return _made(moved(p.offset) ^ source, map(moved, p.rows), mixed), met


@lru_cache(maxsize=1 << 14)
def _dot(p: Parity, met: _Met, hat: int, axis: int, other: int) -> Parity | None:
    """Return the parity of the correction (dot) of `W x`, where something is known of x (`Sources.apply_dot`)."""
    coded = sum(met.bits) << axis
    part = solve(p, block(axis) ^ coded, 1 << (AXES * hat + axis))
    if part is None or part.anything:
        return part
    late = 0
    if any(vector & (met.shared << axis) for vector in (part.offset, *part.rows, part.mixed)):
        if met.anything:
            return ANY
        late = met.late << other
    sources = {bit: source for source, bit in met.own.items()}
    mask = block(axis)

    def decode(vector: int) -> int:
        inner, decoded = (vector & coded) >> axis, 0
        while inner:
            low = inner & -inner
            decoded ^= sources.get(low, 0)
            inner ^= low
        return decoded << other

    def moved(vector: int) -> int:
        return vector ^ (vector & mask) ^ decode(vector)

    mixed = part.mixed ^ (part.mixed & mask) | decode(part.mixed) | late
    return _made(moved(part.offset), map(moved, part.rows), mixed)


Touched = tuple[tuple[Any, Any, Any], ...]
"""What some work asked of names: each with what it was before and after."""


@final
class Sources:
    """Names for sources, handed out in the order in which a program brings them in.

    The hat of `W x` carries `hat(W, side)` and, for each source s in x's character, a class bit `(W, side, s)`. This code
    is linear and injective. So hats of orthogonal vectors (different characters) have different characters, and an affine
    set of characters stays affine. (Tensor Programs III: hats of one W are jointly Gaussian with covariance E[x x'], zero
    when the characters differ.)
    """

    def __init__(self, iterated: Mapping[int, int] | None = None, classes_per_matrix: int = 8) -> None:
        """classes_per_matrix: how many classes are told apart; more are taken together (coarser). iterated: for matrices of
        which more are to be told apart, how many."""
        self._bits: dict[object, int] = {}
        self._iterated, self._limit = iterated or {}, classes_per_matrix
        self._met: dict[tuple[int, int], _Met] = {}
        self._touched: dict[Any, Any] | None = None
        self.chart: Chart | None = None  # where conditions are to be recorded at each use, not once a reading
        # What was found of terms with parities in these sources (`tpdyn.readings.orders.contraction`).
        self.sums: dict[object, dict[object, Any]] = {}
        self.products: dict[object, Any] = {}
        self.numbers: dict[object, int] = {}
        self.numbered: dict[int, tuple[Any, int]] = {}  # by identity, which it keeps

    def copied(self) -> Sources:
        """Copy the sources, to go on with."""
        made = Sources(self._iterated, self._limit)
        made._bits, made._met = dict(self._bits), dict(self._met)
        made.sums, made.products = {plan: dict(sums) for plan, sums in self.sums.items()}, dict(self.products)
        made.numbers, made.numbered = dict(self.numbers), dict(self.numbered)
        return made

    # -- what work asks and changes -------------------------------------------------------------------------------------

    def traced(self, work: Callable[[], T]) -> tuple[Touched, T]:
        """Do some work; return its result with what it asked here."""
        outer, self._touched = self._touched, {}
        try:
            made = work()
        finally:
            touched, self._touched = self._touched, outer
            for name, before in touched.items():
                self._touch(name, before)
        return tuple((name, before, self._now(name)) for name, before in touched.items()), made

    def unchanged(self, touched: Touched) -> bool:
        """Tell whether work would be answered as it was, and would change the same."""
        new = len(self._bits)
        for name, before, after in touched:
            if self._now(name) != before:
                return False
            if before is None and not isinstance(after, _Met):
                if after != min(new, SOURCES - 1):
                    return False
                new += 1
        return True

    def done(self, touched: Touched) -> bool:
        """Tell whether work was answered so, and nothing changed since."""
        return all(self._now(name) == after for name, _, after in touched)

    def repeat(self, touched: Touched) -> None:
        """Change what work has changed."""
        for name, before, after in touched:
            self._touch(name, self._now(name))
            if after != before:
                (self._met if isinstance(after, _Met) else self._bits)[name] = after

    def _touch(self, name: Any, before: Any) -> None:
        if self._touched is not None:
            self._touched.setdefault(name, before)

    def _now(self, name: Any) -> Any:
        return self._bits.get(name) if isinstance(name[0], str) else self._met.get(name)

    # -- names ----------------------------------------------------------------------------------------------------------

    def _bit(self, key: object) -> int:
        known = self._bits.get(key)
        self._touch(key, known)
        if known is None:
            known = self._bits[key] = min(len(self._bits), SOURCES - 1)
        return known

    def leaf(self, position: int) -> int:
        """Return the source of a vector leaf."""
        return self._bit(("leaf", position))

    def hat(self, matrix: int, side: int) -> int:
        """Return the source that every Gaussian part living on axis `side` of the matrix is odd in."""
        return self._bit(("hat", matrix, side))

    def met(self, matrix: int, side: int) -> _Met:
        """Return the classes of what a matrix was applied to, their bits set aside at its first use."""
        name = (matrix, side)
        known = self._met.get(name)
        self._touch(name, known)
        if known is None:
            classes = max(self._limit, self._iterated.get(matrix, 0))
            bits = [self._bit(("class", *name, number)) for number in range(classes)]
            known = self._met[name] = _met(tuple(1 << (AXES * bit) for bit in bits))
        return known

    def apply_hat(self, p: Parity, matrix: int, side: int, axis: int, other: int, alone: bool) -> Parity:
        """Return the parity of the Gaussian part of `W x`: x's characters on `axis` become codes on `other`. There W's axis
        number `side` lives. `alone`: x has no further wide axes."""
        hat = self.hat(matrix, side)
        parity, self._met[matrix, side] = _hat(p, self.met(matrix, side), hat, axis, other, alone)
        return parity

    def apply_dot(self, p: Parity, matrix: int, side: int, axis: int, other: int, alone: bool) -> Parity | None:
        """Return the parity of the correction (dot) of `W x`. If part of x is correlated with a Gaussian part of `W^T
        y`, that y comes back. None when x has none. (Stein's lemma: E[dx/dhat] != 0 iff E[x hat] != 0.)

        `side` is the axis of W that x meets on `axis`; W's other axis lives on `other`. `alone`: x has no further wide axes.
        """
        met = self.met(matrix, side)
        if p.anything:
            if met.anything or not alone:
                return ANY
            return _parity(0, (), (met.known | met.late) << other)
        return _dot(p, met, self.hat(matrix, side), axis, other)
