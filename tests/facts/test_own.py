"""Are multipliers, initial sizes, learning rates and roles read off the program?"""

from __future__ import annotations

from fractions import Fraction

from tpdyn.exponents import Scaling
from tpdyn.facts.facts import Facts
from tpdyn.facts.own import Own
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Concat, Law, Operand

HALF, ZERO, ONE, N = Fraction(1, 2), Fraction(0), Fraction(1), Builder.n


def by(power: Fraction) -> Scaling:
    return Scaling.of(1, power)


def perceptron() -> Builder:
    """`f = n^-1 v . tanh(n^-1/2 W tanh(U x) + b) + c`, one step of SGD by hand on v."""
    b = Builder()
    b.at(phase="forward")
    x = b.data("x", (7, 3))
    b.parameter("U", (N, 3))
    b.parameter("W", (N, N), std=by(-ONE))
    b.parameter("b", (N,), std=0)
    b.parameter("v", (N,))
    b.parameter("c", ())
    h = b.apply("tanh", b.einsum("bi,oi->bo", x, b.now("U")))
    h = b.combine((by(-HALF), b.einsum("bi,oi->bo", h, b.now("W"))), (1, b.now("b")))
    b.combine((1, b.einsum("bo,o->b", b.apply("tanh", h), b.now("v"), scale=by(-ONE))), (1, b.now("c")))
    return b


def own(b: Builder, name: str) -> Own:
    return Facts.of(b.build()).own[name]


def test_roles_follow_from_which_growing_dims_stay_and_which_are_summed() -> None:
    roles = {name: mine.role for name, mine in Facts.of(perceptron().build()).own.items()}
    assert roles == {"U": "input-like", "W": "hidden", "b": "input-like", "v": "output-like", "c": "scalar-like"}


def test_a_multiplier_counts_where_it_stands_in_the_product_and_where_it_follows() -> None:
    b = perceptron()
    assert (own(b, "v").a, own(b, "W").a, own(b, "U").a) == (ONE, HALF, ZERO)


def test_initial_sizes_are_those_of_the_laws_and_zero_is_said() -> None:
    b = perceptron()
    assert (own(b, "W").b, own(b, "W").zero) == (ONE, False)
    assert (own(b, "b").b, own(b, "b").zero) == (ZERO, True)


def test_a_law_with_a_mean_is_as_large_as_the_larger_of_mean_and_spread() -> None:
    b = Builder()
    b.parameter("gain", (N,), law=Law("normal", by(ZERO), by(-ONE)))
    assert own(b, "gain").b == ZERO


def test_a_parameter_with_two_roles_has_the_smallest_multiplier_of_each() -> None:
    """An embedding that reads out as well, n^-1/2 and n^-1 there."""
    b = Builder()
    b.at(phase="forward")
    table = b.parameter("table", (11, N))
    x = b.combine((by(-HALF), b.gather(table, b.index("tokens", (7,)))))
    b.einsum("ti,vi->tv", x, table, scale=by(-ONE))
    b.einsum("ti,vi->tv", x, table, scale=by(-2 * ONE))
    mine = own(b, "table")
    assert mine.role == "input-like and output-like"
    assert mine.uses == {"input-like": HALF, "output-like": ONE} and mine.a == HALF


def test_uses_in_later_steps_and_phases_do_not_count() -> None:
    b = Builder()
    w = b.parameter("w", (N,))
    b.at(step=1, phase="forward")
    b.combine((by(-ONE), w))
    b.at(step=0, phase="backward")
    b.combine((by(-ONE), w))
    assert own(b, "w").role == "unused"


def test_a_parameter_that_enters_through_a_function_or_beside_others_has_the_role_of_its_dims() -> None:
    b = Builder()
    b.at(phase="forward")
    decay, token, shift = b.parameter("decay", (N,)), b.parameter("token", (2, N)), b.parameter("shift", ())
    b.apply("exp", decay)
    two = Scaling.of(2)
    b.add(Concat((Operand(token, (0, 1)), None), (two, two), 0), (Scaling.of(4), N))
    b.apply("exp", shift)
    assert [own(b, name).role for name in ("decay", "token", "shift")] == ["input-like", "input-like", "scalar-like"]


def updated(*scales: Fraction, normalised: bool = False) -> Own:
    """One step by updates with these powers, of the gradient or of its sign (times n)."""
    b = Builder()
    w, x = b.parameter("w", (N,)), b.data("x", (N,))
    b.at(phase="backward")
    g = b.einsum("i,i->i", w, x, scale=by(3 * ONE))  # the gradient's own size is no rate
    b.at(phase="optimizer")
    step = b.apply("sign", b.combine((by(ONE), g))) if normalised else g
    b.update("w", b.combine((1, w), *((by(scale), step) for scale in scales)), gradient=g)
    return own(b, "w")


def test_the_rate_is_the_power_by_which_constants_multiply_the_gradient() -> None:
    assert updated(-ONE).c == ONE


def test_of_several_updates_the_fastest_is_the_rate() -> None:
    assert updated(-ONE, -HALF).c == HALF


def test_what_stands_before_a_function_that_normalises_is_no_rate() -> None:
    assert updated(-HALF, normalised=True).c == HALF


def test_constants_on_the_way_through_momentum_add_up() -> None:
    b = Builder()
    w, x = b.parameter("w", (N,)), b.data("x", (N,))
    b.at(phase="backward")
    g = b.einsum("i,i->i", w, x)
    b.at(phase="optimizer")
    buffer = b.combine((by(-HALF), g))
    b.update("w", b.combine((1, w), (by(-HALF), buffer)), gradient=g)
    assert own(b, "w").c == ONE
