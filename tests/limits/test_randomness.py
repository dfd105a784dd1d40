"""Which sums stay random? Worked examples: their orders by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from tpdyn.exponents import Scaling
from tpdyn.facts.facts import Facts
from tpdyn.limits.randomness import data_met, fluctuations, random_sums, readouts
from tpdyn.program.builder import Builder
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import read

n = Builder.n
ROOT = Scaling.of(1, "-1/2")


def sums(b: Builder) -> tuple[dict[int, Fraction], tuple[int, ...], frozenset[str]]:
    facts = Facts.of(b.build(widths=(16, 24)))
    orders = read(facts)
    return fluctuations(facts, orders), random_sums(facts, orders), readouts(facts, orders)


@pytest.mark.parametrize(("std", "order"), [("-1", Fraction(-1, 2)), ("-1/2", Fraction(0))])
def test_a_readout_fluctuates_by_the_central_limit_theorem(std: str, order: Fraction) -> None:
    b = Builder()
    u, v = b.parameter("u", (n,)), b.parameter("v", (n,), std=Scaling.of(1, std))
    f = b.einsum("n,n->", v, b.apply("tanh", u))
    found, random, quiet = sums(b)
    assert found == {f: order}
    assert random == ((f,) if order == 0 else ())
    assert quiet == (frozenset("v") if order < 0 else frozenset())


def test_a_multiplier_that_follows_counts() -> None:
    b = Builder()
    u, v = b.parameter("u", (n,)), b.parameter("v", (n,))
    b.at(phase="forward")
    f = b.einsum("n,n->", v, u)
    b.combine((ROOT, f))
    found, random, _ = sums(b)
    assert found == {f: Fraction(0)}
    assert random == (f,)


def test_a_mean_hides_its_fluctuation() -> None:
    """A norm: of order 1, its fluctuation of order 1/2; relatively it vanishes."""
    b = Builder()
    u = b.parameter("u", (n,))
    f = b.einsum("n,n->", u, u)
    found, random, _ = sums(b)
    assert found == {f: Fraction(1, 2)}
    assert random == ()


def test_the_norm_of_an_update_is_no_sum_of_independent_entries() -> None:
    b = Builder()
    u, v = b.parameter("u", (n,)), b.parameter("v", (n,))
    w = b.einsum("m,n->mn", u, v)
    f = b.einsum("mn,mn->", w, w, scale=Scaling.of(1, -2))
    found, random, _ = sums(b)
    assert found == {f: Fraction(-1, 2)}
    assert random == ()


def test_readouts_after_updates_are_found_too(sgd: Program) -> None:
    facts = Facts.of(sgd)
    assert readouts(facts, read(facts)) == frozenset("v")


def test_what_a_leaf_is_first_multiplied_by_is_known_if_it_is_data() -> None:
    b = Builder()
    x, z = b.data("x", (2, 3)), b.data("z", (3,))
    w, u = b.parameter("w", (n, 3)), b.parameter("u", (n,))
    b.einsum("bi,ni->bn", x, w)
    b.einsum("i,ni->n", z, w)
    b.einsum("n,n->", u, u)
    program = b.build(widths=(16, 24), arrays={"x": np.arange(6.0).reshape(2, 3)})
    met = data_met(program, {})
    assert list(met) == [w]
    assert met[w].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert data_met(program, {"x": torch.ones(2, 3)})[w].tolist() == [[1.0] * 3] * 2
