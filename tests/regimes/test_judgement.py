"""Is the definition of the regimes applied, rule by rule? On programs of a few lines, and on the named parametrizations."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tpdyn.claims import theorems
from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents, Orders, read
from tpdyn.regimes.judgement import first_unstable, judge, largest_change
from tpdyn.regimes.prediction import Regime
from tpdyn.testing.perceptrons import exponents, layer_names, mlp_program

HALF, ONE, N = Fraction(1, 2), Fraction(1), Builder.n


def network(*, first: Fraction = Fraction(0), out: Fraction = ONE, bias: bool = False) -> Program:
    """`f = n^-out sum_i v_i tanh(n^first W x)_i + c`: a perceptron trained by hand for two steps, update by update.

    W is trained at the rate that moves it at order 0; v, too, against the multiplier. The last, c, has no width.
    """
    b = Builder()
    b.parameter("W", (N, 3))
    b.parameter("v", (N,))
    if bias:
        b.parameter("c", (), std=0)
    for step in range(3):
        b.at(step=step, phase="forward", module="fc")
        x = b.data(f"x{step}", (3,))
        h = b.mark("module", "fc", b.einsum("ni,i->n", b.now("W"), x, scale=Scaling.of(1, first)))
        y = b.apply("tanh", h)
        b.at(module="out")
        f = b.einsum("n,n->", b.now("v"), y, scale=Scaling.of(1, -out))
        if bias:
            f = b.combine((1, f), (1, b.now("c")))
        b.mark("output", "f", f)
        b.at(phase="backward", module="")
        slope = b.apply("tanh'", h)
        flow = b.einsum("n,n->n", b.now("v"), slope)
        b.at(phase="optimizer")
        gradient = b.einsum("n,i->ni", flow, x)
        b.update("W", b.combine((1, b.now("W")), (-1, gradient)), gradient=gradient)
        b.update("v", b.combine((1, b.now("v")), (-1, y)), gradient=y)
        if bias:
            b.update("c", b.combine((1, b.now("c")), constant=1))
    return b.build()


def named(orders: Orders, position: int) -> str:
    return next((mark.name for mark in orders.program.marks if position in mark.view.pieces), "")


def test_a_value_that_is_too_large_at_initialisation_is_named_first_of_all() -> None:
    orders = read(network(first=HALF, out=Fraction(0)))
    verdict = judge(orders)
    assert (verdict.regime, verdict.what, verdict.order) == (Regime.UNSTABLE, "size", HALF)
    assert verdict.position == orders.facts.counting[0] and named(orders, verdict.position) == "fc"


def test_a_value_that_changes_too_much_is_unstable_though_it_begins_well() -> None:
    orders = read(network(), Exponents(rate={"W": -HALF}))
    verdict = judge(orders)
    assert (verdict.regime, verdict.what, verdict.order) == (Regime.UNSTABLE, "change", HALF)
    assert named(orders, verdict.position) == "fc"
    assert orders.program.statements[verdict.position].origin.step == 1  # nothing has changed before


def test_an_output_that_stands_still_is_trivial() -> None:
    verdict = judge(read(network(out=ONE + HALF)))
    assert (verdict.regime, verdict.moved) == (Regime.TRIVIAL, -HALF)


def test_an_output_that_does_not_change_at_all_is_trivial() -> None:
    verdict = judge(read(network(), Exponents(frozen=frozenset({"W", "v"}))))
    assert (verdict.regime, verdict.moved) == (Regime.TRIVIAL, None)


def test_an_output_that_only_a_parameter_without_width_moves_is_trivial() -> None:
    """The bias of the output moves it by the same amount for every input; that takes a second reading."""
    program = network(out=ONE + HALF, bias=True)
    verdict = judge(read(program))
    assert (verdict.regime, verdict.moved) == (Regime.TRIVIAL, -HALF)
    assert verdict.without is not None and verdict.without.exponents.frozen == {"c"}
    assert largest_change(read(program), read(program).facts.outputs) == 0
    assert judge(read(network(bias=True))).regime is Regime.FEATURE_LEARNING


def test_what_was_frozen_stays_frozen_in_the_second_reading() -> None:
    verdict = judge(read(network(bias=True), Exponents(frozen=frozenset({"W", "v"}))))
    assert verdict.regime is Regime.TRIVIAL and verdict.without is not None
    assert verdict.without.exponents.frozen == {"W", "v", "c"}


def test_features_learn_where_one_hidden_representation_changes_at_order_0() -> None:
    orders = read(network())
    verdict = judge(orders)
    assert verdict.regime is Regime.FEATURE_LEARNING
    assert {named(orders, position) for position in verdict.learning} >= {"fc"}
    assert not set(verdict.learning) & set(orders.facts.outputs)


def test_an_output_that_moves_while_every_representation_is_frozen_is_the_kernel_regime() -> None:
    verdict = judge(read(network(), Exponents(rate={"W": HALF})))
    assert (verdict.regime, verdict.moved, verdict.learning) == (Regime.KERNEL, 0, ())


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(
    ("point", "regime"),
    [
        (theorems.standard, Regime.UNSTABLE),
        (theorems.neural_tangent, Regime.KERNEL),
        (theorems.maximal_update, Regime.FEATURE_LEARNING),
    ],
    ids=["SP", "NTP", "muP"],
)
def test_the_named_parametrizations_are_in_their_regimes(layers: int, point: object, regime: Regime) -> None:
    """Tensor Programs IV, Table 1."""
    program = mlp_program(layers, "tanh")
    assert judge(read(program, exponents(point(layers), layer_names(layers)))).regime is regime  # type: ignore[operator]


def test_a_positive_order_counts_only_where_the_value_counts() -> None:
    """Under NTK parametrization the bare `W x` is larger by n^1/2: the multiplier that follows belongs to it."""
    b = Builder()
    b.at(phase="forward")
    w, x = b.parameter("W", (N, N)), b.data("x", (N,))
    bare = b.einsum("ij,j->i", w, x)
    h = b.combine((Scaling.of(1, -HALF), bare))
    b.mark("output", "f", b.einsum("i,i->", h, h, scale=Scaling.of(1, -1)))
    orders = read(b.build())
    assert orders.values[bare].size == HALF and orders.values[h].size == 0
    assert first_unstable(orders) is None
