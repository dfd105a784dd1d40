"""The dynamical dichotomy: a stable nontrivial parametrization learns features or follows a kernel, never both or neither.

Tensor Programs IV (arXiv 2011.14522) for SGD. Tensor Programs IVb (arXiv 2308.01814) for optimizers that normalise entry by
entry; there "kernel" is the operator regime. Two readings of the same points are compared: the theorem's exponent r, and
the orders of the recorded activations. For SGD there is a third, what following a kernel means. Then training agrees with
gradient descent on the function, with the tangent kernel of the initial network,

    f_t+1 = f_t - K (f_t - y),     K = sum over layers of rate_l * J_l J_l^T     (square loss, J_l at initialisation)

up to a part that vanishes as the width grows. With tanh and smooth functions: for ReLU and for linear networks the
theorems do not speak.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tpdyn.claims import theorems
from tpdyn.claims.statistics import OrderEstimate, estimate_order, judge
from tpdyn.claims.theorems import Abc
from tpdyn.program.program import Program
from tpdyn.regimes.predict import predict
from tpdyn.regimes.prediction import Prediction, Regime
from tpdyn.testing.perceptrons import exponents, layer_names, mlp_program
from tpdyn.testing.strategies import abc_parametrizations

Optimizer = Literal["sgd", "sign", "adam"]
QUICK = settings.default is not None and settings.default.max_examples == 25
EXAMPLES = 10 if QUICK else max(15, settings.default.max_examples // 5 if settings.default else 20)
HALF = Fraction(1, 2)


@cache
def program(layers: int, function: str, optimizer: Optimizer) -> Program:
    return mlp_program(layers, function, optimizer)


def predicted(layers: int, function: str, optimizer: Optimizer, point: Abc) -> Prediction:
    made = program(layers, function, optimizer)
    return predict(made, exponents=exponents(point, layer_names(layers)), remedy=False)


def family(optimizer: Optimizer) -> Literal["sgd", "entrywise"]:
    return "sgd" if optimizer == "sgd" else "entrywise"


def theorem(optimizer: Optimizer, point: Abc) -> theorems.Conclusion:
    return theorems.sgd(point) if optimizer == "sgd" else theorems.entrywise(point)


@pytest.mark.parametrize("optimizer", ["sgd", "sign", "adam"])
@pytest.mark.parametrize(("layers", "function"), [(1, "gelu"), (2, "tanh"), (3, "tanh")])
@given(data=st.data())
@settings(max_examples=EXAMPLES)
def test_a_stable_nontrivial_point_is_in_exactly_one_of_the_two_regimes(
    layers: int, function: str, optimizer: Optimizer, data: st.DataObject
) -> None:
    point = data.draw(abc_parametrizations(layers, family(optimizer), stable=True))
    expected = theorem(optimizer, point)
    assert expected.stable and expected.nontrivial
    found = predicted(layers, function, optimizer, point)
    # each hidden layer's change, at the last step: 0 is feature learning, all below 0 is the kernel regime
    changes = [found.order(f"h{layer + 1}") for layer in range(layers)]
    assert all(change is not None and change <= 0 for change in changes)
    assert found.order("output") == 0
    learns = any(change == 0 for change in changes)
    assert found.regime is (Regime.FEATURE_LEARNING if learns else Regime.KERNEL)
    assert found.regime is expected.regime


@pytest.mark.parametrize("optimizer", ["sgd", "sign"])
@given(data=st.data())
@settings(max_examples=2 * EXAMPLES)
def test_every_point_has_one_regime_and_only_stable_nontrivial_ones_have_one_of_the_two(
    optimizer: Optimizer, data: st.DataObject
) -> None:
    point = data.draw(
        abc_parametrizations(2, family(optimizer)).filter(lambda p: theorems.faithful(p) and not p.vanishing)
    )
    expected = theorem(optimizer, point)
    found = predicted(2, "tanh", optimizer, point).regime
    assert (found in (Regime.KERNEL, Regime.FEATURE_LEARNING)) == (expected.stable and expected.nontrivial)


@pytest.mark.parametrize("optimizer", ["sgd", "sign"])
@given(data=st.data())
@settings(max_examples=EXAMPLES)
def test_all_features_are_learned_at_some_point_where_the_deepest_layer_learns(
    optimizer: Optimizer, data: st.DataObject
) -> None:
    """The changes of deeper layers are never smaller: what one layer learns the next ones see."""
    point = data.draw(abc_parametrizations(3, family(optimizer), stable=True))
    found = predicted(3, "tanh", optimizer, point)
    changes = [found.order(f"h{layer + 1}") for layer in range(3)]
    assert changes == sorted(changes, key=lambda change: change if change is not None else Fraction(-99))


# -- what following a kernel means --------------------------------------------------------------------------------------

WIDTHS, STEPS, RATE = (64, 128, 256, 512), 3, 0.2


def distance_from_kernel_descent(point: Abc, width: int, seed: int) -> float:
    """|f - f_kernel| / |f - f_0| after `STEPS` steps: a network of two hidden layers, tanh, the square loss."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, y = normal(4, 5) / 5**0.5, normal(4, 2)
    sizes = (5, width, width, 2)
    initial = [width ** -float(b) * normal(j, i) for i, j, b in zip(sizes, sizes[1:], point.b, strict=False)]
    multipliers = [width ** -float(a) for a in point.a]
    rates = [RATE * width ** -float(c) for c in point.c]

    def network(weights: list[torch.Tensor]) -> torch.Tensor:
        h = x
        for weight, multiplier in zip(weights[:-1], multipliers, strict=False):
            h = torch.tanh(multiplier * (h @ weight.T))
        return multipliers[-1] * (h @ weights[-1].T)

    weights = [weight.clone().requires_grad_() for weight in initial]
    first = network(weights)
    kernel = torch.zeros(first.numel(), first.numel(), dtype=torch.float64)
    jacobian = [torch.autograd.grad(entry, weights, retain_graph=True) for entry in first.flatten()]
    for layer, rate in enumerate(rates):
        rows = torch.stack([gradients[layer].flatten() for gradients in jacobian])
        kernel += rate * rows @ rows.T
    first = first.detach()
    descent = first.flatten()
    for _ in range(STEPS):
        descent = descent - kernel @ (descent - y.flatten())
        loss = 0.5 * (network(weights) - y).square().sum()
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for weight, gradient, rate in zip(weights, gradients, rates, strict=True):
                weight -= rate * gradient
    last = network(weights).detach()
    return float((last.flatten() - descent).norm() / (last - first).norm())


