"""What is a random training program made of? A recipe of layers, a readout, an optimizer, and powers of the width.

`written` writes the program of a recipe: forward, backward and optimizer spelled out, by a tape of its own. It is small, and
independent of the recorder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal, final

from tpdyn.exponents import Scaling
from tpdyn.pointwise import lookup
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Combine, Concat, Contract, Law, Operand, Scatter, Slice
from tpdyn.program.program import Program

BATCH, FEATURES, VOCABULARY, CLASSES = 3, 4, 4, 2
HALF = Fraction(1, 2)

Layer = tuple[Any, ...]
"""What one layer is.

* ("weight", which, transposed) | ("function", name, *parameters) | ("norm",) | ("add" | "times", how far back)
* ("beside", how far back, which) | ("attention", which, power) | ("of weight", which, function, *parameters)

* "beside" lays the value end to end with an earlier one, and multiplies both by one weight. Then it takes them apart and
  subtracts.
* "attention" takes samples for tokens: `softmax(n^-power x W x^T / 4) x` of normalised values x.
* "of weight" multiplies by `n^-1/2 f(n^1/2 W)`. The gradient of a sign is that of the identity (straight through).
"""

Start = Literal["normal", "uniform", "with a mean"]
"""How square weights are drawn: all with standard deviation n^-1/2, the last with mean 1/n."""


@final
@dataclass(frozen=True)
class Recipe:
    """What a training program is written from. readout: its initial standard deviation is n^-readout (None: zero).

    alike: both square weights start as one draw.
    """

    layers: tuple[Layer, ...]
    tokens: bool = False
    tied: bool = False
    readout: Fraction | None = HALF
    multiplier: Fraction = Fraction(0)
    optimizer: str = "sgd"
    rates: tuple[Fraction, ...] = (Fraction(0),) * 4
    steps: int = 2
    start: Start = "normal"
    alike: bool = False

    def slower(self) -> Recipe:
        """Lower the rates by n^1/2."""
        return replace(self, rates=tuple(c + HALF for c in self.rates))


@final
class Tape:
    """A builder that remembers how gradients go back."""

    def __init__(self, build: Builder) -> None:
        self.build = build
        self.back: list[tuple[int, Callable[[int], list[tuple[int, int]]]]] = []
        self.copies: dict[str, int] = {}

    def now(self, name: str) -> int:
        """Return a parameter. Of two that start as one draw the second is a copy, with its own gradient."""
        return self.copies.get(name, self.build.now(name))

    def einsum(self, equation: str, *vars: int, scale: Scaling | float = 1) -> int:
        """Multiply and sum; the gradient is the product with the other factor."""
        product = self.build.einsum(equation, *vars, scale=scale)
        left, result = equation.split("->")
        terms = left.split(",")

        def back(g: int) -> list[tuple[int, int]]:
            gradients = []
            for k, var in enumerate(vars):
                others = [(terms[j], vars[j]) for j in range(len(vars)) if j != k]
                gradients.append((var, self._product(terms[k], self.build.shape(var), [(result, g), *others], scale)))
            return gradients

        self.back.append((product, back))
        return product

    def _product(self, result: str, shape: Any, factors: Sequence[tuple[str, int]], scale: Scaling | float) -> int:
        letters = list(dict.fromkeys(result + "".join(term for term, _ in factors)))
        operands = tuple(Operand(var, tuple(map(letters.index, term))) for term, var in factors)
        power = scale if isinstance(scale, Scaling) else Scaling.of(scale)
        return self.build.add(Contract(operands, power), shape)

    def add(self, x: int, y: int, axes: tuple[int, ...] | None = None, sign: float = 1.0) -> int:
        """Add `x + sign y`, y on some axes of x."""
        shape = self.build.shape(x)
        of_y = Operand(y, tuple(range(len(shape))) if axes is None else axes)
        terms = ((Scaling.of(1), self.build.operand(x)), (Scaling.of(sign), of_y))
        total = self.build.add(Combine(terms), shape)

        def back(g: int) -> list[tuple[int, int]]:
            letters = "ab"[: len(shape)]
            kept = letters if axes is None else "".join(letters[axis] for axis in axes)
            return [(x, g), (y, self._product(kept, self.build.shape(y), [(letters, g)], sign))]

        self.back.append((total, back))
        return total

    def scaled(self, x: int, scale: Scaling) -> int:
        """Multiply by a constant."""
        value = self.build.combine((scale, x))
        self.back.append((value, lambda g: [(x, self.build.combine((scale, g)))]))
        return value

    def softmax(self, x: int) -> int:
        """Normalise the exponentials of each row."""
        shares = self.build.apply("softmax", x, along=1)

        def back(g: int) -> list[tuple[int, int]]:
            product = self.build.einsum("bc,bc->bc", shares, g)
            total = self.build.einsum("bc->b", product)
            return [(x, self.build.combine((1, product), (-1, self.build.einsum("bc,b->bc", shares, total))))]

        self.back.append((shares, back))
        return shares

    def apply(self, function: str, x: int, parameters: Sequence[float] = ()) -> int:
        """Apply a function; its gradient is its listed slope, that of a sign is one."""
        value = self.build.apply(function, x, parameters=parameters)

        def back(g: int) -> list[tuple[int, int]]:
            if function == "sign":
                return [(x, g)]
            name = lookup(function, parameters).slope
            assert name is not None
            slope = self.build.apply(name, x, parameters=parameters)
            here = "ab"[: len(self.build.shape(x))]
            return [(x, self.build.einsum(f"{here},{here}->{here}", g, slope))]

        self.back.append((value, back))
        return value

    def gather(self, table: int, index: int) -> int:
        """Look up rows of a table; gradients are scattered back."""
        rows = self.build.gather(table, index)

        def back(g: int) -> list[tuple[int, int]]:
            scatter = Scatter(Operand(g, (2, 1)), Operand(index, (2,)), 0)
            return [(table, self.build.add(scatter, self.build.shape(table)))]

        self.back.append((rows, back))
        return rows

    def concat(self, x: int, y: int) -> int:
        """Lay the rows of y behind those of x; each gets its rows of the gradient back."""
        joined = self._laid((x, y))

        def back(g: int) -> list[tuple[int, int]]:
            return [(x, self._taken(g, 0)), (y, self._taken(g, BATCH))]

        self.back.append((joined, back))
        return joined

    def rows(self, x: int, start: int) -> int:
        """Take a batch of the rows of two; the others get zeros back."""
        part = self._taken(x, start)

        def back(g: int) -> list[tuple[int, int]]:
            return [(x, self._laid((g, None) if start == 0 else (None, g)))]

        self.back.append((part, back))
        return part

    def _laid(self, parts: tuple[int | None, int | None]) -> int:
        of_wide = next(self.build.shape(var)[1] for var in parts if var is not None)
        operands = tuple(None if var is None else self.build.operand(var) for var in parts)
        return self.build.add(Concat(operands, (Scaling.of(BATCH),) * 2, 0), (Scaling.of(2 * BATCH), of_wide))

    def _taken(self, var: int, start: int) -> int:
        shape = (Scaling.of(BATCH), self.build.shape(var)[1])
        return self.build.add(Slice.of(self.build.operand(var), 0, start, 1, BATCH), shape)

    def gradients(self, of: int, seed: int) -> dict[int, int]:
        """Backpropagate to each value that `of` depends on."""
        gradients: dict[int, int] = {of: seed}
        for result, back in reversed(self.back):
            if result in gradients:
                for var, part in back(gradients[result]):
                    gradients[var] = self.build.combine((1, gradients[var]), (1, part)) if var in gradients else part
        return gradients


_ROOT = Scaling.of(1, -HALF)
_LAWS: dict[Start, Law] = {
    "normal": Law("normal", scale=_ROOT),
    "uniform": Law("uniform", scale=Scaling.of(3**0.5) * _ROOT),
    "with a mean": Law("normal", Scaling.of(1, -1), _ROOT),
}


def written(recipe: Recipe) -> Program:
    """Write the training program of a recipe."""
    build, n = Builder(), Builder.n
    build.at(phase="initialization")
    build.parameter("in", (VOCABULARY, n) if recipe.tokens else (n, FEATURES))
    build.parameter("W0", (n, n), law=_LAWS[recipe.start])
    if recipe.alike:
        build.starts_as("W1", "W0")
    else:
        build.parameter("W1", (n, n), law=_LAWS[recipe.start])
    if not recipe.tied:
        power = recipe.readout
        build.parameter("out", (CLASSES, n), std=0 if power is None else Scaling.of(1, -power))
    state: dict[str, list[int]] = {}
    for step in range(recipe.steps):
        build.at(step=step, phase="data")
        x = build.index(f"x{step}", (BATCH,)) if recipe.tokens else build.data(f"x{step}", (BATCH, FEATURES))
        y = build.data(f"y{step}", (BATCH, VOCABULARY if recipe.tied else CLASSES))
        build.at(phase="forward")
        tape = Tape(build)
        if recipe.alike and build.now("W0") == build.now("W1"):
            tape.copies["W1"] = build.combine((1, build.now("W1")))
        f = build.mark("output", "f", forward(tape, recipe, x))
        build.at(phase="backward")
        gradients = tape.gradients(f, build.combine((1, f), (-1, y)))
        build.at(phase="optimizer")
        for name, rate in zip(("in", "W0", "W1", "out"), recipe.rates, strict=True):
            if (name == "out" and recipe.tied) or tape.now(name) not in gradients:
                continue
            gradient = gradients[tape.now(name)]
            new = direction(build, recipe.optimizer, gradient, state.setdefault(name, []))
            moved = build.combine((1, build.now(name)), (Scaling.of(-0.3, -rate), new))
            build.update(name, moved, gradient=gradient)
    return build.build()


def forward(tape: Tape, recipe: Recipe, x: int) -> int:
    """Run the network forward; return its output."""
    build = tape.build
    weight = build.now("in")
    values = [tape.gather(weight, x) if recipe.tokens else tape.einsum("bi,oi->bo", x, weight, scale=FEATURES**-0.5)]
    for layer in recipe.layers:
        values.append(one_layer(tape, layer, values))
    last = build.now("in" if recipe.tied else "out")
    return tape.einsum("bi,oi->bo", values[-1], last, scale=Scaling.of(1, -recipe.multiplier))


def one_layer(tape: Tape, layer: Layer, values: Sequence[int]) -> int:
    """Apply a layer to the last of `values`. Raises ValueError for a layer that `Layer` does not list."""
    h = values[-1]
    match layer:
        case ("weight", which, transposed):
            return tape.einsum("bi,io->bo" if transposed else "bi,oi->bo", h, tape.now(f"W{which}"))
        case ("function", name, *parameters):
            return tape.apply(name, h, parameters)
        case ("norm",):
            centred = tape.add(h, tape.einsum("bi->b", h, scale=Scaling.of(1, -1)), (0,), sign=-1)
            variance = tape.einsum("bi,bi->b", centred, centred, scale=Scaling.of(1, -1))
            return tape.einsum("bi,b->bi", centred, tape.apply("rsqrt", variance))
        case ("add", back):
            return tape.add(h, values[-1 - min(back, len(values) - 1)])
        case ("times", back):
            return tape.einsum("bi,bi->bi", h, values[-1 - min(back, len(values) - 1)])
        case ("beside", back, which):
            joined = tape.concat(h, values[-1 - min(back, len(values) - 1)])
            product = tape.einsum("bi,oi->bo", joined, tape.now(f"W{which}"))
            return tape.add(tape.rows(product, 0), tape.rows(product, BATCH), sign=-1)
        case ("attention", which, power):
            h = one_layer(tape, ("norm",), values)
            queries = tape.einsum("bi,oi->bo", h, tape.now(f"W{which}"))
            logits = tape.einsum("bi,ci->bc", queries, h, scale=Scaling.of(0.25, -power))
            return tape.einsum("bc,ci->bi", tape.softmax(logits), h)
        case ("of weight", which, name, *parameters):
            entries = tape.scaled(tape.now(f"W{which}"), Scaling.of(1, HALF))
            return tape.einsum("bi,oi->bo", h, tape.scaled(tape.apply(name, entries, parameters), _ROOT))
        case _:
            raise ValueError(f"layer {layer!r}; expected one of those that `Layer` lists")


def direction(build: Builder, optimizer: str, gradient: int, state: list[int]) -> int:
    """Turn a gradient into a step, as the optimizer does; its state is the list of what it keeps."""
    if optimizer == "sgd":
        return gradient
    if optimizer == "sign":
        return build.apply("sign", gradient)
    last = state[0] if state else None
    first = gradient if last is None else build.combine((0.9, last), (1, gradient))
    if optimizer == "momentum":
        state[:] = [first]
        return first
    square = build.einsum("ab,ab->ab", gradient, gradient)
    second = square if last is None else build.combine((0.5, state[1]), (0.5, square))
    state[:] = [first, second]
    root = build.combine((1, build.apply("sqrt", second)), constant=1e-30, epsilon=True)
    return build.einsum("ab,ab->ab", first, build.apply("reciprocal", root))


FUNCTIONS: tuple[Layer, ...] = (
    *(("function", name) for name in ("tanh", "relu", "gelu", "abs", "sigmoid")),
    ("function", "elu", 1.0, 1.0, 1.0),
    ("function", "clamp", -1.0, 1.0),
    ("function", "clamp", -0.5, math.inf),
)
EXPONENTS = (Fraction(0), -HALF, HALF, Fraction(-1), Fraction(1))
"""Powers of the width by which learning rates shrink."""


def holes(recipe: Recipe) -> bool:
    """Tell whether an entrywise optimizer sees gradients whose leading part is exactly zero in many entries: see the last test."""
    masks = any(layer[:2] in (("function", "relu"), ("function", "clamp")) for layer in recipe.layers)
    beside = any(layer[0] in ("norm", "add", "attention") for layer in recipe.layers)
    clamped = any(layer[0] == "of weight" and layer[2] == "clamp" for layer in recipe.layers)
    return recipe.optimizer in ("sign", "adam") and (clamped or (masks and beside))
