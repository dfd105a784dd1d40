"""What happens where a matrix of `kinds` meets a partner? Identities relabel, diagonals scale, eigenvectors make a function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.standins.matrices.arithmetic import added, identity_plus, joint_weights, permuted, scaled
from tpdyn.recorder.lowering.standins.matrices.kinds import Cholesky, Damped, Diagonal, Eigenvectors, damped, settled
from tpdyn.recorder.lowering.standins.standin import Settles
from tpdyn.recorder.lowering.values import Handle, Known

Factor = tuple[Any, list[Any]]


def product(b: LoweredBuilder, out: list[Any], x: Factor, y: Factor) -> Any:
    """Return the einsum of two factors, each with a letter for each dim. It sums over the letters that `out` lacks."""
    if isinstance(x[0], Cholesky) or isinstance(y[0], Cholesky):
        raise Settles
    if isinstance(x[0], Eigenvectors) or isinstance(y[0], Eigenvectors):
        return _met(b, out, x, y)
    for first, second in ((x, y), (y, x)):
        parts = damped(first[0])
        if parts is not None:
            moved = _relabelled(b, out, first[1], second)
            if b.number(parts.rest) == 0:
                return scaled(b, moved, parts.shift)
            if isinstance(moved, Diagonal):
                raise Settles
            return _sum_of(b, scaled(b, moved, parts.shift), product(b, out, (parts.rest, first[1]), second))
    for first, second in ((x, y), (y, x)):
        if isinstance(first[0], Diagonal):
            kept = _kept_letter(out, first[1], second[1])
            letters = [kept if letter not in out and letter in first[1] else letter for letter in second[1]]
            if isinstance(second[0], Diagonal):
                return Diagonal(b.value(b.product(first[0].entries, second[0].entries)))
            return b.contract(out, (first[0].entries, [kept]), (second[0], letters))
    return b.contract(out, x, y)


def _sum_of(b: LoweredBuilder, x: Any, y: Any) -> Any:
    if damped(x) is not None or damped(y) is not None:
        return added(b, x, y)
    return b.combine([(1, x), (1, y)])


def _kept_letter(out: Sequence[Any], square: Sequence[Any], other: Sequence[Any]) -> Any:
    """Return the letter of a square matrix that stays, the other one being summed with the partner."""
    kept = [letter for letter in square if letter in out and letter not in other]
    summed = [letter for letter in square if letter not in out and letter in other]
    if len(square) != 2 or len(kept) != 1 or len(summed) != 1:
        raise Settles
    return kept[0]


def _relabelled(b: LoweredBuilder, out: list[Any], square: Sequence[Any], other: Factor) -> Any:
    """Return the product of an identity matrix with a partner: the partner, one letter renamed."""
    kept = _kept_letter(out, square, other[1])
    letters = [kept if letter in square else letter for letter in other[1]]
    return permuted(b, other[0], [letters.index(letter) for letter in out])


def _met(b: LoweredBuilder, out: list[Any], x: Factor, y: Factor) -> Any:
    """Let eigenvectors meet: each other along the eigenvalues (a function of the matrix), or a diagonal matrix."""
    (one, mine), (other, theirs) = x, y
    if isinstance(one, Eigenvectors) and isinstance(other, Eigenvectors):
        same = (one.of, one.descending) == (other.of, other.descending)
        k = mine[one.spectrum]
        if not same or k != theirs[other.spectrum] or k in out:
            raise Settles
        matrix = function_of(b, one.of, joint_weights(b, one.weights, other.weights), one.descending)
        return _laid_out(b, matrix, [mine[one.coordinate], theirs[other.coordinate]], out)
    vectors, letters, partner, its = (
        (one, mine, other, theirs) if isinstance(one, Eigenvectors) else (other, theirs, one, mine)
    )
    if not isinstance(partner, Diagonal):
        raise Settles
    kept = _kept_letter(out, its, letters)
    if letters[vectors.spectrum] not in its:
        raise Settles
    letters = [kept if k == vectors.spectrum else letter for k, letter in enumerate(letters)]
    scaled = replace(vectors, weights=joint_weights(b, vectors.weights, partner.entries))
    return permuted(b, scaled, [letters.index(letter) for letter in out])


def _laid_out(b: LoweredBuilder, matrix: Any, letters: list[Any], out: list[Any]) -> Any:
    """Return a matrix with its dims in the order of `out`; the other letters have size 1."""
    matrix = permuted(b, matrix, [letters.index(letter) for letter in out if letter in letters])
    for axis, letter in enumerate(out):
        if letter not in letters:
            matrix = b.unsqueeze(settled(b, matrix), axis)
    return matrix


def function_of(b: LoweredBuilder, of: Handle, weights: Any, descending: bool = False) -> Any:
    """Return `V diag(weights) V^T`; of equal weights, a multiple of the identity matrix."""
    number = b.number(weights)
    if number is not None:
        return identity_plus(b, number, Known.full(of.shape, 0.0))
    return b.spectral(of, b.expand(weights, of.shape[:1]), descending)


def _einsum(out: str, left: str, right: str) -> Rule:
    return lambda b, x, y, *_, **__: product(b, list(out), (x, list(left)), (y, list(right)))


mm, bmm, mv = _einsum("ij", "ik", "kj"), _einsum("bij", "bik", "bkj"), _einsum("i", "ik", "k")


def _addmm(b: LoweredBuilder, start: Any, x: Any, y: Any, *, beta: Any = 1, alpha: Any = 1, **_: Any) -> Any:
    result = mm(b, x, y)
    if damped(start) is None and damped(result) is None:
        return b.combine([(alpha, result), (beta, start)], shape=b.shape(result))
    return added(b, start, result, alpha=alpha, beta=beta)


def _trace(b: LoweredBuilder, x: Any) -> Any:
    if isinstance(x, Diagonal):
        return b.contract([], (x.entries, ["i"]))
    if not isinstance(x, Damped):
        raise Settles
    return b.combine([(1, b.contract([], (x.rest, ["i", "i"]))), (x.shape[0], x.shift)])


READERS: dict[str, Rule] = {
    "mm": mm,
    "bmm": bmm,
    "mv": mv,
    "addmm": _addmm,
    "trace": _trace,
}
