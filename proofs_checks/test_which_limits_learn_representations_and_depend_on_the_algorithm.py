"""The objection: an infinitely wide network cannot learn representations, and its limit depends on the order of the minibatches.

Both halves were held against the very idea of an infinite-width limit. Which of them is true depends on the limit:

                                            kernel limit (NTP)               feature-learning limit (muP)
    hidden representations change           no                               yes
    function after a few steps depends on   rate, order, algorithm           rate, order, algorithm
    function at the end of training         one (ridgeless regression with   depends on rate, order, momentum:
      (zero loss) by SGD                      the tangent kernel), whatever    the minimum that is found is chosen
                                              rate, order, momentum            by the path
    ... by sign descent                     another one: depends on the      yes
                                              algorithm even in a frozen limit

Statement, kernel limit. f_(t+1) = f_t - rate K(., batch) (f_t(batch) - y). So f_t - f_0 is always in the span of K(., X).
One element of it interpolates: f_0 + K(., X) K(X, X)^-1 (y - f_0(X)).
Sources: Tensor Programs II (arXiv 2006.14548) for the kernel. Tensor Programs IV (arXiv 2011.14522) for the dichotomy and
the feature-learning limit, whose update is a program of its own. IVb (arXiv 2308.01814) for entrywise optimizers.

Exact: regimes and orders of changes of both scripts.
Up to round-off: Kaczmarz steps in any order, at any stable rate, with and without momentum, end at the same predictions
(1e-6). After one epoch they differ. With the Jacobian of the start frozen, sign descent interpolates too, and ends
elsewhere. By the error of the limit (`tpdyn.limit`, of a written program with one hidden layer in muP). The kernel of
features moves by more than 10 errors. Predictions at a test input are compared once training inputs are fitted. They differ
between two orders, between SGD with and without momentum, and between two rates. The difference is more than 5 times the
errors and 5 times what is left at the training inputs. It can fail: another seed of the limit gives the same predictions
within the error. So what is found to differ is not noise. Under NTP orders of changes are negative, where muP has 0.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import FEATURES, TOKENS, Wide, inputs
from numpy.typing import NDArray

import tpdyn
from tpdyn.claims import theorems
from tpdyn.exponents import Scaling
from tpdyn.limits.limit import Limit
from tpdyn.program.builder import Builder
from tpdyn.regimes.predict import predict
from tpdyn.regimes.prediction import Regime
from tpdyn.testing.perceptrons import mlp_program

QUICK = os.environ.get("HYPOTHESIS_PROFILE", "") == "quick"
POINTS = 2**11 if QUICK else 2**13
EXAMPLES = {"quick": 15, "thorough": 500}.get(os.environ.get("HYPOTHESIS_PROFILE", ""), 60)
Numbers = NDArray[np.float64]

# -- do representations change? ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_representations_change_in_one_of_the_two_limits(layers: int) -> None:
    for point, learns in ((theorems.neural_tangent(layers), False), (theorems.maximal_update(layers), True)):
        found = predict(mlp_program(layers, point=point), remedy=False)
        assert found.regime is (Regime.FEATURE_LEARNING if learns else Regime.KERNEL)
        for layer in range(layers):
            assert found.order(f"h{layer + 1}", "size") == 0
            change = found.order(f"h{layer + 1}")
            assert change is not None and (change == 0 if learns else change < 0)


# -- the kernel limit ------------------------------------------------------------------------------------------------------


@cache
def kernel() -> tuple[Numbers, Numbers]:
    """The tangent kernel of a network on four training inputs, and of two test inputs against them."""
    wide = Wide(("dense",), "gelu", 1.5)
    x = inputs(6, seed=1)
    whole = tpdyn.ntk(wide.make, x).double().numpy()
    assert x.shape == (6, TOKENS, FEATURES)
    return whole[:4, :4], whole[4:, :4]


TARGETS = np.array([1.0, -1.0, 0.5, 2.0])


def trained(order: Sequence[int], rate: float, epochs: int, momentum: float = 0.0) -> tuple[Numbers, float]:
    """SGD in function space, one example after the other: test predictions and the training error.

    The dual coefficients and their speed move linearly, so an epoch is a matrix, and many of them its power.
    """
    k, k_test = kernel()
    scale = np.diag(k).max()
    epoch = np.eye(9)  # of (coefficients, speeds, 1)
    for i in order:
        step = np.eye(9)
        step[4:8, 4:8] *= momentum
        step[4 + i, :4], step[4 + i, 8] = k[i] / scale, -TARGETS[i]
        step[:4] -= rate * step[4:8]
        epoch = step @ epoch
    dual = (np.linalg.matrix_power(epoch, epochs) @ np.array([0.0] * 8 + [1.0]))[:4] / scale
    return k_test @ dual, float(np.abs(k @ dual - TARGETS).max())


@given(order=st.permutations(range(4)), rate=st.sampled_from([0.3, 0.6, 1.0]), momentum=st.sampled_from([0.0, 0.3]))
@settings(max_examples=EXAMPLES)
def test_in_the_kernel_limit_the_end_of_training_is_one_function_whatever_the_path(
    order: Sequence[int], rate: float, momentum: float
) -> None:
    k, k_test = kernel()
    found, error = trained(order, rate, 2**20, momentum)
    assert error < 1e-8
    np.testing.assert_allclose(found, k_test @ np.linalg.solve(k, TARGETS), atol=1e-6)


def test_in_the_kernel_limit_too_a_few_steps_depend_on_the_order() -> None:
    one, other = (trained(order, 1.0, 1)[0] for order in ((0, 1, 2, 3), (3, 2, 1, 0)))
    assert np.abs(one - other).max() > 1e-2


def test_in_a_frozen_limit_too_the_end_of_training_depends_on_the_algorithm() -> None:
    """Features frozen, that is a linear model with the Jacobian of the start: SGD ends at the kernel's function, sign descent
    at another one, whose distance does not vanish with the width."""
    x = inputs(6, seed=1)
    for width in (128, 512):
        torch.manual_seed(0)
        model = Wide((), "gelu", 1.5).make(width)
        rows = [torch.autograd.grad(f, list(model.parameters()), retain_graph=True) for f in model(x).flatten()]
        j = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows]).double().numpy()
        k = j @ j.T
        ridgeless = k[4:, :4] @ np.linalg.solve(k[:4, :4], TARGETS)
        w = np.zeros(j.shape[1])
        for t in range(20000):  # steps that shrink, and sum up to more than is needed
            w -= 0.05 / (1 + t / 20) / width**0.5 * np.sign(j[:4].T @ (j[:4] @ w - TARGETS))
        assert np.abs(j[:4] @ w - TARGETS).max() < 0.02
        print(f"\nwidth {width}: SGD {ridgeless}, sign descent {j[4:] @ w}", end="")
        assert np.abs(j[4:] @ w - ridgeless).max() > 0.1


# -- the feature-learning limit ------------------------------------------------------------------------------------------

INPUTS, OUTPUTS, TEST, STEPS = ((1.0, 0.2), (-0.3, 1.0)), (1.5, -1.5), (0.8, 0.9), 36
BLOCKS = "000000111111" + "01" * 12


@cache
def limit(order: str, momentum: float = 0.0, rate: float = 0.5, steps: int = STEPS, seed: int = 0) -> Limit:
    """f = v . tanh(U x) in muP, trained on one of two examples a step, as `order` says, over and over.

    Outputs of the last step: at both training inputs and at the test input. Modules: features "first" and "last".
    """
    b, n = Builder(), Builder.n
    x = b.data("x", (3, 2))
    b.parameter("U", (n, 2))
    b.parameter("v", (n,), std=Scaling.of(1, -1))
    examples = [b.data(f"x{k}", (2,)) for k in range(2)]
    speeds: dict[str, int] = {}
    for step in range(steps):
        k = int(order[step % len(order)])
        b.at(step=step, phase="forward")
        h = b.einsum("ni,i->n", b.now("U"), examples[k])
        z = b.apply("tanh", h)
        f = b.einsum("n,n->", b.now("v"), z)
        r = b.combine((1, f), constant=-OUTPUTS[k])
        if step in (0, steps - 1):
            features = b.apply("tanh", b.einsum("bi,ni->bn", x, b.now("U")))
            b.mark("module", "features", features)
            b.mark("output", "f", b.einsum("bn,n->b", features, b.now("v")))
        b.at(phase="backward")
        dh = b.einsum("n,n->n", b.einsum(",n->n", r, b.now("v")), b.apply("tanh'", h))
        gradients = {"U": b.einsum("n,i->ni", dh, examples[k]), "v": b.einsum(",n->n", r, z)}
        b.at(phase="optimizer")
        for name, power in (("U", 1), ("v", -1)):
            speed = gradients[name]
            if momentum and name in speeds:
                speed = b.combine((momentum, speeds[name]), (1, speed))
            speeds[name] = speed
            b.update(name, b.combine((1, b.now(name)), (Scaling.of(-rate, power), speed)))
    program = b.build(widths=(16, 24))
    leaves = {"x": torch.tensor([*INPUTS, TEST], dtype=torch.float64)}
    leaves |= {f"x{k}": torch.tensor(INPUTS[k], dtype=torch.float64) for k in range(2)}
    return tpdyn.limit(program, POINTS, 3, leaves=leaves, seed=seed)


def ends(found: Limit, steps: int = STEPS) -> tuple[Numbers, float, float]:
    """Predictions at the test input, their error, and the largest error at training inputs."""
    last = found.value("f", steps - 1)
    training = (last.value[:2] - torch.tensor(OUTPUTS)).abs().max()
    return last.value[2:].numpy(), float(last.error[2]), float(training)


def test_in_the_feature_learning_limit_the_kernel_of_features_moves() -> None:
    found = limit("01")
    first, last = (found.kernels["features", step] for step in (0, STEPS - 1))
    moved = float((last.value - first.value).abs().max())
    assert moved > 10 * float((first.error + last.error).max())
    assert moved > 0.05


def test_in_the_feature_learning_limit_the_end_of_training_depends_on_order_momentum_and_rate() -> None:
    plain, error, loss = ends(limit("01"))
    again, _, _ = ends(limit("01", seed=9))
    assert loss < 2e-3
    assert np.abs(plain - again).max() < 2 * error + 1e-9
    others: dict[str, dict[str, Any]] = {
        "one example six times, then the other, then in turn": {"order": BLOCKS},
        "momentum": {"order": "01", "momentum": 0.5, "rate": 0.25},
        "rate": {"order": "01", "rate": 1.0},
    }
    for name in [*others][: 1 if QUICK else 3]:
        found, its, training = ends(limit(**others[name]))
        print(
            f"\n{name}: {found[0]:+.4f} against {plain[0]:+.4f}, errors {its:.4f}, training error {training:.4f}",
            end="",
        )
        assert training < 5e-3
        assert np.abs(found - plain).max() > 5 * max(error, its, training)