def distance(point: Abc, seeds: int = 6) -> OrderEstimate:
    """The order of that distance."""
    values = np.array([[distance_from_kernel_descent(point, n, seed) for seed in range(seeds)] for n in WIDTHS])
    found = estimate_order(WIDTHS, values)
    assert found is not None
    return found


@given(point=abc_parametrizations(2, "sgd", denominator=2, stable=True))
@settings(max_examples=2 if QUICK else max(5, EXAMPLES // 3))
@example(point=theorems.neural_tangent(2))
@example(point=theorems.standard(2, rate=1))
@example(point=theorems.maximal_update(2))
def test_training_follows_the_initial_kernel_exactly_when_features_are_frozen(point: Abc) -> None:
    found = distance(point)
    if theorems.sgd(point).regime is Regime.KERNEL:
        # of order -r at most: margin 1/4, each order at least 1/2 from the next
        assert judge(max(theorems.sgd(point).changes), found, at_most=True) != "disagrees", found
        assert judge(Fraction(0), found) != "agrees", found
    else:
        assert judge(Fraction(0), found) != "disagrees", found
        assert judge(-HALF, found, at_most=True) != "agrees", found


def test_named_parametrizations_are_told_apart_by_their_distance_from_kernel_descent() -> None:
    kernel, features = (distance(point, 16) for point in (theorems.neural_tangent(2), theorems.maximal_update(2)))
    assert judge(-HALF, kernel, at_most=True) == "agrees" and judge(Fraction(0), kernel) == "disagrees", kernel
    assert judge(Fraction(0), features) == "agrees" and judge(-HALF, features, at_most=True) == "disagrees", features
