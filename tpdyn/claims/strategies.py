"""Which programs and parametrizations should a claim be tried on? Hypothesis strategies, for us and for users.

`abc_points` draws exponents of multilayer perceptrons, half of them on the boundaries where theorems change their mind,
`stable_points` those at which training works;
`random_programs` draws small well-formed tensor programs of any shape. `mlp_program` writes the program of an MLP by hand,
without a recording: the reference that a recorded one must agree with. `mlp_script` is the training script of the same
network, and both take an abc-point to be built at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Literal

from hypothesis import strategies as st

from tpdyn.claims.theorems import Abc
from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Apply, Combine, Contract, Law, Leaf, Operand
from tpdyn.program.program import Mark, Parameter, Program, View
from tpdyn.readings.orders.reading import Exponents

WIDE = Scaling.of(1, 1)
ZERO = Scaling(())


def layer_names(layers: int) -> tuple[str, ...]:
    """Names of the weights of `mlp_program`: 'W1', ..., 'out'."""
    return (*(f"W{layer + 1}" for layer in range(layers)), "out")


def exponents(point: Abc, names: Sequence[str]) -> Exponents:
    """An abc-point as the exponents of named parameters, input layer first."""
    if len(names) != len(point.a):
        raise ValueError(f"{len(names)} names for {len(point.a)} layers: {', '.join(names)}")
    return Exponents(
        multiplier=dict(zip(names, point.a, strict=True)),
        initial=dict(zip(names, point.b, strict=True)),
        rate=dict(zip(names, point.c, strict=True)),
    )


@st.composite
def abc_points(
    draw: Callable[..., Any], layers: int, optimizer: Literal["sgd", "entrywise"] = "sgd", denominator: int = 4
) -> Abc:
    """Random rational exponents (multiples of 1/denominator) of an MLP with `layers` hidden layers.

    Three quarters of them are well initialised; slack variables that decide the verdict are often exactly 0.
    """
    half, zero = Fraction(1, 2), Fraction(0)
    multiples, slack = _multiples(denominator), _slack(denominator)
    a = [draw(multiples) for _ in range(layers + 1)]
    b = [-a[0], *(half - a[layer] for layer in range(1, layers)), half - a[-1] + draw(slack)]
    if draw(st.integers(0, 3)) == 0:
        broken = draw(st.integers(0, layers))
        b[broken] += draw(multiples)
    if optimizer == "entrywise":
        c = [draw(slack) - a[layer] + (1 if layer else 0) for layer in range(layers + 1)]
        return Abc(tuple(a), tuple(b), tuple(c))
    # the rate that makes r, or the readout's update, exactly critical, or any other
    kind = draw(st.integers(0, 2))
    slowest = min(2 * a[0] + 1, *(2 * x for x in a[1:-1])) if layers > 1 else 2 * a[0] + 1
    if kind == 0:
        rate = 1 - 2 * a[-1] + draw(slack)
    elif kind == 1:
        rate = max(1 - slowest - a[-1] - b[-1], (1 - slowest - 2 * a[-1]) / 2) + draw(slack)
    else:
        rate = draw(multiples)
    return Abc(tuple(a), tuple(b), (rate + zero,) * (layers + 1))


@st.composite
def stable_points(
    draw: Callable[..., Any], layers: int, optimizer: Literal["sgd", "entrywise"] = "sgd", denominator: int = 4
) -> Abc:
    """Random stable and nontrivial exponents of an MLP: points at which training works, in either regime.

    Built from the exponent r of the hidden layers' change and from which of the two inequalities of nontriviality is an
    equality (`tpdyn.claims.theorems`); half of them have r = 0. For "entrywise" they are faithful too.
    """
    half, one, zero = Fraction(1, 2), Fraction(1), Fraction(0)
    multiples, above = _multiples(denominator), _above(denominator)
    readout_updates = draw(st.booleans())  # the readout's own update moves the output, or else the features do
    r = draw(above)
    if not readout_updates:
        r = min(r, half)
    slack = [draw(above) for _ in range(layers)]
    slack[draw(st.integers(0, layers - 1))] = zero  # the layer that moves most
    a_out = draw(multiples)
    extra = draw(above)
    if optimizer == "entrywise":
        a = [draw(multiples) for _ in range(layers)]
        c = [r + s - x + (1 if layer else 0) for layer, (s, x) in enumerate(zip(slack, a, strict=True))]
        out = max(half, one - r, one - extra) if readout_updates else one - r
        c.append(one - a_out + (zero if readout_updates else extra))
    else:
        if readout_updates:
            out = max(half, one - r) + extra
            rate = one - 2 * a_out
            least = r - rate + one - min(out, one)
        else:
            out, rate = one - r, one - 2 * a_out + extra
            least = 2 * r - rate
        a = [(least + s - (0 if layer else 1)) / 2 for layer, s in enumerate(slack)]
        c = [rate] * (layers + 1)
    b = [-a[0], *(half - x for x in a[1:]), out - a_out]
    return Abc((*a, a_out), tuple(b), tuple(c))


def _above(denominator: int) -> st.SearchStrategy[Fraction]:
    """0 half of the time, else up to 1."""
    return st.one_of(st.just(Fraction(0)), st.integers(1, denominator).map(lambda k: Fraction(k, denominator)))


def _multiples(denominator: int) -> st.SearchStrategy[Fraction]:
    """Between -3/2 and 3/2."""
    return st.integers(-3 * denominator // 2, 3 * denominator // 2).map(lambda k: Fraction(k, denominator))


def _slack(denominator: int) -> st.SearchStrategy[Fraction]:
    """0 half of the time, else between -1/2 and 1."""
    some = st.integers(-denominator // 2, denominator).map(lambda k: Fraction(k, denominator))
    return st.one_of(st.just(Fraction(0)), some)


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
    """T steps of an MLP without biases on a square loss, spelled out by hand: `W = n^-a w`, `w ~ N(0, n^-2b)`, rate
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
    """The training script whose program is `mlp_program`: modules 'W1', ..., 'out', to be recorded or measured.

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
            """The product, scaled."""
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


@st.composite
def random_programs(draw: Callable[..., Any], length: int = 8) -> Program:
    """A random straight-line program over vectors and matrices: leaves, sums, products, contractions, functions.

    Values are vectors [n], scalars [] and batches [2, n]; each instruction reads values made before it.
    """
    build = Builder()
    build.at(phase="forward")

    def std() -> Scaling:
        power: Fraction = draw(st.sampled_from([Fraction(0), Fraction(-1, 2), Fraction(-1)]))
        return Scaling.of(1, power)

    vectors = [build.leaf(Leaf("parameter", f"v{k}", Law("normal", Scaling(()), std())), (WIDE,)) for k in range(2)]
    matrices = [
        build.leaf(Leaf("parameter", f"W{k}", Law("normal", Scaling(()), Scaling.of(1, Fraction(-1, 2)))), (WIDE, WIDE))
        for k in range(2)
    ]
    scalars: list[int] = []
    for number in range(draw(st.integers(2, length))):
        kind = draw(st.sampled_from(["matvec", "transposed", "sum", "product", "function", "dot", "mean", "scaled"]))
        x = draw(st.sampled_from(vectors))
        y = draw(st.sampled_from(vectors))
        name = f"u{number}"
        if kind in ("matvec", "transposed"):
            axes = (0, 1) if kind == "matvec" else (1, 0)
            matrix = Operand(draw(st.sampled_from(matrices)), axes)
            vectors.append(build.add(Contract((matrix, Operand(x, (1,)))), (WIDE,), name=name))
        elif kind == "sum":
            terms = ((Scaling.of(1), Operand(x, (0,))), (Scaling.of(0.7), Operand(y, (0,))))
            vectors.append(build.add(Combine(terms), (WIDE,), name=name))
        elif kind == "product":
            vectors.append(build.add(Contract((Operand(x, (0,)), Operand(y, (0,)))), (WIDE,), name=name))
        elif kind == "function":
            function = draw(st.sampled_from(["tanh", "relu", "abs", "gelu", "sigmoid"]))
            vectors.append(build.add(Apply(function, (Operand(x, (0,)),)), (WIDE,), name=name))
        elif kind == "dot":
            scale = Scaling.of(1, draw(st.sampled_from([Fraction(0), Fraction(-1, 2), Fraction(-1)])))
            scalars.append(build.add(Contract((Operand(x, (0,)), Operand(y, (0,))), scale), (), name=name))
        elif kind == "mean":
            scalars.append(build.add(Contract((Operand(x, (0,)),), Scaling.of(1, -1)), (), name=name))
        elif scalars:
            factor = Operand(draw(st.sampled_from(scalars)), ())
            vectors.append(build.add(Contract((factor, Operand(x, (0,)))), (WIDE,), name=name))
    return build.build()
