"""What should a property of training be tried on? Hypothesis strategies for programs, models, parametrizations and their parts.

They are the ones that our own proofs draw from. Each says what it shrinks to: a failure is reported at the smallest example
that still fails. `from_type(Program)` and `from_type(Abc)` draw from them too, wherever tpdyn is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from hypothesis import strategies as st

from tpdyn.claims.theorems import Abc
from tpdyn.exponents import Scaling
from tpdyn.pointwise import FUNCTIONS, Function, lookup
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Law, Leaf
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import read
from tpdyn.regimes.judgement import first_unstable
from tpdyn.testing.perceptrons import WIDE
from tpdyn.testing.recipes import EXPONENTS, HALF, Recipe, Start, holes, written
from tpdyn.testing.recipes import FUNCTIONS as RECIPE_FUNCTIONS

if TYPE_CHECKING:
    from tpdyn.testing.models import Model

Family = Literal["sgd", "entrywise"]


def widths(
    count: int = 3, smallest: int = 16, largest: int = 64, multiple: int = 8
) -> st.SearchStrategy[tuple[int, ...]]:
    """Draw `count` different widths in rising order, all multiples of `multiple` within [smallest, largest].

    Raises ValueError if there are fewer. Shrinks to the smallest ones, (16, 24, 32) unless told otherwise.
    """
    known = range(-(-smallest // multiple) * multiple, largest + 1, multiple)
    if count < 1 or len(known) < count:
        raise ValueError(
            f"{count} widths from {smallest} to {largest}, multiples of {multiple}: there are {len(known)}. Expected at least one, "
            "and as many as there are"
        )
    return st.lists(st.sampled_from(known), min_size=count, max_size=count, unique=True).map(lambda w: tuple(sorted(w)))


def pointwise_functions(
    *, smooth: bool = False, differentiable: bool = True
) -> st.SearchStrategy[tuple[Function, tuple[float, ...]]]:
    """Draw a function of one number with its parameters, as (facts, parameters): `facts.value(torch, x, *parameters)`.

    smooth: without kinks and jumps. differentiable: with a listed derivative. Shrinks to tanh.
    """
    functions = []
    for name, function in FUNCTIONS.items():
        if function.arity != 1 or function.along is not None:
            continue
        for parameters in function.examples:
            facts = lookup(name, parameters)
            if (facts.slope is None and differentiable) or (smooth and (facts.kinks or facts.jumps)):
                continue
            functions.append((facts, tuple(parameters)))
    return st.sampled_from(sorted(functions, key=lambda each: each[0].name != "tanh"))


def optimizers() -> st.SearchStrategy[str]:
    """Draw the name of an optimizer of torch with its settings, a key of `tpdyn.testing.models.OPTIMIZERS`.

    `OPTIMIZERS[name](list(model.parameters()))` makes it. Shrinks to plain SGD.
    """
    from tpdyn.testing.models import OPTIMIZERS

    return st.sampled_from(sorted(OPTIMIZERS, key=lambda name: (name != "SGD", name)))


def models() -> st.SearchStrategy[Model]:
    """Draw models with their training scripts: `model.train(width)` trains on tokens, from embedding to readout.

    Layers are linear, norms, residual blocks, attention, activations; weights may be tied, gradients accumulated.
    Shrinks to embedding and readout alone, without biases, untied, trained by SGD.
    """
    from tpdyn.testing.models import LAYERS, Model

    return st.builds(
        Model,
        layers=st.lists(st.sampled_from(LAYERS), max_size=4).map(tuple),
        bias=st.booleans(),
        tied=st.booleans(),
        optimizer=optimizers(),
        parts=st.sampled_from([1, 2]),
        seed=st.integers(0, 99),
    )


def registered() -> None:
    """Tell Hypothesis what `st.from_type` draws for the types of tpdyn. It calls this itself (an entry point)."""
    st.register_type_strategy(Program, lambda _: programs())
    st.register_type_strategy(Abc, lambda _: abc_parametrizations(2))


def programs(length: int = 8) -> st.SearchStrategy[Program]:
    """Draw straight-line programs over vectors [n] and matrices [n, n]: leaves, sums, products, contractions, functions.

    length: at most so many instructions besides the leaves, at least two. Matrices are shared, and applied from both sides.
    Shrinks to one or two instructions on Gaussian vectors of order 0.
    """
    return _programs(length)


@st.composite
def _programs(draw: Callable[..., Any], length: int) -> Program:
    build = Builder()
    build.at(phase="forward")

    def std() -> Scaling:
        power: Fraction = draw(st.sampled_from([Fraction(0), Fraction(-1, 2), Fraction(-1)]))
        return Scaling.of(1, power)

    def leaf(name: str, scale: Scaling, *shape: Scaling) -> int:
        return build.leaf(Leaf("parameter", name, Law("normal", scale=scale)), shape)

    vectors = [leaf(f"v{k}", std(), WIDE) for k in range(2)]
    matrices = [leaf(f"W{k}", Scaling.of(1, Fraction(-1, 2)), WIDE, WIDE) for k in range(2)]
    scalars: list[int] = []
    for number in range(draw(st.integers(2, length))):
        kind = draw(st.sampled_from(["matvec", "transposed", "sum", "product", "function", "dot", "mean", "scaled"]))
        x, y = draw(st.sampled_from(vectors)), draw(st.sampled_from(vectors))
        name = f"u{number}"
        match kind:
            case "matvec" | "transposed":
                equation = "ij,j->i" if kind == "matvec" else "ji,j->i"
                vectors.append(build.einsum(equation, draw(st.sampled_from(matrices)), x, name=name))
            case "sum":
                vectors.append(build.combine((1, x), (0.7, y), name=name))
            case "product":
                vectors.append(build.einsum("i,i->i", x, y, name=name))
            case "function":
                function = draw(st.sampled_from(["tanh", "relu", "abs", "gelu", "sigmoid"]))
                vectors.append(build.apply(function, x, name=name))
            case "dot":
                power = draw(st.sampled_from([Fraction(0), Fraction(-1, 2), Fraction(-1)]))
                scalars.append(build.einsum("i,i->", x, y, scale=Scaling.of(1, power), name=name))
            case "mean":
                scalars.append(build.einsum("i->", x, scale=Scaling.of(1, -1), name=name))
            case "scaled" if scalars:
                vectors.append(build.einsum(",i->i", draw(st.sampled_from(scalars)), x, name=name))
    return build.build()


def training_programs() -> st.SearchStrategy[Program]:
    """Draw the programs of small training runs, forward, backward and optimizer spelled out, at the edge of stability.

    Shrinks as `training_recipes` do: those say in words what a program was made of.
    """
    return training_recipes().map(written)


OF_WEIGHTS: tuple[tuple[Any, ...], ...] = (("tanh",), ("clamp", -0.5, 0.5), ("sign",), ("abs",))
"""Functions of weights that are drawn."""
STARTS: tuple[Start, ...] = ("normal", "uniform", "with a mean")


@st.composite
def training_recipes(draw: Callable[..., Any]) -> Recipe:
    """Draw recipes of training programs: layers, tokens or features, tied or not, optimizer, rates, two to five steps.

    Layers are products, functions of values or of weights, norms, residuals, attention. Square weights are Gaussian or not,
    and may start as one draw. Rates are made smaller, by n^1/2 at a time, until nothing that counts grows. There orders are
    many and close.
    Shrinks towards one layer, SGD and two steps.
    """
    weight = st.tuples(st.just("weight"), st.integers(0, 1), st.booleans())
    other = st.one_of(
        st.sampled_from(RECIPE_FUNCTIONS),
        st.just(("norm",)),
        st.tuples(st.sampled_from(["add", "times"]), st.integers(1, 3)),
        st.tuples(st.just("beside"), st.integers(1, 3), st.integers(0, 1)),
        st.tuples(st.just("attention"), st.integers(0, 1), st.sampled_from([Fraction(1), HALF])),
        st.builds(lambda which, f: ("of weight", which, *f), st.integers(0, 1), st.sampled_from(OF_WEIGHTS)),
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
        rates=tuple(draw(st.sampled_from(EXPONENTS)) for _ in range(4)),
        steps=draw(st.sampled_from([2, 3, 5])),
        start=draw(st.sampled_from(STARTS)),
        alike=draw(st.booleans()),
    )
    if holes(recipe):
        recipe = replace(recipe, optimizer="momentum")
    if any(layer[0] == "times" for layer in layers):  # products explode in five steps
        recipe = replace(recipe, steps=min(3, recipe.steps))
    for _ in range(8):
        unstable = first_unstable(read(written(recipe)))
        if unstable is None or unstable[1] == "size":
            break
        recipe = recipe.slower()
    return recipe


def abc_parametrizations(
    layers: int, optimizer: Family = "sgd", denominator: int = 4, *, stable: bool = False
) -> st.SearchStrategy[Abc]:
    """Draw exponents (a, b, c) of a multilayer perceptron with `layers` hidden layers, multiples of 1/denominator.

    optimizer: "sgd", or "entrywise" for Adam and sign descent. stable: only stable and nontrivial points (for "entrywise"
    also faithful ones), half of them with features that learn. Otherwise three quarters are well initialised, and the slack
    variables that decide the verdict are often exactly 0. On these boundaries theorems change their mind.

    Shrinks towards whole numbers near 0 and towards the boundaries. Source: `tpdyn.claims.theorems`.
    """
    return _stable_points(layers, optimizer, denominator) if stable else _points(layers, optimizer, denominator)


@st.composite
def _points(draw: Callable[..., Any], layers: int, optimizer: Family, denominator: int) -> Abc:
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
def _stable_points(draw: Callable[..., Any], layers: int, optimizer: Family, denominator: int) -> Abc:
    """Build a point from the exponent r of the hidden layers' change, and from which inequality of nontriviality is tight."""
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
    """Draw 0 half of the time, else up to 1."""
    return st.one_of(st.just(Fraction(0)), st.integers(1, denominator).map(lambda k: Fraction(k, denominator)))


def _multiples(denominator: int) -> st.SearchStrategy[Fraction]:
    """Draw between -3/2 and 3/2."""
    return st.integers(-3 * denominator // 2, 3 * denominator // 2).map(lambda k: Fraction(k, denominator))


def _slack(denominator: int) -> st.SearchStrategy[Fraction]:
    """Draw 0 half of the time, else between -1/2 and 1."""
    some = st.integers(-denominator // 2, denominator).map(lambda k: Fraction(k, denominator))
    return st.one_of(st.just(Fraction(0)), some)
