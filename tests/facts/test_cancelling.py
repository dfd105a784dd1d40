"""Are sums that cancel found, with what is left of them, and are all others left alone?"""

from __future__ import annotations

from fractions import Fraction

import pytest

from tpdyn.exponents import Scaling
from tpdyn.facts.facts import Facts
from tpdyn.program.builder import Builder
from tpdyn.readings.orders.reading import Exponents, read
from tpdyn.readings.orders.terms import Value

HALF, ONE, N = Fraction(1, 2), Fraction(1), Builder.n


def small(b: Builder, name: str, power: Fraction) -> int:
    """A vector of entries of size n^power."""
    return b.combine((Scaling.of(1, power), b.data(name, (N,))))


def of(b: Builder, var: int) -> Value:
    return read(b.build()).values[var]


def test_what_is_added_and_taken_away_leaves_no_trace() -> None:
    b = Builder()
    x, e = b.parameter("x", (N,)), small(b, "e", HALF)
    y = b.combine((1, x), (1, e))
    z = b.combine((1, y), (-1, e))
    assert of(b, y).size == HALF and of(b, z).size == 0


def test_a_part_that_is_left_counts_with_what_is_left_of_its_coefficient() -> None:
    b = Builder()
    x = b.parameter("x", (N,))
    larger = b.combine((Scaling.of(1) + Scaling.of(1, -HALF), x))
    assert of(b, b.combine((1, larger), (-1, x))).size == -HALF


def test_round_off_of_coefficients_is_no_rest() -> None:
    b = Builder()
    x = b.parameter("x", (N,))
    y = b.combine((0.1, x))
    z = b.combine((0.2, x))
    assert of(b, b.combine((1, y), (1, z), (-0.3, x))).size is None


def test_different_values_of_one_size_do_not_cancel() -> None:
    b = Builder()
    assert of(b, b.combine((1, b.parameter("x", (N,))), (-1, b.parameter("y", (N,))))).size == 0
    assert not Facts.of(b.build()).cancelled


def test_transposes_do_not_cancel() -> None:
    b = Builder()
    w = b.parameter("w", (N, N))
    turned = b.einsum("ij->ji", w)
    assert of(b, b.combine((1, w), (-1, turned))).size == 0


def trained(rate: Fraction = ONE) -> tuple[Builder, int, int]:
    """A function of a parameter after one step of size n^-rate, and before."""
    b = Builder()
    b.at(phase="forward")
    w, x = b.parameter("w", (N,)), b.data("x", (N,))
    before = b.apply("tanh", b.einsum("i,i->i", w, x))
    b.at(phase="optimizer")
    later = b.update("w", b.combine((1, w), (Scaling.of(1, -rate), b.data("g", (N,)))))
    b.at(phase="forward", step=1)
    return b, b.apply("tanh", b.einsum("i,i->i", later, x)), before


def test_a_function_less_that_of_initial_weights_has_no_base_and_its_change() -> None:
    """Linearised networks: `n^1/2 (f - f_0)`."""
    b, after, before = trained()
    value = of(b, b.combine((Scaling.of(1, HALF), after), (-Scaling.of(1, HALF), before)))
    assert value.size is None and value.moved == -HALF


@pytest.mark.parametrize("exponents", [Exponents(), Exponents(multiplier={"w": HALF}), Exponents(rate={"w": ONE})])
def test_it_cancels_at_all_exponents(exponents: Exponents) -> None:
    b, after, before = trained()
    difference = b.combine((1, after), (-1, before))
    orders = read(b.build(), exponents)
    assert orders.values[difference].size is None
    assert orders.values[difference].moved == orders.values[after].moved


def test_a_parameter_that_is_perturbed_and_restored_moves_by_its_step_alone() -> None:
    b = Builder()
    b.at(phase="optimizer")
    w, e = b.parameter("w", (N,)), small(b, "e", ONE)
    perturbed = b.combine((1, w), (1, e))
    restored = b.combine((1, perturbed), (-1, e))
    later = b.update("w", b.combine((1, restored), (Scaling.of(1, -ONE), b.data("g", (N,)))))
    value = of(b, later)
    assert (value.size, value.moved) == (0, -ONE)
    assert read(b.build(), Exponents(rate={"w": HALF})).values[later].moved == -ONE - HALF


def test_an_average_of_versions_moves_as_they_do() -> None:
    """Lookahead: slow weights go halfway to fast ones, which start again there."""
    b = Builder()
    b.at(phase="optimizer")
    w = b.parameter("w", (N,))
    fast = b.update("w", b.combine((1, w), (Scaling.of(1, -ONE), b.data("g", (N,)))))
    b.at(step=1)
    faster = b.combine((1, fast), (Scaling.of(1, -ONE), b.data("h", (N,))))
    later = b.update("w", b.combine((0.3, faster), (0.7, w)))
    value = of(b, later)
    assert (value.size, value.moved) == (0, -ONE)


def test_weight_decay_is_no_cancellation() -> None:
    b = Builder()
    b.at(phase="optimizer")
    w = b.parameter("w", (N,))
    later = b.update("w", b.combine((0.9, w), (Scaling.of(1, -ONE), b.data("g", (N,)))))
    assert of(b, later).moved == 0
    assert not Facts.of(b.build()).cancelled
