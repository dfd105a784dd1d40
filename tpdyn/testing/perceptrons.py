"""What is the program of a multilayer perceptron, written by hand? The reference that recorded ones must agree with.

`mlp_program` writes it without a recording, `mlp_script` is the training script of the same network. Both take an abc-point to
be built at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Literal

from tpdyn.claims.theorems import Abc
from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder, Dim
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents

WIDE = Scaling.of(1, 1)
BATCH, INPUTS, OUTPUTS = 4, 5, 3


def layer_names(layers: int) -> tuple[str, ...]:
    """Return names of the weights of `mlp_program`: 'W1', ..., 'out'."""
    return (*(f"W{layer + 1}" for layer in range(layers)), "out")


def exponents(point: Abc, names: Sequence[str]) -> Exponents:
    """Write an abc-point as the exponents of named parameters, input layer first."""
    if len(names) != len(point.a):
        raise ValueError(f"{len(names)} names for {len(point.a)} layers: {', '.join(names)}")
    return Exponents(
        multiplier=dict(zip(names, point.a, strict=True)),
        initial=dict(zip(names, point.b, strict=True)),
        rate=dict(zip(names, point.c, strict=True)),
    )


def mlp_program(
    layers: int,
    function: str = "tanh",
    optimizer: Literal["sgd", "sign", "adam"] = "sgd",
    steps: int = 3,
    outputs: int = OUTPUTS,
    point: Abc | None = None,
    rate: float = 0.1,
) -> Program:
    """Write out T steps of an MLP without biases on a square loss: `W = n^-a w`, `w ~ N(0, n^-2b)`, rate
    `rate * n^-c` with the exponents of `point` (all 0 without one: unit Gaussians, one rate, no multipliers).

    "adam" is the normalised gradient `g / (sqrt(g^2) + eps)`, Adam with beta = 0.
    """
    exact = point or _origin(layers)
    names = layer_names(layers)
    multipliers = [Scaling.of(1, -a) for a in exact.a]
    rates = [Scaling.of(-rate, -c) for c in exact.c]
    build = Builder()
    build.at(phase="initialization")
    shapes: list[tuple[Dim, Dim]] = [(WIDE, INPUTS), *((WIDE, WIDE),) * (layers - 1), (outputs, WIDE)]
    for name, shape, b in zip(names, shapes, exact.b, strict=True):
        build.parameter(name, shape, std=Scaling.of(1, -b))
    for step in range(steps):
        build.at(step=step, phase="data")
        x, y = build.data(f"x{step}", (BATCH, INPUTS)), build.data(f"y{step}", (BATCH, outputs))
        weights = [build.now(name) for name in names]
        build.at(phase="forward")
        pre, post = [], [x]
        for k, weight in enumerate(weights[:-1]):
            pre.append(build.einsum("bi,oi->bo", post[-1], weight, scale=multipliers[k], name=f"h{k + 1}@{step}"))
            post.append(build.apply(function, pre[-1], name=f"x{k + 1}@{step}"))
            build.mark("module", f"h{k + 1}", pre[-1])
            build.mark("module", f"x{k + 1}", post[-1])
        f = build.einsum("bi,oi->bo", post[-1], weights[-1], scale=multipliers[-1], name=f"f@{step}")
        build.mark("output", "output", f)
        build.at(phase="backward")
        delta = build.combine((1, f), (-1, y), name=f"df@{step}")
        gradients = dict[int, int]()
        for k in range(layers, -1, -1):
            gradients[k] = build.einsum("bo,bi->oi", delta, post[k], scale=multipliers[k], name=f"d{names[k]}@{step}")
            if k:
                back = build.einsum("bo,oi->bi", delta, weights[k], scale=multipliers[k], name=f"dx{k}@{step}")
                slope = build.apply(_slope(function), pre[k - 1])
                delta = build.einsum("bi,bi->bi", back, slope, name=f"dh{k}@{step}")
        build.at(phase="optimizer")
        for k, name in enumerate(names):
            update = _direction(build, gradients[k], optimizer)
            build.update(name, build.combine((1, weights[k]), (rates[k], update)), gradient=gradients[k])
    return build.build(steps=steps)


def _origin(layers: int) -> Abc:
    zeros = (Fraction(0),) * (layers + 1)
    return Abc(zeros, zeros, zeros)


def _slope(function: str) -> str:
    from tpdyn.pointwise import lookup

    slope = lookup(function).slope
    if slope is None:
        raise ValueError(f"{function} has no listed slope; expected a differentiable function such as tanh, relu, gelu")
    return slope


def _direction(build: Builder, gradient: int, optimizer: str) -> int:
    if optimizer == "sgd":
        return gradient
    if optimizer == "sign":
        return build.apply("sign", gradient)
    root = build.apply("sqrt", build.einsum("oi,oi->oi", gradient, gradient))
    inverse = build.apply("reciprocal", build.combine((1, root), constant=1e-8, epsilon=True))
    return build.einsum("oi,oi->oi", gradient, inverse)


def mlp_script(
    layers: int,
    function: str = "tanh",
    optimizer: Literal["sgd", "sign", "adam"] = "sgd",
    point: Abc | None = None,
    rate: float | None = None,
) -> Callable[[int], None]:
    """Make the training script whose program is `mlp_program`: modules 'W1', ..., 'out', to be recorded or measured.

    sign-SGD is written by hand, Adam is torch.optim's. Without a point the default rate is tiny: unit Gaussians without
    multipliers would overflow. With one it is 0.1.
    """
    import torch
    from torch import nn

    names = layer_names(layers)
    exact = point or _origin(layers)
    constant = rate if rate is not None else 2.0**-60 if point is None else 0.1

    class Layer(nn.Linear):
        """`n^-a x W^T`, without a multiplication where a = 0."""

        def __init__(self, inputs: int, outputs: int, multiplier: float, std: float) -> None:
            super().__init__(inputs, outputs, bias=False)
            nn.init.normal_(self.weight, std=std)
            self.multiplier = multiplier

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """Return the product, scaled."""
            h = super().forward(x)
            return h if self.multiplier == 1 else self.multiplier * h

    class Network(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            fans = [INPUTS, *(width,) * layers, OUTPUTS]
            for name, fan_in, fan_out, a, b in zip(names, fans, fans[1:], exact.a, exact.b, strict=False):
                self.add_module(name, Layer(fan_in, fan_out, width ** -float(a), width ** -float(b)))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for name in names[:-1]:
                x = getattr(torch.nn.functional, function)(self.get_submodule(name)(x))
            return self.get_submodule(names[-1])(x)  # type: ignore[no-any-return]

    def train(width: int) -> None:
        model = Network(width)
        data = torch.Generator().manual_seed(0)
        x, y = torch.randn(BATCH, INPUTS, generator=data), torch.randn(BATCH, OUTPUTS, generator=data)
        rates = [constant * width ** -float(c) for c in exact.c]
        groups = [{"params": [weight], "lr": each} for weight, each in zip(model.parameters(), rates, strict=True)]
        stepper = {
            "sgd": torch.optim.SGD(groups, lr=constant),
            "adam": torch.optim.Adam(groups, lr=constant, betas=(0.0, 0.0)),
            "sign": None,
        }[optimizer]
        while True:
            model.zero_grad()
            (0.5 * (model(x) - y).square().sum()).backward()
            if stepper is not None:
                stepper.step()
                continue
            with torch.no_grad():
                for weight, each in zip(model.parameters(), rates, strict=True):
                    assert weight.grad is not None
                    weight.sub_(each * weight.grad.sign())

    return train
