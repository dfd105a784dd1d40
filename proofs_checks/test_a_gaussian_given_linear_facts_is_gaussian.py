"""Gaussian conditioning: given linear facts a Gaussian is the best linear guess plus an independent Gaussian remainder.

Statement, for vectors. X ~ N(0, C), facts y = B X with B C B^T invertible, K = C B^T (B C B^T)^-1. Then K y and the
remainder R = X - K y are independent, R ~ N(0, C - K B C). So X given y is N(K y, C - K B C).
Statement, for matrices, which is what a tensor program uses. W has independent N(0, s^2) entries, and the facts are Y = W Q
and V = W^T U. With the projections P = Q Q^+ and S = U U^+,

    W = [Y Q^+ + (V U^+)^T (1 - P)] + (1 - S) W~ (1 - P)          in law, W~ an independent copy of W

(conditioning technique of Bolthausen, arXiv 1201.2891; Tensor Programs III, arXiv 2009.10685).

Exact, in rationals: R is uncorrelated with the facts, its covariance is the stated one, the guess obeys every fact. For
matrices the three linear maps of the entries are written out and their covariances compared. Uncorrelated Gaussians are
independent, so nothing is left to sample. The library's own operator, which applies this rule product by product, is held
against dense matrices in `test_simulated_runs_have_the_law_of_dense_runs.py`.
It can fail: a remainder that is projected on one side only breaks an identity. So does a guess without the correction for
facts met twice (the -P in the second term). See the last test.
"""

from __future__ import annotations

import os
from fractions import Fraction

from hypothesis import assume, given, settings
from hypothesis import strategies as st

EXAMPLES = {"quick": 40, "thorough": 2000}.get(os.environ.get("HYPOTHESIS_PROFILE", ""), 300)
Matrix = list[list[Fraction]]


def product(*factors: Matrix) -> Matrix:
    first, *rest = factors
    for other in rest:
        columns = list(zip(*other, strict=True))
        first = [[sum((x * y for x, y in zip(row, c, strict=True)), Fraction(0)) for c in columns] for row in first]
    return first


def transposed(a: Matrix) -> Matrix:
    return [list(row) for row in zip(*a, strict=True)]


def combined(a: Matrix, b: Matrix, sign: int) -> Matrix:
    return [[x + sign * y for x, y in zip(u, v, strict=True)] for u, v in zip(a, b, strict=True)]


def unit(size: int) -> Matrix:
    return [[Fraction(i == j) for j in range(size)] for i in range(size)]


def inverse(a: Matrix) -> Matrix | None:
    """By Gauss and Jordan; None where there is none."""
    size = len(a)
    rows = [[*row, *one] for row, one in zip(a, unit(size), strict=True)]
    for k in range(size):
        pivot = next((i for i in range(k, size) if rows[i][k]), None)
        if pivot is None:
            return None
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [x / rows[k][k] for x in rows[k]]
        for i in range(size):
            if i != k:
                rows[i] = [x - rows[i][k] * y for x, y in zip(rows[i], rows[k], strict=True)]
    return [row[size:] for row in rows]


def zero(a: Matrix) -> bool:
    return all(x == 0 for row in a for x in row)


def matrices(rows: int, columns: int) -> st.SearchStrategy[Matrix]:
    entry = st.integers(-3, 3).map(Fraction)
    return st.lists(st.lists(entry, min_size=columns, max_size=columns), min_size=rows, max_size=rows)


@given(st.data())
@settings(max_examples=EXAMPLES)
def test_the_remainder_is_independent_of_the_facts_and_has_the_stated_covariance(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 4))
    root = data.draw(matrices(size, size))
    facts = data.draw(matrices(data.draw(st.integers(1, size - 1)), size))
    covariance = product(root, transposed(root))
    between = inverse(product(facts, covariance, transposed(facts)))
    assume(between is not None)
    assert between is not None
    gain = product(covariance, transposed(facts), between)
    remainder = combined(unit(size), product(gain, facts), -1)  # R = (1 - K B) X
    assert zero(product(remainder, covariance, transposed(facts)))
    stated = combined(covariance, product(gain, facts, covariance), -1)
    assert product(remainder, covariance, transposed(remainder)) == stated
    assert product(facts, gain) == unit(len(facts))  # the guess obeys the facts


# -- matrices ----------------------------------------------------------------------------------------------------------


def pseudo(a: Matrix) -> Matrix | None:
    """A^+ of a matrix of full column rank."""
    gram = inverse(product(transposed(a), a))
    return None if gram is None else product(gram, transposed(a))


def kronecker(left: Matrix, right: Matrix) -> Matrix:
    """The map W -> left W right^T of entries in row-major order."""
    return [[x * y for x in u for y in v] for u in left for v in right]


def maps(q: Matrix, u: Matrix, rows: int, columns: int) -> tuple[Matrix, Matrix, Matrix] | None:
    """Of the entries of W: the facts (Y, V), the guess, and the remainder."""
    q_inverse, u_inverse = pseudo(q), pseudo(u)
    if q_inverse is None or u_inverse is None:
        return None
    p, s = product(q, q_inverse), product(u, u_inverse)
    rest = combined(unit(columns), p, -1), combined(unit(rows), s, -1)
    known = [*kronecker(unit(rows), transposed(q)), *kronecker(transposed(u), unit(columns))]
    guess = combined(kronecker(unit(rows), p), kronecker(s, rest[0]), 1)  # W P + S W (1 - P)
    return known, guess, kronecker(rest[1], rest[0])


@given(st.data())
@settings(max_examples=EXAMPLES)
def test_a_gaussian_matrix_given_products_with_it_and_its_transpose(data: st.DataObject) -> None:
    rows, columns = data.draw(st.integers(2, 3)), data.draw(st.integers(2, 3))
    q = data.draw(matrices(columns, data.draw(st.integers(1, columns - 1))))
    u = data.draw(matrices(rows, data.draw(st.integers(1, rows - 1))))
    made = maps(q, u, rows, columns)
    assume(made is not None)
    assert made is not None
    known, guess, remainder = made
    assert zero(product(known, transposed(remainder)))  # independent of the facts
    assert combined(guess, remainder, 1) == unit(rows * columns)  # W = guess + remainder
    assert product(known, guess) == known  # the guess obeys the facts
    assert product(remainder, transposed(remainder)) == remainder  # a projection: of variance s^2, as a copy's would be


def test_without_a_projection_or_the_correction_an_identity_breaks() -> None:
    q = u = [[Fraction(1)], [Fraction(2)]]
    found, inverted = maps(q, u, 2, 2), pseudo(q)
    assert found is not None and inverted is not None
    p = product(q, inverted)
    one_sided = kronecker(unit(2), combined(unit(2), p, -1))
    assert not zero(product(found[0], transposed(one_sided)))
    uncorrected = combined(kronecker(unit(2), p), kronecker(p, unit(2)), 1)
    assert product(found[0], uncorrected) != found[0]
