"""The semicircle law as a corollary of the Master Theorem. There z^T A^k z / n is an average of a tensor program.

Statement. Let A = (G + G^T) / sqrt(2 n), and z ~ N(0, 1) independent of it. Then x_0 = z, x_(j+1) = A x_j is a tensor
program. It has two products a step, one with G and one with its transpose. So the average z^T x_k / n converges almost
surely to E Z^z Z^(x_k) of the Master Theorem. That includes hat and dot. Since z^T M z / n - tr M / n vanishes, it is the
limit of tr A^k / n: a Catalan number. Source: Tensor Programs III (arXiv 2009.10685), whose abstract announces this proof
of the law. Words of two independent matrices give free semicircular variables: their moments count the non-crossing
pairings that respect the letters (Voiculescu).

Exact up to round-off: `tpdyn.limit` reads the program; its points are whitened, so that linear programs come out to 1e-10. Random
words in A, B and a multiple of the identity are compared with the counted non-crossing pairings.
It can fail: without the dot (gradient independence: G^T taken for an independent copy) the fourth moment is 1, not 2. With
crossing pairings counted in, it would be 3. Both are further than `CLOSE` from what is read; see the last tests.
"""

from __future__ import annotations

import os
from fractions import Fraction
from itertools import combinations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from moments import catalan, crosses, gaussian_moment, pairings
from torch import Tensor

import tpdyn
from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder
from tpdyn.readings.sampled import gaussian
from tpdyn.readings.sampled.gaussian import Gaussian, Side

EXAMPLES = {"quick": 8, "thorough": 200}.get(os.environ.get("HYPOTHESIS_PROFILE", ""), 40)
POINTS = 2**8
CLOSE = 1e-9


def read(word: str, variance: Fraction = Fraction(1), shift: Fraction = Fraction(0)) -> list[float]:
    """Limits of z^T (product of the last j letters) z / n for each j. A letter is a matrix of that variance plus a shift."""
    b, n = Builder(), Builder.n
    z = x = b.parameter("z", (n,))
    std = Scaling.of(float(variance / 2) ** 0.5, "-1/2")
    leaves = {letter: b.parameter(letter, (n, n), std=std) for letter in sorted(set(word))}
    for count, letter in enumerate(reversed(word), 1):
        g = leaves[letter]
        x = b.combine((1, b.einsum("ij,j->i", g, x)), (1, b.einsum("ij,i->j", g, x)), (float(shift), x))
        b.mark("output", str(count), b.einsum("i,i->", z, x, scale=Scaling.of(1, -1)))
    found = tpdyn.limit(b.build(widths=(16, 24)), POINTS, 2)
    return [float(each.value) for each in found.outputs]


def counted(word: str, crossing: bool = False) -> int:
    """Pairings of equal letters, without crossings unless said otherwise."""
    return sum(
        all(word[i] == word[j] for i, j in each) and (crossing or not crosses(each))
        for each in pairings(range(len(word)))
    )


def test_the_moments_are_catalan_numbers() -> None:
    found = read("A" * 10)
    expected = [0 if k % 2 else catalan(k // 2) for k in range(1, 11)]
    assert found == pytest.approx(expected, abs=CLOSE)


@given(word=st.text("AB", min_size=1, max_size=8))
@example(word="ABAB")
@example(word="AABB")
@settings(max_examples=EXAMPLES)
def test_words_of_two_matrices_count_non_crossing_pairings_of_equal_letters(word: str) -> None:
    assert read(word)[-1] == pytest.approx(counted(word), abs=CLOSE)


@given(
    variance=st.fractions("1/4", 2, max_denominator=4),
    shift=st.fractions(-1, 1, max_denominator=4),
    power=st.integers(1, 6),
)
@settings(max_examples=EXAMPLES)
def test_a_shifted_and_scaled_matrix_has_the_moments_of_a_shifted_and_scaled_semicircle(
    variance: Fraction, shift: Fraction, power: int
) -> None:
    expected = sum(
        shift ** (power - len(chosen)) * variance ** (len(chosen) // 2) * catalan(len(chosen) // 2)
        for size in range(0, power + 1, 2)
        for chosen in combinations(range(power), size)
    )
    assert read("A" * power, variance, shift)[-1] == pytest.approx(float(expected), abs=1e-8)


def test_crossing_pairings_or_a_forgotten_dot_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read("ABAB")[-1] == pytest.approx(0, abs=CLOSE) and counted("ABAB", crossing=True) == 1
    assert counted("AAAA", crossing=True) == gaussian_moment(4) != counted("AAAA") == 2

    def without_dot(operator: Gaussian, new: Tensor, side: Side, along: Tensor) -> Tensor:
        across = gaussian.other(side)
        answers = operator.draw[across](new.shape[0]).to(operator.dtype) * operator.std
        known = operator.asked[across]
        return known.add_to(answers, known.inner(answers), -1.0)

    with torch.no_grad():
        monkeypatch.setattr(gaussian.Gaussian, "_fresh", without_dot)
        assert abs(read("AAAA")[-1] - 2) > 0.5
