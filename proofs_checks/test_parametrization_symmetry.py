"""Different exponents can be the same network: (a + s, b - s, c - 2s) for SGD, (a + s, b - s, c - s) entrywise.

A weight enters as `W = n^-a w`. With `w' = n^s w` in its place and a + s for a, W is the same. The gradient for w' is
smaller by n^-s. So for w' to move n^s times as far, SGD needs a rate larger by n^2s. An optimizer that forgets the
gradient's size needs n^s. This holds at every finite width, layer by layer. So the orders must come out the same exactly,
though nobody told the reading. The values of the finite reading must be the same numbers. At width 16 every factor n^(k/4)
is a power of two, which multiplies floating-point numbers without rounding. There the values agree bit for bit.

Sources: for SGD, Tensor Programs IV (arXiv 2011.14522), with one s for all layers. For Adam, Everett et al. (arXiv
2407.05872), layer by layer.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Literal

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tpdyn.claims import theorems
from tpdyn.claims.theorems import Abc
from tpdyn.program.program import Program
from tpdyn.readings.finite import run
from tpdyn.readings.orders.reading import read
from tpdyn.testing.perceptrons import exponents, layer_names, mlp_program
from tpdyn.testing.strategies import abc_parametrizations

Optimizer = Literal["sgd", "sign", "adam"]
EXACT = 16
EXAMPLES = max(15, settings.default.max_examples // 5 if settings.default else 20)
QUARTERS = st.integers(-4, 4).map(lambda k: Fraction(k, 4))
HALF, ZERO = Fraction(1, 2), Fraction(0)


def shifted(point: Abc, shifts: tuple[Fraction, ...], power: int) -> Abc:
    """a + s, b - s, c - power * s, layer by layer."""
    return Abc(
        tuple(a + s for a, s in zip(point.a, shifts, strict=True)),
        tuple(b - s for b, s in zip(point.b, shifts, strict=True)),
        tuple(c - power * s for c, s in zip(point.c, shifts, strict=True)),
    )


def law(optimizer: Optimizer) -> int:
    """With which power of n^s the rate changes."""
    return 2 if optimizer == "sgd" else 1


@cache
def program_without_exponents(layers: int, optimizer: Optimizer) -> Program:
    return mlp_program(layers, "tanh", optimizer)


def orders(layers: int, optimizer: Optimizer, point: Abc) -> list[tuple[str, Fraction | None, Fraction | None]]:
    """Name, size and change of every value that has a name (activations and outputs)."""
    program = program_without_exponents(layers, optimizer)
    values = read(program, exponents(point, layer_names(layers))).values
    return [
        (f"{mark.name}@{mark.step}", values[mark.view.var].size, values[mark.view.var].moved) for mark in program.marks
    ]


def functions(layers: int, optimizer: Optimizer, point: Abc, shifts: tuple[Fraction, ...], width: int) -> list[Tensor]:
    """Every activation and output at that width, from weights that are the same up to the shifts."""
    program = mlp_program(layers, "tanh", optimizer, point=point)
    data = torch.Generator().manual_seed(0)
    leaves: dict[str, Tensor] = {}
    sizes = [5, *[width] * layers, 3]
    for layer, name in enumerate(layer_names(layers)):
        std = width ** -float(point.b[layer] + shifts[layer])  # of the weights before the shift
        drawn = torch.randn(sizes[layer + 1], sizes[layer], generator=data, dtype=torch.float64)
        leaves[name] = width ** float(shifts[layer]) * (std * drawn)
    for step in range(program.steps):
        leaves[f"x{step}"] = torch.randn(4, 5, generator=data, dtype=torch.float64)
        leaves[f"y{step}"] = torch.randn(4, 3, generator=data, dtype=torch.float64)
    values = run(program, width, leaves=leaves)
    return [values[mark.view.var] for mark in program.marks]


def draw_point(data: st.DataObject, layers: int, optimizer: Optimizer) -> tuple[Abc, tuple[Fraction, ...]]:
    point = data.draw(abc_parametrizations(layers, "sgd" if optimizer == "sgd" else "entrywise"))
    return point, tuple(data.draw(QUARTERS) for _ in range(layers + 1))


@pytest.mark.parametrize("optimizer", ["sgd", "sign", "adam"])
@pytest.mark.parametrize("layers", [1, 2, 3])
@given(data=st.data())
@settings(max_examples=EXAMPLES)
def test_shifted_exponents_have_the_same_orders(layers: int, optimizer: Optimizer, data: st.DataObject) -> None:
    point, shifts = draw_point(data, layers, optimizer)
    assert orders(layers, optimizer, point) == orders(layers, optimizer, shifted(point, shifts, law(optimizer)))


@pytest.mark.parametrize("optimizer", ["sgd", "sign"])
@pytest.mark.parametrize("layers", [1, 2])
@given(data=st.data())
@settings(max_examples=EXAMPLES)
def test_shifted_exponents_give_the_same_function_bit_for_bit(
    layers: int, optimizer: Optimizer, data: st.DataObject
) -> None:
    point, shifts = draw_point(data, layers, optimizer)
    other = shifted(point, shifts, law(optimizer))
    one = functions(layers, optimizer, point, (ZERO,) * (layers + 1), EXACT)
    two = functions(layers, optimizer, other, shifts, EXACT)
    for first, second in zip(one, two, strict=True):
        assert ((first == second) | (first.isnan() & second.isnan())).all()


@given(
    point=abc_parametrizations(2, "sgd").filter(lambda point: theorems.sgd(point).stable),
    s=QUARTERS,
    width=st.integers(5, 40),
)
@settings(max_examples=EXAMPLES)
@example(point=theorems.maximal_update(2), s=HALF, width=23)
def test_at_any_width_the_function_is_the_same_up_to_rounding(point: Abc, s: Fraction, width: int) -> None:
    shifts = (s,) * 3
    one = functions(2, "sgd", point, (ZERO,) * 3, width)
    two = functions(2, "sgd", shifted(point, shifts, 2), shifts, width)
    for first, second in zip(one, two, strict=True):
        # some 10^4 operations of 1e-16 each, and training can enlarge a difference: a wrong exponent is wrong by 5^(1/4)
        assert torch.allclose(first, second, rtol=1e-8, atol=1e-12 * float(first.abs().max()))


@given(data=st.data(), optimizer=st.sampled_from(["sgd", "entrywise"]))
@settings(max_examples=2 * EXAMPLES)
def test_the_theorems_themselves_have_the_symmetry(data: st.DataObject, optimizer: Literal["sgd", "entrywise"]) -> None:
    point = data.draw(abc_parametrizations(2, optimizer))
    s = data.draw(QUARTERS)
    if optimizer == "sgd":
        other = shifted(point, (s,) * 3, 2)
        assert theorems.sgd(point) == theorems.sgd(other)
    else:
        other = shifted(point, (s, -s, s), 1)
        assume(theorems.faithful(point))
        assert theorems.entrywise(point) == theorems.entrywise(other)
        assert theorems.faithful(other)


def test_parametrizations_that_papers_write_differently_are_the_same() -> None:
    standard = replace(theorems.standard(2), c=(ZERO, Fraction(1), Fraction(1)))
    assert shifted(standard, (ZERO, HALF, HALF), 2) == theorems.neural_tangent(2)
    assert orders(2, "sgd", standard) == orders(2, "sgd", theorems.neural_tangent(2))
    as_scaled_rates = Abc((ZERO, ZERO, ZERO), (ZERO, HALF, Fraction(1)), (Fraction(-1), ZERO, Fraction(1)))
    assert shifted(theorems.maximal_update(2), (HALF, ZERO, -HALF), 2) == as_scaled_rates
    assert orders(2, "sgd", as_scaled_rates) == orders(2, "sgd", theorems.maximal_update(2))


@pytest.mark.parametrize("optimizer", ["sgd", "sign"])
def test_the_wrong_power_for_the_rate_is_seen_in_orders_and_values(optimizer: Optimizer) -> None:
    point = theorems.maximal_update(2) if optimizer == "sgd" else theorems.maximal_update_adam(2)
    shifts = (HALF,) * 3
    wrong = shifted(point, shifts, 3 - law(optimizer))
    assert orders(2, optimizer, point) != orders(2, optimizer, wrong)
    one = functions(2, optimizer, point, (ZERO,) * 3, EXACT)
    two = functions(2, optimizer, wrong, shifts, EXACT)
    assert torch.equal(one[0], two[0])  # before training they are the same
    assert not torch.allclose(one[-1], two[-1], rtol=1e-2)
