"""Orders bound changes, too: no value of a random training program grows, or changes, faster than the reading says.

Drawn are the layers (products with two square weights that are shared and transposed, functions, normalisations by hand,
residuals, products), the tokens or features at the bottom, the readout (tied or not), the optimizer and the powers of the
width at rates and readout. Rates are made smaller, by n^1/2 at a time, until nothing that counts grows: the edge of
stability is where orders are many and close. Sizes and changes of every statement are measured by the finite reading,
beside the base program.

Each example is screened at widths 64 and 512 with 7 seeds. A median of 7 draws of |N(0, 1)| has a logarithm of standard
deviation 0.36, so for a single Gaussian number the slope has 0.36 * sqrt(2) / log(8) = 0.25, and 2 in 100 are above
1/2. What is above is measured again with 25 other seeds, at widths 192 and 1536: standard deviation 0.13, above 0.45
in 3 of 10,000. About 20 numbers of an example are independent: a false alarm in 1 of 10,000 examples. Orders are multiples of 1/4,
mostly of 1/2. A reading that is too small by 1/2 at one number alone is seen in half of the examples that have it; by 1 always.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tpdyn.claims.growth import Growth, measured, too_fast
from tpdyn.exponents import Scaling
from tpdyn.pointwise import lookup
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Apply, Combine, Contract, Operand, Scatter
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Orders, read
from tpdyn.regimes.judgement import first_unstable

SCREEN, AGAIN = (64, 512), (192, 1536)
SEEDS, MORE_SEEDS = 7, 25
TOLERANCE, TOLERANCE_AGAIN = 0.5, 0.45
HALF = Fraction(1, 2)
BATCH, FEATURES, VOCABULARY, CLASSES = 3, 4, 4, 2

Layer = tuple[Any, ...]
"""("weight", which, transposed) | ("function", name, *parameters) | ("norm",) | ("add" | "times", how far back)."""


@dataclass(frozen=True)
class Recipe:
    """What a training program is written from. readout: its initial standard deviation is n^-readout (None: zero)."""

    layers: tuple[Layer, ...]
    tokens: bool = False
    tied: bool = False
    readout: Fraction | None = HALF
    multiplier: Fraction = Fraction(0)
    optimizer: str = "sgd"
    rates: tuple[Fraction, ...] = (Fraction(0),) * 4
    steps: int = 2

    def slower(self) -> "Recipe":
        """The same at rates that are smaller by n^1/2."""
        return replace(self, rates=tuple(c + HALF for c in self.rates))


class Tape:
    """A builder that remembers how gradients go back."""

    def __init__(self, build: Builder) -> None:
        self.build = build
        self.back: list[tuple[int, Callable[[int], list[tuple[int, int]]]]] = []

    def einsum(self, equation: str, *vars: int, scale: Scaling | float = 1) -> int:
        """A product, summed; its gradient is the product with the other factor."""
        made = self.build.einsum(equation, *vars, scale=scale)
        left, result = equation.split("->")
        terms = left.split(",")

        def back(g: int) -> list[tuple[int, int]]:
            found = []
            for k, var in enumerate(vars):
                others = [(terms[j], vars[j]) for j in range(len(vars)) if j != k]
                found.append((var, self._product(terms[k], self.build.shape(var), [(result, g), *others], scale)))
            return found

        self.back.append((made, back))
        return made

    def _product(self, result: str, shape: Any, factors: Sequence[tuple[str, int]], scale: Scaling | float) -> int:
        letters = list(dict.fromkeys(result + "".join(term for term, _ in factors)))
        operands = tuple(Operand(var, tuple(map(letters.index, term))) for term, var in factors)
        power = scale if isinstance(scale, Scaling) else Scaling.of(scale)
        return self.build.add(Contract(operands, power), shape)

    def add(self, x: int, y: int, axes: tuple[int, ...] | None = None, sign: float = 1.0) -> int:
        """`x + sign y`, y on some axes of x."""
        shape = self.build.shape(x)
        of_y = Operand(y, tuple(range(len(shape))) if axes is None else axes)
        terms = ((Scaling.of(1), self.build.operand(x)), (Scaling.of(sign), of_y))
        made = self.build.add(Combine(terms), shape)

        def back(g: int) -> list[tuple[int, int]]:
            letters = "ab"[: len(shape)]
            kept = letters if axes is None else "".join(letters[axis] for axis in axes)
            return [(x, g), (y, self._product(kept, self.build.shape(y), [(letters, g)], sign))]

        self.back.append((made, back))
        return made

    def apply(self, function: str, x: int, parameters: Sequence[float] = ()) -> int:
        """A function, and its listed slope."""
        made = self.build.apply(function, x, parameters=parameters)

        def back(g: int) -> list[tuple[int, int]]:
            name = lookup(function, parameters).slope
            assert name is not None
            slope = self.build.apply(name, x, parameters=parameters)
            here = "ab"[: len(self.build.shape(x))]
            return [(x, self.build.einsum(f"{here},{here}->{here}", g, slope))]

        self.back.append((made, back))
        return made

    def gather(self, table: int, index: int) -> int:
        """Rows of a table; gradients are scattered back."""
        made = self.build.gather(table, index)

        def back(g: int) -> list[tuple[int, int]]:
            scatter = Scatter(Operand(g, (2, 1)), Operand(index, (2,)), 0)
            return [(table, self.build.add(scatter, self.build.shape(table)))]

        self.back.append((made, back))
        return made

    def gradients(self, of: int, seed: int) -> dict[int, int]:
        """The gradient of each value that `of` depends on."""
        found: dict[int, int] = {of: seed}
        for made, back in reversed(self.back):
            if made in found:
                for var, part in back(found[made]):
                    found[var] = self.build.combine((1, found[var]), (1, part)) if var in found else part
        return found


def written(recipe: Recipe) -> Program:
    """The training program of a recipe."""
    build, n = Builder(), Builder.n
    build.at(phase="initialization")
    build.parameter("in", (VOCABULARY, n) if recipe.tokens else (n, FEATURES))
    for k in range(2):
        build.parameter(f"W{k}", (n, n), std=Scaling.of(1, -HALF))
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
        f = build.mark("output", "f", forward(tape, recipe, x))
        build.at(phase="backward")
        found = tape.gradients(f, build.combine((1, f), (-1, y)))
        build.at(phase="optimizer")
        for name, rate in zip(("in", "W0", "W1", "out"), recipe.rates, strict=True):
            if (name == "out" and recipe.tied) or build.now(name) not in found:
                continue
            gradient = found[build.now(name)]
            new = direction(build, recipe.optimizer, gradient, state.setdefault(name, []))
            moved = build.combine((1, build.now(name)), (Scaling.of(-0.3, -rate), new))
            build.update(name, moved, gradient=gradient)
    return build.build()


def forward(tape: Tape, recipe: Recipe, x: int) -> int:
    """What the network returns."""
    build = tape.build
    weight = build.now("in")
    values = [tape.gather(weight, x) if recipe.tokens else tape.einsum("bi,oi->bo", x, weight, scale=FEATURES**-0.5)]
    for layer in recipe.layers:
        values.append(one_layer(tape, layer, values))
    last = build.now("in" if recipe.tied else "out")
    return tape.einsum("bi,oi->bo", values[-1], last, scale=Scaling.of(1, -recipe.multiplier))


def one_layer(tape: Tape, layer: Layer, values: Sequence[int]) -> int:
    h = values[-1]
    match layer:
        case ("weight", which, transposed):
            return tape.einsum("bi,io->bo" if transposed else "bi,oi->bo", h, tape.build.now(f"W{which}"))
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
    raise ValueError(f"layer {layer!r}; expected one of those that `Layer` lists")


def direction(build: Builder, optimizer: str, gradient: int, state: list[int]) -> int:
    """What an optimizer makes of a gradient; its state is the list of what it keeps."""
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
EXPONENTS = st.sampled_from([Fraction(-1), -HALF, Fraction(0), HALF, Fraction(1)])


def holes(recipe: Recipe) -> bool:
    """Whether an entrywise optimizer sees gradients whose leading part is exactly zero in many entries: see the last test."""
    masks = any(layer[:2] in (("function", "relu"), ("function", "clamp")) for layer in recipe.layers)
    return (
        recipe.optimizer in ("sign", "adam") and masks and any(layer[0] in ("norm", "add") for layer in recipe.layers)
    )


@st.composite
def recipes(draw: Callable[..., Any]) -> Recipe:
    """Small networks of every kind, at the edge of stability."""
    weight = st.tuples(st.just("weight"), st.integers(0, 1), st.booleans())
    other = st.one_of(
        st.sampled_from(FUNCTIONS), st.just(("norm",)), st.tuples(st.sampled_from(["add", "times"]), st.integers(1, 3))
    )
    layers = tuple(draw(st.lists(st.one_of(weight, other), min_size=1, max_size=6)))
    tokens = draw(st.booleans())
    recipe = Recipe(
        layers,
        tokens=tokens,
        tied=tokens and draw(st.booleans()),
        readout=draw(st.sampled_from([HALF, Fraction(0), Fraction(1), None])),
        multiplier=draw(st.sampled_from([Fraction(0), HALF, Fraction(1)])),
        optimizer=draw(st.sampled_from(["sgd", "momentum", "sign", "adam"])),
        rates=tuple(draw(EXPONENTS) for _ in range(4)),
        steps=draw(st.integers(2, 3)),
    )
    if holes(recipe):
        recipe = replace(recipe, optimizer="momentum")
    for _ in range(8):
        unstable = first_unstable(read(written(recipe)))
        if unstable is None or unstable[1] == "size":
            break
        recipe = recipe.slower()
    return recipe


def outgrown(program: Program, orders: Orders) -> list[str]:
    """What grows faster than its order, at the screening widths and again at larger ones.

    Left out is what divides: 1/|x| has no mean where x is dense at zero, so that the largest entries decide.
    """
    first = measured(program, SCREEN, range(SEEDS))
    if not too_fast(program, orders, _with_means(program, first), TOLERANCE):
        return []
    again = measured(program, AGAIN, range(SEEDS, SEEDS + MORE_SEEDS))
    seen = {_what(found) for found in too_fast(program, orders, _with_means(program, first), TOLERANCE)}
    found = too_fast(program, orders, _with_means(program, again), TOLERANCE_AGAIN)
    return [each for each in found if _what(each) in seen]


def _with_means(program: Program, growth: Growth) -> Growth:
    divides = [isinstance(s.instruction, Apply) and (s.instruction.facts.degree or 0) < 0 for s in program.statements]
    sizes = tuple(None if without else slope for without, slope in zip(divides, growth.size, strict=True))
    changes = tuple(None if without else slope for without, slope in zip(divides, growth.change, strict=True))
    return Growth(sizes, changes)


def _what(found: str) -> str:
    """The value, and whether it is its size or its change."""
    return found.partition(" measured")[0]


ZERO_READOUT = Recipe(
    (("function", "clamp", -1.0, 1.0),), readout=None, multiplier=Fraction(1), optimizer="adam", rates=(HALF,) * 4
)


@pytest.mark.xfail(
    strict=False,
    reason="products in layers whose rates explode (orders above 5) are measured up to one above their order: not understood",
)
@given(recipes())
@example(
    ZERO_READOUT
)  # Adam's root is zero in the base program: its reciprocal, and what is made of it, changed too little
@settings(max_examples=25)
def test_no_value_of_a_random_training_program_outgrows_its_orders(recipe: Recipe) -> None:
    program = written(recipe)
    assert not (found := outgrown(program, read(program))), (found, program.show())


SHARED = Recipe((("weight", 0, False), ("norm",), ("function", "gelu"), ("weight", 0, True)), multiplier=HALF)


def test_orders_at_smaller_rates_are_rejected() -> None:
    program = written(SHARED)
    assert not outgrown(program, read(program))
    assert outgrown(program, read(written(SHARED.slower())))


HOLES = Recipe(
    (("function", "sigmoid"), ("norm",), ("function", "relu"), ("function", "sigmoid")),
    tokens=True,
    readout=Fraction(1),
    multiplier=Fraction(1),
    optimizer="sign",
    rates=(Fraction(1), Fraction(1), Fraction(1), HALF),
)


@pytest.mark.xfail(strict=True, reason="a term does not say where it is exactly zero")
def test_the_sign_of_a_gradient_that_a_relu_has_masked_is_that_of_its_smaller_terms() -> None:
    """Where the mask is zero, a normalisation's backward pass leaves its corrections alone, and their sign has another parity."""
    program = written(HOLES)
    assert not outgrown(program, read(program))
