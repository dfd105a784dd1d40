"""Are vectors of unit length found, however they are normalised, and what is made of them?"""

from __future__ import annotations

from fractions import Fraction

import pytest

from tpdyn.exponents import Scaling
from tpdyn.facts.facts import Facts
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Operand, Slice

HALF, N = Fraction(1, 2), Builder.n


def normalised(how: str, *, mean: bool = False) -> tuple[Builder, int, int]:
    """`z / |z|` for three rows of a wide embedding. mean: over the root of the mean square instead."""
    b = Builder()
    b.at(phase="forward")
    z = b.einsum("bi,oi->bo", b.data("x", (3, 5)), b.parameter("W", (N, 5)))
    scale = Scaling.of(1, -1 if mean else 0)
    square = b.einsum("bo->b", b.einsum("bo,bo->bo", z, z), scale=scale) if how == "pow" else None
    square = b.einsum("bo,bo->b", z, z, scale=scale) if square is None else square
    match how:
        case "rsqrt":
            inverse = b.apply("rsqrt", b.combine((1, square), constant=1e-8, epsilon=True))
        case "guarded":
            length = b.apply("maximum", b.apply("sqrt", square), b.constant("eps", 1e-12, ()))
            inverse = b.apply("reciprocal", length)
        case _:
            inverse = b.apply("reciprocal", b.apply("sqrt", square))
    return b, z, b.einsum("bo,b->bo", z, inverse)


@pytest.mark.parametrize("how", ["plain", "pow", "rsqrt", "guarded"])
def test_a_vector_over_its_length_counts_as_the_root_of_n_times_itself(how: str) -> None:
    b, _, unit = normalised(how)
    assert Facts.of(b.build()).unit_lengths == {unit: HALF}


def test_what_is_divided_by_the_root_of_a_mean_has_entries_of_order_0_already() -> None:
    b, _, _ = normalised("plain", mean=True)
    assert Facts.of(b.build()).unit_lengths == {}


def test_another_vector_over_that_length_has_another_size() -> None:
    b, z, unit = normalised("plain")
    assert unit
    other = b.apply("tanh", z)
    square = b.einsum("bo,bo->b", z, z)
    quotient = b.einsum("bo,b->bo", other, b.apply("rsqrt", square))
    assert quotient not in Facts.of(b.build()).unit_lengths


def test_parts_multiples_and_products_count_likewise_and_functions_do_not() -> None:
    b, _, unit = normalised("plain")
    part = b.add(Slice.of(Operand(unit, (0, 1)), 0, 0, 1, 2), (Scaling.of(2), Scaling.of(1, 1)))
    cold = b.combine((10, unit))
    large = b.combine((Scaling.of(1, HALF), unit))
    product = b.einsum("bo,bo->bo", unit, unit)
    b.apply("tanh", unit)
    b.einsum("bo,co->bc", unit, unit)
    facts = Facts.of(b.build())
    assert facts.unit_lengths == {unit: HALF, part: HALF, cold: HALF, product: 2 * HALF}
    assert large not in facts.unit_lengths


def test_lengths_along_a_dim_that_does_not_grow_are_none_of_this() -> None:
    b = Builder()
    b.at(phase="forward")
    z = b.parameter("z", (N, 3))
    b.einsum("oc,o->oc", z, b.apply("rsqrt", b.einsum("oc,oc->o", z, z)))
    assert Facts.of(b.build()).unit_lengths == {}
