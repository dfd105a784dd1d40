"""Which moments do sums and products of random matrices have? Counted exactly, by pairings and by power series.

Independent of every reading of the package: these numbers judge a limit, a sampler and a dense matrix alike.

* A Gaussian moment is a sum over pairings (Isserlis). In the trace of a product of Gaussian matrices each pairing
  leaves some indices free. It contributes the product of their ranges: `expected_trace` gives the polynomial in the
  sizes.
* Moments of a product of free variables come from their S-transforms: `free_product`.

Sources: Isserlis's theorem (Biometrika 12, 1918). Catalan, Narayana and Fuss-Catalan numbers as moments: arXiv
1103.3453 for products of Ginibre matrices. The S-transform and its use for Jacobians: arXiv 1711.04735.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import combinations
from math import comb, prod

Pairing = tuple[tuple[int, int], ...]
Factor = tuple[str, bool]
"""A matrix by name, and whether it is transposed."""


def pairings(points: Sequence[int]) -> Iterator[Pairing]:
    """Yield every way to divide points into pairs: (2k - 1)!! for 2k points, none for an odd number."""
    if not points:
        yield ()
        return
    first, *rest = points
    for k, other in enumerate(rest):
        for others in pairings([*rest[:k], *rest[k + 1 :]]):
            yield ((first, other), *others)


def crosses(pairing: Pairing) -> bool:
    """Tell whether two of its pairs interleave: a < b < a' < b'."""
    return any(a < c < b < d or c < a < d < b for (a, b), (c, d) in combinations(pairing, 2))


def gaussian_moment(power: int) -> int:
    """Return E[Z^power] of a standard Gaussian: (power - 1)!! if even, else 0."""
    return 0 if power % 2 else prod(range(1, power, 2))


def catalan(p: int) -> int:
    """Return the p-th Catalan number: the non-crossing pairings of 2p points."""
    return comb(2 * p, p) // (p + 1)


def narayana(p: int, k: int) -> int:
    """Return the Narayana number N(p, k), 1 <= k <= p: these sum to the p-th Catalan number."""
    return comb(p, k) * comb(p, k - 1) // p


def fuss_catalan(factors: int, p: int) -> int:
    """Return the p-th moment of squared singular values of a product of so many square Ginibre matrices, in the limit."""
    return comb((factors + 1) * p, p) // (factors * p + 1)


def expected_trace(word: Sequence[Factor], spaces: Mapping[str, tuple[str, str]]) -> Counter[tuple[str, ...]]:
    """Compute the exact expected trace of a product of independent N(0, 1) matrices, as a polynomial in their sizes.

    Args:
        word: the factors in order.
        spaces: for each matrix the names of its row and of its column space.

    Returns:
        For each monomial, written as its sorted spaces, how many pairings contribute it.

    Raises:
        ValueError: factors that do not fit together, each with its position.

    >>> expected_trace([("X", False), ("X", True)], {"X": ("rows", "columns")})
    Counter({('columns', 'rows'): 1})
    """
    ends = [spaces[name][::-1] if transposed else spaces[name] for name, transposed in word]
    for k, (_, right) in enumerate(ends):
        left = ends[(k + 1) % len(word)][0]
        if right != left:
            raise ValueError(
                f"factor {k} of the word ends in {right!r}, the next begins in {left!r}; expected one space"
            )
    points: dict[str, list[int]] = {}
    for k, (name, _) in enumerate(word):
        points.setdefault(name, []).append(k)
    powers: Counter[tuple[str, ...]] = Counter()
    for pairing in _jointly([list(pairings(each)) for each in points.values()]):
        powers[tuple(sorted(ends[k][0] for k in _free_indices(word, pairing)))] += 1
    return powers


def _jointly(choices: Sequence[Sequence[Pairing]]) -> Iterator[Pairing]:
    if not choices:
        yield ()
        return
    for first in choices[0]:
        for rest in _jointly(choices[1:]):
            yield first + rest


def _free_indices(word: Sequence[Factor], pairing: Pairing) -> list[int]:
    """Choose one index of each class. Factor k has the indices k and k + 1; a pair has equal rows and equal columns."""
    size = len(word)
    leader = list(range(size))

    def lead(index: int) -> int:
        while leader[index] != index:
            index = leader[index]
        return index

    for one, other in pairing:
        same = word[one][1] == word[other][1]
        here, there = (one, (one + 1) % size), (other, (other + 1) % size)
        for x, y in zip(here, there if same else there[::-1], strict=True):
            leader[lead(x)] = lead(y)
    return [index for index in range(size) if leader[index] == index]


def at_sizes(trace: Mapping[tuple[str, ...], int], sizes: Mapping[str, int | Fraction]) -> Fraction:
    """Evaluate such a polynomial."""
    return sum((count * prod((Fraction(sizes[s]) for s in each), start=Fraction(1)) for each, count in trace.items()),
               Fraction(0))  # fmt: skip


def set_partitions(size: int) -> Iterator[tuple[int, ...]]:
    """Yield every way to divide `size` points into blocks: the block of each point, blocks numbered as they appear."""

    def grown(blocks: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(blocks) == size:
            yield blocks
            return
        for block in range(max(blocks, default=-1) + 2):
            yield from grown((*blocks, block))

    yield from grown(())


# -- free products -----------------------------------------------------------------------------------------------------

Series = list[Fraction]
"""Coefficients of z^0, z^1, ..."""


def free_product(*factors: Sequence[Fraction | int | float]) -> list[Fraction]:
    """Compute the moments m_1, ..., m_P of the product of free nonnegative variables, from the moments of each.

    With `psi(w) = sum_p m_p w^p` and its inverse `chi`, the S-transform `S(z) = chi(z) (1 + z) / z` is multiplicative;
    the first moments must not be zero. Exact in Fractions (floats are taken for the fractions that they are).

    Raises ValueError for sequences of different lengths, or for a first moment that is zero.
    """
    count = len(factors[0])
    if any(len(each) != count for each in factors) or not all(each[0] for each in factors):
        raise ValueError(
            f"moments {[len(each) for each in factors]} in number; expected equally many, the first not zero"
        )
    transform = [Fraction(1)] + [Fraction(0)] * (count - 1)  # product of chi(z) (1 + z) / z
    shifted = [Fraction(1), Fraction(1)] + [Fraction(0)] * max(0, count - 2)
    for moments in factors:
        inverse = reversed_series([Fraction(0), *(Fraction(each) for each in moments)])
        transform = times(transform, times(inverse[1:], shifted[:count]))
    chi = [Fraction(0), *times(transform, reciprocal(shifted[:count]))]
    return reversed_series(chi)[1:]


def times(a: Series, b: Series) -> Series:
    """Return the product, cut to the length of a."""
    return [sum((a[j] * b[k - j] for j in range(k + 1)), Fraction(0)) for k in range(len(a))]


def reciprocal(a: Series) -> Series:
    """Compute 1 / a, for a[0] that is not zero."""
    coefficients = [1 / a[0]]
    for k in range(1, len(a)):
        coefficients.append(-sum((a[j] * coefficients[k - j] for j in range(1, k + 1)), Fraction(0)) / a[0])
    return coefficients


def reversed_series(a: Series) -> Series:
    """Invert a series without constant term, as a function: Lagrange's formula, [z^p] = (1/p) [w^(p-1)] (w / a(w))^p."""
    quotient = reciprocal(a[1:])
    power = [Fraction(1)] + [Fraction(0)] * (len(quotient) - 1)
    coefficients = [Fraction(0)]
    for p in range(1, len(a)):
        power = times(power, quotient)
        coefficients.append(power[p - 1] / p)
    return coefficients
