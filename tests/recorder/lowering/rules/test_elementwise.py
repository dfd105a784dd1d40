"""Mirrors tpdyn/recorder/lowering/rules/elementwise.py: entry by entry, with gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from aten_tapes import check, draw, with_gradients

X, Y, V = draw(3, 4), draw(3, 4, seed=1), draw(4)

ENTRYWISE: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "add alpha": lambda x, y: torch.add(x, y, alpha=0.3),
    "add number": lambda x, y: x + 2.5 + y,
    "rsub": lambda x, y: 1.5 - x * y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "mul number": lambda x, y: x * 3 + y,
    "div": lambda x, y: x / (y * y + 1),
    "div number": lambda x, y: x / 7 + y,
    "number div": lambda x, y: 2 / (x * x + 1) + y,
    "square": lambda x, y: torch.square(x) + y,
    "pow 2": lambda x, y: x**2 + y,
    "pow 3": lambda x, y: x**3 + y,
    "2 pow x": lambda x, y: 2.0**x + y,
    "sqrt": lambda x, y: torch.sqrt(x * x + 1) * y,
    "rsqrt": lambda x, y: torch.rsqrt(x * x + 1) * y,
    "addcmul": lambda x, y: torch.addcmul(x, y, x, value=0.7),
    "addcdiv": lambda x, y: torch.addcdiv(x, y, x * x + 1, value=0.7),
    "lerp": lambda x, y: torch.lerp(x, y, 0.3),
    "lerp tensor": lambda x, y: torch.lerp(x, y, torch.sigmoid(x)),
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "where": lambda x, y: torch.where(x > 0, x, y),
    "where number": lambda x, y: torch.where(x > y, x, 0.5),
    "masked_fill": lambda x, y: x.masked_fill(torch.ones(3, 4).tril() == 0, 0.25) * y,
    "clamp": lambda x, y: torch.clamp(x, -0.5, 0.7) + y,
    "clamp_min": lambda x, y: x.clamp(min=0.1) + y,
    "clamp_max": lambda x, y: x.clamp(max=0.1) + y,
    "broadcast row": lambda x, y: x * y[0] + x[:, :1],
    "neg": lambda x, y: -x + y.abs(),
    "exp log": lambda x, y: torch.log(torch.exp(x) + 1) + torch.log1p(y * y),
    "sin cos": lambda x, y: torch.sin(x) + torch.cos(y),
    "sign": lambda x, y: torch.sign(x) * y,
    "comparisons": lambda x, y: ((x > y) & (y < 0)).to(x.dtype) * x,
}
ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "tanh": torch.tanh,
    "relu": F.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "elu": lambda x: F.elu(x, 1.3),
    "selu": F.selu,
    "celu": F.celu,
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "softplus beta": lambda x: F.softplus(x, 2.0, 1.0),
    "logsigmoid": F.logsigmoid,
    "hardtanh": F.hardtanh,
    "relu6": F.relu6,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "erf": torch.erf,
    "abs": torch.abs,
    "threshold": lambda x: F.threshold(x, 0.2, 0.1),
    "tanh of a transpose": lambda x: torch.tanh(x.t()),
    "tanh twice": lambda x: torch.tanh(torch.tanh(x)),
    "softsign": F.softsign,
}


@pytest.mark.parametrize("name", ENTRYWISE)
def test_entrywise_operations_and_their_gradients_agree(name: str) -> None:
    check(with_gradients(ENTRYWISE[name], 2), [X, Y])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_their_gradients_agree(name: str) -> None:
    # torch's own hardsigmoid multiplies with a sixth in single precision
    check(with_gradients(ACTIVATIONS[name], 1), [X], tolerance=1e-8 if name == "hardsigmoid" else 1e-12)


def test_the_gradient_of_tanh_is_written_with_its_slope() -> None:
    lowered = check(with_gradients(torch.tanh, 1), [X])
    functions = [getattr(s.instruction, "function", "") for s in lowered.statements]
    assert "tanh'" in functions


def test_the_gradient_of_relu_is_a_step_of_what_went_in() -> None:
    lowered = check(with_gradients(lambda x: F.relu(x * 2), 1), [X])
    (step,) = [s.instruction for s in lowered.statements if getattr(s.instruction, "function", "") == "step"]
    (relu,) = [s.instruction for s in lowered.statements if getattr(s.instruction, "function", "") == "relu"]
    assert step.operands == relu.operands  # type: ignore[union-attr]
