"""Kinks keep the symmetry that they have, and entrywise functions of random weights stay random.

Each script is a perceptron under NTP with one step between two forward passes, which is KERNEL whatever the function. Each
was once read as UNSTABLE, by +1/2 or more. There were three reasons. Kinks lost their parity. Functions without Taylor
coefficients at zero were of order 0 there. Nothing was known of a function of a random matrix. Beside each the measured
slopes: no output grows.
"""

from collections.abc import Callable

import pytest
import torch
from growth import measured
from torch import Tensor, nn
from torch.nn import functional as F

import tpdyn
from tpdyn.regimes.prediction import Regime

Function = Callable[[Tensor], Tensor]


def same(x: Tensor) -> Tensor:
    return x


def straight_through(f: Function) -> Function:
    return lambda x: x + (f(x) - x).detach()


class Scaled(nn.Linear):
    """`fan_in^-1/2 f(W) x`."""

    def __init__(self, inputs: int, outputs: int, of_weight: Function = same) -> None:
        super().__init__(inputs, outputs, bias=False)
        nn.init.normal_(self.weight)
        self.of_weight = of_weight

    def forward(self, x: Tensor) -> Tensor:
        """The product, scaled."""
        return F.linear(x, self.of_weight(self.weight)) * self.in_features**-0.5


def script(
    function: Function, of_weight: Function = same, clip: float = 0.0, rate: float = 0.2
) -> Callable[[int], None]:
    def train(width: int) -> None:
        data = torch.Generator().manual_seed(0)
        x, y = torch.randn(4, 5, generator=data), torch.randn(4, 3, generator=data)
        first, second, last = Scaled(5, width), Scaled(width, width, of_weight), Scaled(width, 3)
        parameters = [first.weight, second.weight, last.weight]
        optimizer = torch.optim.SGD(parameters, lr=rate)
        while True:
            optimizer.zero_grad()
            out = last(function(second(function(first(x)))))
            (out - y).square().mean().backward()
            if clip:
                nn.utils.clip_grad_value_(parameters, clip)
            optimizer.step()

    return train


class Rounded(torch.autograd.Function):
    """Multiples of 1/16, with the gradient of the identity."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:  # noqa: D102
        return torch.round(x * 16) / 16

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]  # noqa: D102
        return gradient


def rounded(x: Tensor) -> Tensor:
    made: Tensor = Rounded.apply(torch.tanh(x))
    return made


def rounded_weights(w: Tensor) -> Tensor:
    """Eight bits over three deviations."""
    step = 3 * w.detach().std() / 127
    return torch.clamp(torch.round(w / step), -127, 127) * step


CASES = {
    "relu": script(F.relu),
    "leaky relu": script(F.leaky_relu),
    "hardswish": script(F.hardswish),
    "relu squared": script(lambda x: F.relu(x) ** 2, rate=0.01),
    "threshold": script(lambda x: F.threshold(x, 0.1, 0.0)),
    "tanhshrink": script(F.tanhshrink),
    "maximum with a tensor": script(lambda x: torch.maximum(x, torch.full_like(x, 0.2))),
    "elu": script(F.elu),
    "selu": script(F.selu),
    "celu": script(lambda x: F.celu(x, 2.0)),
    "relu6": script(F.relu6),
    "softshrink": script(F.softshrink),
    "hardshrink": script(F.hardshrink),
    "maximum with a number": script(lambda x: torch.clamp_min(x, -0.3)),
    "rounded, straight through": script(lambda x: straight_through(lambda h: torch.round(h * 16) / 16)(torch.tanh(x))),
    "rounded by a function with a gradient of its own": script(rounded),
    "gradients clipped by a value that never binds": script(torch.tanh, clip=1.0),
    "binary weights, straight through": script(torch.tanh, straight_through(torch.sign)),
    "tanh of weights": script(torch.tanh, torch.tanh),
    "ternary weights, straight through": script(torch.tanh, straight_through(lambda w: (w.abs() > 0.7) * w.sign())),
    "binary weights times their mean size": script(torch.tanh, straight_through(lambda w: w.sign() * w.abs().mean())),
    "weights of eight bits": script(torch.tanh, straight_through(rounded_weights)),
    "weights of which some are dropped": script(torch.tanh, lambda w: F.dropout(w, 0.3)),
    "clamped weights": script(torch.tanh, lambda w: w.clamp(-0.5, 0.5)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_network_is_kernel_as_measured(name: str) -> None:
    program = tpdyn.record(CASES[name], widths=(16, 24, 40), steps=3)
    prediction = tpdyn.predict(program, remedy=False)
    assert prediction.regime == Regime.KERNEL, prediction.reasons[0].text
    outputs = [mark.view.var for mark in program.marks if mark.kind == "loss"]
    growth = measured(program, (64, 512), 5)
    assert all((slope := growth.size[position]) is not None and slope < 0.4 for position in outputs)
