"""Entrywise optimizers in the operator regime train as if the Jacobian of the start were frozen; otherwise not.

Statement. An optimizer that applies a function Q to each entry of the gradient (sign descent, Adam) trains an MLP. The
point is stable, faithful and nontrivial. If r > 0, the network's function follows the neural tangent operator of its
initialisation,

    f_(t+1) = f_t - sum over layers of rate_l J_l Q(J_l^T (f_t - y)),        J_l the Jacobian at initialisation, frozen

up to a part that vanishes as n grows (Tensor Programs IVb, arXiv 2308.01814: the operator regime). It is not linear in f_t - y,
so it is not a kernel descent, whatever the kernel. If r = 0 (feature learning), f leaves that path by order 0.

Statistical: |f - f_operator| / |f - f_0| after three steps of sign descent at widths 64 to 512. Its order is estimated by
`tpdyn.claims.statistics`, at points drawn by Hypothesis, and for NTP and muP. A point with r > 0 must not be judged of
order 0. One with r = 0 must not be judged of order -1/2 or less. False alarms and power of the judge are those of
`test_false_alarm_and_power.py`. For the two named points the judge decides, and rejects each for the other. Exact: doubling
a residual doubles what a kernel does to it, and leaves unchanged what sign descent does.
"""

from __future__ import annotations

import os
from fractions import Fraction

import numpy as np
import torch
from hypothesis import example, given, settings

from tpdyn.claims import theorems
from tpdyn.claims.statistics import OrderEstimate, estimate_order, judge
from tpdyn.claims.theorems import Abc
from tpdyn.regimes.prediction import Regime
from tpdyn.testing.strategies import abc_parametrizations

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "")
EXAMPLES = {"quick": 1, "thorough": 60}.get(PROFILE, 12)
WIDTHS, STEPS, RATE = (64, 128, 256, 512), 3, 0.6
HALF = Fraction(1, 2)
TANGENT = theorems.neural_tangent(2, rate=[HALF, Fraction(1), HALF])


class Network:
    """Two hidden layers, tanh, two outputs, four examples; sums of squares as the loss."""

    def __init__(self, point: Abc, width: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.x, self.y = normal(4, 5) / 5**0.5, normal(4, 2)
        sizes = (5, width, width, 2)
        self.weights = [
            (width ** -float(b) * normal(j, i)).requires_grad_()
            for i, j, b in zip(sizes, sizes[1:], point.b, strict=False)
        ]
        self.multipliers = [width ** -float(a) for a in point.a]
        self.rates = [RATE * width ** -float(c) for c in point.c]

    def outputs(self) -> torch.Tensor:
        """Four examples, two outputs."""
        h = self.x
        for weight, multiplier in zip(self.weights[:-1], self.multipliers, strict=False):
            h = torch.tanh(multiplier * (h @ weight.T))
        return self.multipliers[-1] * (h @ self.weights[-1].T)

    def jacobians(self) -> list[torch.Tensor]:
        """By layer, (outputs, entries)."""
        rows = [torch.autograd.grad(entry, self.weights, retain_graph=True) for entry in self.outputs().flatten()]
        return [torch.stack([row[layer].flatten() for row in rows]) for layer in range(len(self.weights))]

    def step(self) -> None:
        """Of sign descent."""
        loss = 0.5 * (self.outputs() - self.y).square().sum()
        gradients = torch.autograd.grad(loss, self.weights)
        with torch.no_grad():
            for weight, gradient, rate in zip(self.weights, gradients, self.rates, strict=True):
                weight -= rate * gradient.sign()


def operated(jacobians: list[torch.Tensor], rates: list[float], residual: torch.Tensor) -> torch.Tensor:
    """What a step of sign descent does to the outputs of a linearised network."""
    return torch.stack([rate * j @ (j.T @ residual).sign() for j, rate in zip(jacobians, rates, strict=True)]).sum(0)


def distance(point: Abc, width: int, seed: int) -> float:
    network = Network(point, width, seed)
    first = network.outputs().detach()
    jacobians = network.jacobians()
    path = first.flatten()
    for _ in range(STEPS):
        path = path - operated(jacobians, network.rates, path - network.y.flatten())
        network.step()
    last = network.outputs().detach()
    return float((last.flatten() - path).norm() / (last - first).norm())


def order(point: Abc, seeds: int = 6) -> OrderEstimate:
    found = estimate_order(WIDTHS, np.array([[distance(point, n, seed) for seed in range(seeds)] for n in WIDTHS]))
    assert found is not None
    return found


@given(point=abc_parametrizations(2, "entrywise", 2, stable=True))
@settings(max_examples=EXAMPLES)
@example(point=theorems.standard(2, rate=Fraction(3, 2)))
def test_training_follows_the_initial_operator_exactly_when_features_are_frozen(point: Abc) -> None:
    found = order(point)
    if theorems.entrywise(point).regime is Regime.KERNEL:
        assert judge(Fraction(0), found) != "agrees", found
    else:
        assert judge(-HALF, found, at_most=True) != "agrees", found


def test_ntp_and_mup_are_told_apart_by_their_distance_from_the_initial_operator() -> None:
    operator, features = order(TANGENT, 16), order(theorems.maximal_update_adam(2), 16)
    print(f"\nNTP {operator}\nmuP {features}", end="")
    assert judge(Fraction(0), operator) == "disagrees", operator
    assert judge(Fraction(0), features) == "agrees", features
    assert judge(-HALF, features, at_most=True) == "disagrees", features


def test_the_operator_is_no_kernel() -> None:
    network = Network(TANGENT, 64, 0)
    jacobians, residual = network.jacobians(), torch.tensor([1.0, -2, 3, 1, -1, 2, 1, 1], dtype=torch.float64)
    once, twice = (operated(jacobians, network.rates, c * residual) for c in (1.0, 2.0))
    torch.testing.assert_close(once, twice)
