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
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Apply, Combine, Contract, Law, Leaf, Operand
from tpdyn.program.program import Mark, Parameter, Program, View
from tpdyn.readings.orders.reading import Exponents

WIDE = Scaling.of(1, 1)
ZERO = Scaling(())


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
    batch: int = 4,
    inputs: int = 5,
    outputs: int = 3,
    point: Abc | None = None,
    rate: float = 0.1,
) -> Program:
    """Write out T steps of an MLP without biases on a square loss: `W = n^-a w`, `w ~ N(0, n^-2b)`, rate
    `rate * n^-c` with the exponents of `point` (all 0 without one: unit Gaussians, one rate, no multipliers).

    "adam" is the normalised gradient `g / (sqrt(g^2) + eps)`, Adam with beta = 0.
    """
    exact = point or _origin(layers)
    multipliers = [Scaling.of(1, -a) for a in exact.a]
    laws = [Law("normal", ZERO, Scaling.of(1, -b)) for b in exact.b]
    rates = [Scaling.of(-rate, -c) for c in exact.c]
    one, minus = Scaling.of(1), Scaling.of(-1)
    size, features, classes = Scaling.of(batch), Scaling.of(inputs), Scaling.of(outputs)
    build = Builder()
    build.at(phase="initialization")
    names = layer_names(layers)
    shapes = [(WIDE, features), *((WIDE, WIDE),) * (layers - 1), (classes, WIDE)]
    leaves = zip(names, laws, shapes, strict=True)
    versions = [[build.leaf(Leaf("parameter", name, law), shape)] for name, law, shape in leaves]
    gradients: list[list[int]] = [[] for _ in names]

    def matrix(var: int) -> View:
        return View((var,), ((0,), (1,)))

    for step in range(steps):
        build.at(step=step, phase="data")
        x = build.leaf(Leaf("data", f"x{step}", Law("data")), (size, features))
        y = build.leaf(Leaf("data", f"y{step}", Law("data")), (size, classes))
        build.at(phase="forward")
        pre, post = [], [x]
        for layer in range(layers):
            weight = Operand(versions[layer][-1], (1, 2))
            product = Contract((Operand(post[-1], (0, 2)), weight), multipliers[layer])
            pre.append(build.add(product, (size, WIDE), name=f"h{layer + 1}@{step}"))
            post.append(
                build.add(Apply(function, (Operand(pre[-1], (0, 1)),)), (size, WIDE), name=f"x{layer + 1}@{step}")
            )
            build.marks.append(Mark("module", f"h{layer + 1}", step, matrix(pre[-1])))
            build.marks.append(Mark("module", f"x{layer + 1}", step, matrix(post[-1])))
        readout = Operand(versions[-1][-1], (1, 2))
        last = Contract((Operand(post[-1], (0, 2)), readout), multipliers[-1])
        f = build.add(last, (size, classes), name=f"f@{step}")
        build.marks.append(Mark("output", "output", step, matrix(f)))
        build.at(phase="backward")
        delta = build.add(
            Combine(((one, Operand(f, (0, 1))), (minus, Operand(y, (0, 1))))), (size, classes), name=f"df@{step}"
        )
        for layer in range(layers, -1, -1):
            gradients[layer].append(
                build.add(
                    Contract((Operand(delta, (2, 0)), Operand(post[layer], (2, 1))), multipliers[layer]),
                    shapes[layer],
                    name=f"d{names[layer]}@{step}",
                )
            )
            if layer:
                back = build.add(
                    Contract((Operand(delta, (0, 2)), Operand(versions[layer][-1], (2, 1))), multipliers[layer]),
                    (size, WIDE),
                    name=f"dx{layer}@{step}",
                )
                slope = build.add(Apply(_slope(function), (Operand(pre[layer - 1], (0, 1)),)), (size, WIDE))
                delta = build.add(
                    Contract((Operand(back, (0, 1)), Operand(slope, (0, 1)))), (size, WIDE), name=f"dh{layer}@{step}"
                )
        build.at(phase="optimizer")
        for layer, name in enumerate(names):
            update = _direction(build, gradients[layer][-1], optimizer)
            terms = ((one, Operand(versions[layer][-1], (0, 1))), (rates[layer], Operand(update, (0, 1))))
            versions[layer].append(build.add(Combine(terms), shapes[layer], name=f"{name}_{step + 1}"))
    build.parameters = [
        Parameter(name, tuple(map(matrix, versions[k])), tuple(map(matrix, gradients[k])))
        for k, name in enumerate(names)
    ]
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
    here = Operand(gradient, (0, 1))
    shape = build.statements[gradient].shape
    if optimizer == "sgd":
        return gradient
    if optimizer == "sign":
        return build.add(Apply("sign", (here,)), shape)
    square = build.add(Contract((here, here)), shape)
    root = build.add(Apply("sqrt", (Operand(square, (0, 1)),)), shape)
    guarded = build.add(Combine(((Scaling.of(1), Operand(root, (0, 1))),), Scaling.of(1e-8), epsilon=True), shape)
    inverse = build.add(Apply("reciprocal", (Operand(guarded, (0, 1)),)), shape)
    return build.add(Contract((here, Operand(inverse, (0, 1)))), shape)


def mlp_script(
    layers: int,
    function: str = "tanh",
    optimizer: Literal["sgd", "sign", "adam"] = "sgd",
    batch: int = 4,
    inputs: int = 5,
    outputs: int = 3,
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
            fans = [inputs, *(width,) * layers, outputs]
            for name, fan_in, fan_out, a, b in zip(names, fans, fans[1:], exact.a, exact.b, strict=False):
                self.add_module(name, Layer(fan_in, fan_out, width ** -float(a), width ** -float(b)))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for name in names[:-1]:
                x = getattr(torch.nn.functional, function)(self.get_submodule(name)(x))
            return self.get_submodule(names[-1])(x)  # type: ignore[no-any-return]

    def train(width: int) -> None:
        model = Network(width)
        data = torch.Generator().manual_seed(0)
        x, y = torch.randn(batch, inputs, generator=data), torch.randn(batch, outputs, generator=data)
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
