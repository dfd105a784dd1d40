"""The maximal update parametrization is stable at any depth and learns in every layer; the standard one is not stable.

Tensor Programs IV (arXiv 2011.14522) for SGD, IVb (arXiv 2308.01814) for Adam and sign descent. Under the standard
parametrization a constant learning rate blows up. The largest rate that does not, n^-1 for SGD, freezes the features. What
is maximal in the maximal update parametrization: a larger rate in any layer is unstable. A smaller one freezes that layer's
own update. The orders are checked exactly, on programs written by hand, and on values at growing widths.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tpdyn.claims import theorems
from tpdyn.claims.statistics import CROSSOVER, GROWING_CROSSOVER, OrderEstimate, estimate_order, judge
from tpdyn.claims.theorems import Abc
from tpdyn.program.program import Program
from tpdyn.readings.finite import run
from tpdyn.readings.orders.reading import read
from tpdyn.regimes.predict import predict
from tpdyn.regimes.prediction import Prediction, Regime
from tpdyn.testing.perceptrons import exponents, layer_names, mlp_program

Optimizer = Literal["sgd", "sign", "adam"]
EXAMPLES = max(15, settings.default.max_examples // 5 if settings.default else 20)
OPTIMIZERS: tuple[Optimizer, ...] = ("sgd", "sign", "adam")
ZERO, HALF, ONE = Fraction(0), Fraction(1, 2), Fraction(1)
ABOVE = st.integers(1, 8).map(lambda k: Fraction(k, 4))


@cache
def program(layers: int, function: str, optimizer: Optimizer) -> Program:
    return mlp_program(layers, function, optimizer)


def predicted(layers: int, function: str, optimizer: Optimizer, point: Abc) -> Prediction:
    made = program(layers, function, optimizer)
    return predict(made, exponents=exponents(point, layer_names(layers)), remedy=False)


def maximal(layers: int, optimizer: Optimizer) -> Abc:
    return theorems.maximal_update(layers) if optimizer == "sgd" else theorems.maximal_update_adam(layers)


def own_updates(layers: int, function: str, optimizer: Optimizer, point: Abc) -> list[Fraction | None]:
    """The order of `dW x` in the last step, layer by layer, readout last."""
    made = program(layers, function, optimizer)
    found = read(made, exponents(point, layer_names(layers))).contributions
    last = made.steps - 1
    return [
        max((c.order for c in found if c.parameter == name and c.step == last and c.order is not None), default=None)
        for name in layer_names(layers)
    ]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("function", ["tanh", "gelu", "relu"])
@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_mup_learns_features_in_every_layer_at_any_depth(layers: int, function: str, optimizer: Optimizer) -> None:
    found = predicted(layers, function, optimizer, maximal(layers, optimizer))
    assert found.regime is Regime.FEATURE_LEARNING
    assert all(found.order(f"h{layer + 1}") == 0 for layer in range(layers))
    assert found.order("output") == 0


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_mup_updates_every_layer_maximally(layers: int, optimizer: Optimizer) -> None:
    assert own_updates(layers, "tanh", optimizer, maximal(layers, optimizer)) == [ZERO] * (layers + 1)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@given(layers=st.integers(1, 3), data=st.data(), more=ABOVE)
@settings(max_examples=EXAMPLES)
def test_a_larger_rate_in_any_layer_of_mup_is_unstable_and_a_smaller_one_freezes_its_update(
    optimizer: Optimizer, layers: int, data: st.DataObject, more: Fraction
) -> None:
    layer = data.draw(st.integers(0, layers))
    point = maximal(layers, optimizer)

    def changed(by: Fraction) -> Abc:
        return replace(point, c=tuple(c + by if k == layer else c for k, c in enumerate(point.c)))

    assert predicted(layers, "tanh", optimizer, changed(-more)).regime is Regime.UNSTABLE
    assert predicted(layers, "tanh", optimizer, changed(more)).regime is not Regime.UNSTABLE
    updates = own_updates(layers, "tanh", optimizer, changed(more))
    assert updates[layer] is not None and updates[layer] < 0
    assert all(update == 0 for k, update in enumerate(updates) if k != layer)


@given(layers=st.integers(1, 3), c=st.integers(-4, 10).map(lambda k: Fraction(k, 4)))
@settings(max_examples=EXAMPLES)
@example(layers=2, c=ZERO)
@example(layers=2, c=Fraction(3, 4))
@example(layers=2, c=ONE)
def test_sp_with_sgd_is_unstable_unless_its_rate_shrinks_like_1_over_n_and_then_it_is_a_kernel(
    layers: int, c: Fraction
) -> None:
    found = predicted(layers, "tanh", "sgd", theorems.standard(layers, rate=c)).regime
    expected = Regime.UNSTABLE if c < 1 else Regime.KERNEL if c == 1 else Regime.TRIVIAL
    assert found is expected


@pytest.mark.parametrize("optimizer", ["sign", "adam"])
@given(layers=st.integers(1, 3), c=st.integers(2, 10).map(lambda k: Fraction(k, 4)))
@settings(max_examples=EXAMPLES)
def test_sp_with_adam_needs_a_small_rate_too_and_does_not_learn_features_with_more_than_one_layer(
    optimizer: Optimizer, layers: int, c: Fraction
) -> None:
    """c >= 1/2 = b_out, where the theorem holds (the readout's initial entries outweigh its updates)."""
    point = theorems.standard(layers, rate=c)
    found = predicted(layers, "tanh", optimizer, point).regime
    assert found is theorems.entrywise(point).regime
    assert found is not Regime.FEATURE_LEARNING
    assert (found is Regime.UNSTABLE) == (c < (1 if layers == 1 else Fraction(3, 2)))


# -- values ---------------------------------------------------------------------------------------------------------------

WIDTHS, SEEDS = (64, 128, 256, 512), 8


def change_of_the_output(point: Abc, optimizer: Optimizer, step: int, grows: bool) -> OrderEstimate:
    """The measured order of the output's change after that many steps: two hidden layers, float64."""
    made = mlp_program(2, "tanh", optimizer, steps=step + 1, point=point, rate=0.02)
    output = next(m.view.var for m in made.marks if m.name == "output" and m.step == step)
    sizes = np.zeros((len(WIDTHS), SEEDS))
    for seed in range(SEEDS):
        data = torch.Generator().manual_seed(seed)
        x = torch.randn(4, 5, generator=data, dtype=torch.float64) / 5**0.5
        y = torch.randn(4, 3, generator=data, dtype=torch.float64)
        leaves = {f"{name}{t}": value for t in range(step + 1) for name, value in (("x", x), ("y", y))}
        for k, width in enumerate(WIDTHS):
            trained, base = (run(made, width, leaves=leaves, seed=seed, base=b)[output] for b in (False, True))
            sizes[k, seed] = float((trained - base).abs().mean())
    found = estimate_order(WIDTHS, sizes, crossover=GROWING_CROSSOVER if grows else CROSSOVER)
    assert found is not None
    return found


@pytest.mark.parametrize("optimizer", ["sgd", "sign"])
def test_the_output_of_mup_moves_alike_at_every_width(optimizer: Optimizer) -> None:
    found = change_of_the_output(maximal(2, optimizer), optimizer, step=2, grows=False)
    assert judge(ZERO, found) == "agrees", found
    assert judge(HALF, found) == "disagrees" and judge(-HALF, found) == "disagrees", found


@pytest.mark.parametrize("optimizer", ["sgd", "sign"])
def test_the_output_of_sp_moves_more_the_wider_the_network(optimizer: Optimizer) -> None:
    order = predicted(2, "tanh", optimizer, theorems.standard(2)).rows()
    step = 1
    expected = next(row.change for row in order if row.kind == "output" and row.step == step)
    assert expected is not None and expected > 0
    found = change_of_the_output(theorems.standard(2), optimizer, step, grows=True)
    assert judge(expected, found) != "disagrees", found
    assert judge(ZERO, found) == "disagrees", found
