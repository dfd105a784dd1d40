"""Does a multiplier belong to the value that it follows, at once or behind a sum?"""

from __future__ import annotations

from fractions import Fraction

from tpdyn.exponents import Scaling
from tpdyn.facts.facts import Facts
from tpdyn.program.builder import Builder

HALF, ONE, N = Fraction(1, 2), Fraction(1), Builder.n


def by(power: Fraction) -> Scaling:
    return Scaling.of(1, power)


def layer() -> tuple[Builder, int]:
    b = Builder()
    b.at(phase="forward")
    return b, b.einsum("ij,j->i", b.parameter("W", (N, N)), b.data("x", (N,)))


def test_the_multiplier_of_ntk_parametrization_belongs_to_the_product_before_it() -> None:
    """`h = n^-1/2 W x` is one value."""
    b, bare = layer()
    h = b.combine((by(-HALF), bare))
    b.apply("tanh", h)
    facts = Facts.of(b.build())
    assert facts.folded == {bare: -HALF}
    assert h in facts.representations and bare not in facts.representations


def test_behind_a_sum_the_multiplier_is_that_of_each_of_its_terms() -> None:
    """`n^-1 (W x + b)`: it is that of W x and of b, too."""
    b, bare = layer()
    bias = b.parameter("b", (N,))
    both = b.combine((1, bare), (1, bias))
    b.apply("tanh", b.combine((by(-ONE), both)))
    assert Facts.of(b.build()).folded == {both: -ONE, bare: -ONE, bias: -ONE}


def test_multipliers_that_follow_each_other_add_up() -> None:
    b, bare = layer()
    once = b.combine((by(-HALF), bare))
    b.apply("tanh", b.combine((by(-ONE), once)))
    assert Facts.of(b.build()).folded == {once: -ONE, bare: -ONE - HALF}


def test_a_value_that_is_used_as_it_is_counts_whatever_its_other_uses_are() -> None:
    b, bare = layer()
    b.combine((by(-HALF), bare))
    b.apply("tanh", bare)
    assert Facts.of(b.build()).folded == {}


def test_a_product_with_another_value_is_a_use_as_it_is() -> None:
    b, bare = layer()
    b.einsum("i,i->i", bare, b.data("y", (N,)), scale=by(-HALF))
    assert bare not in Facts.of(b.build()).folded


def test_of_several_multipliers_the_largest_counts() -> None:
    b, bare = layer()
    b.apply("tanh", b.combine((by(-HALF), bare)))
    b.apply("tanh", b.combine((by(-ONE), bare)))
    assert Facts.of(b.build()).folded == {bare: -HALF}


def test_a_mean_over_the_width_is_no_multiplier() -> None:
    b, bare = layer()
    b.einsum("i->", bare, scale=by(-ONE))
    assert Facts.of(b.build()).folded == {}


def test_a_mean_over_tokens_with_a_multiplier_is_one() -> None:
    b = Builder()
    b.at(phase="forward")
    x = b.data("x", (7, N))
    b.einsum("ti->i", x, scale=by(-HALF))
    assert Facts.of(b.build()).folded == {x: -HALF}


def test_a_factor_without_width_is_no_multiplier_and_uses_of_other_phases_do_not_count() -> None:
    b, bare = layer()
    b.combine((2, bare))
    b.at(phase="backward")
    b.combine((by(-HALF), bare))
    assert Facts.of(b.build()).folded == {}


def test_the_output_is_what_a_script_makes_of_what_the_network_returns_by_multipliers() -> None:
    """`(model(x) - first) * n^1/2`: the network's output counts with the multiplier."""
    b = Builder()
    b.at(phase="forward")
    f, first = b.parameter("f", (3,)), b.data("first", (3,))
    b.mark("output", "net", f)
    scaled = b.combine((by(HALF), b.combine((1, f), (-1, first))))
    b.apply("tanh", scaled)
    assert Facts.of(b.build()).outputs == (scaled,)


def test_an_output_that_is_used_as_it_is_counts_as_it_is() -> None:
    b = Builder()
    b.at(phase="forward")
    f = b.parameter("f", (3,))
    b.mark("output", "net", f)
    b.combine((by(HALF), f))
    b.apply("tanh", f)
    assert Facts.of(b.build()).outputs == (f,)
