"""How is a program written by hand? Statement by statement, with shapes worked out: for tests, docs and experiments.

Values are the positions of their statements. `at` says which step and phase the statements that follow belong to:

    b, n = Builder(), Builder.n
    b.parameter("v", (n,), std=Scaling.of(1, -1))
    for step in range(2):
        b.at(step=step, phase="data")
        h = b.data(f"h{step}", (n,))
        b.at(phase="forward")
        b.mark("output", "f", b.matmul(b.now("v"), h))
        b.at(phase="optimizer")
        b.update("v", b.combine((1, b.now("v")), (Scaling.of(-0.1, -1), h)), gradient=h)
    program = b.build()

Where the shorthands do not reach, `add` takes any instruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, final

from tpdyn.exponents import Number, Scaling
from tpdyn.program.check import check
from tpdyn.program.instructions import Apply, Combine, Contract, Gather, Instruction, Law, Leaf, Operand
from tpdyn.program.program import Mark, Origin, Parameter, Program, Statement, Type, View

Dim = int | Scaling
Shape = tuple[Scaling, ...]


@final
class Builder:
    """Collects statements and hands out their positions; `build` checks the whole and freezes it.

    Dims are numbers or `Scaling`s; `Builder.n` is the width. Axes line up from the right, as torch broadcasts.

    >>> b, n = Builder(), Builder.n
    >>> w, x = b.parameter("w", (n, 4), std=0.5), b.data("x", (7, 4))
    >>> h = b.apply("tanh", b.einsum("bi,oi->bo", x, w), name="h")
    >>> print(b.build().show())
    -- step 0, forward
    w ~ normal(0 +- 0.5)   [n, 4]
    x : data               [7, 4]
    h = tanh(x w^T)        [7, n]
    """

    n: ClassVar[Scaling] = Scaling.of(1, 1)

    def __init__(self) -> None:
        self.statements: list[Statement] = []
        self.parameters: list[Parameter] = []
        self.marks: list[Mark] = []
        self.origin = Origin()
        self._versions: dict[str, list[int]] = {}
        self._gradients: dict[str, dict[int, int]] = {}

    # -- any statement ------------------------------------------------------------------------------------------------

    def add(
        self,
        instruction: Instruction,
        shape: Shape,
        *,
        name: str = "",
        type: Type = "float",
        origin: Origin | None = None,
    ) -> int:
        """Append one statement; returns its position. Without a name it is called `v<position>`."""
        position = len(self.statements)
        self.statements.append(
            Statement(name or f"v{position}", instruction, shape, type, self.origin if origin is None else origin)
        )
        return position

    def leaf(self, leaf: Leaf, shape: Shape, *, type: Type = "float") -> int:
        """Append a leaf under its own name."""
        return self.add(leaf, shape, name=leaf.name, type=type)

    def at(self, **changes: Any) -> None:
        """Set step, phase, module or source of the statements that follow."""
        self.origin = replace(self.origin, **changes)

    def operand(self, var: int, axes: tuple[int, ...] | None = None) -> Operand:
        """Make an operand; its axes are, unless said otherwise, the first axes of the result."""
        return Operand(var, tuple(range(len(self.shape(var)))) if axes is None else axes)

    def shape(self, var: int) -> Shape:
        """Return the shape of a value."""
        return self.statements[var].shape

    # -- leaves -------------------------------------------------------------------------------------------------------

    def parameter(self, name: str, shape: Sequence[Dim], std: Number | Scaling = 1, *, law: Law | None = None) -> int:
        """Add a trained tensor, drawn from N(0, std^2) unless another law is given; std = 0 starts it at zero."""
        scale = _scaling(std)
        normal = Law("zero") if scale.is_zero else Law("normal", scale=scale)
        if name in self._versions:
            raise ValueError(f"parameter {name!r}: there is one already; give each another name")
        first = self.leaf(Leaf("parameter", name, law or normal), _shape(shape))
        self._versions[name] = [first]
        self._gradients[name] = {}
        return first

    def starts_as(self, name: str, other: str) -> int:
        """Add a trained tensor that starts as another one, and has updates of its own."""
        if name in self._versions:
            raise ValueError(f"parameter {name!r}: there is one already; give each another name")
        first = self._of(other)[0]
        self._versions[name], self._gradients[name] = [first], {}
        return first

    def data(self, name: str, shape: Sequence[Dim]) -> int:
        """Add real numbers that the user gives."""
        return self.leaf(Leaf("data", name, Law("data")), _shape(shape))

    def index(self, name: str, shape: Sequence[Dim]) -> int:
        """Add whole numbers that the user gives: tokens, labels."""
        return self.leaf(Leaf("data", name, Law("index")), _shape(shape), type="int")

    def random(self, name: str, shape: Sequence[Dim], law: Law) -> int:
        """Add noise that is drawn anew: a dropout mask, a latent."""
        return self.leaf(Leaf("random", name, law), _shape(shape))

    def constant(self, name: str, value: Number | Scaling, shape: Sequence[Dim] = ()) -> int:
        """Add a tensor filled with one number."""
        return self.leaf(Leaf("constant", name, Law("constant", _scaling(value))), _shape(shape))

    # -- instructions -------------------------------------------------------------------------------------------------

    def einsum(self, equation: str, *vars: int, scale: Number | Scaling = 1, name: str = "") -> int:
        """Add `scale * einsum(equation, ...)` of one or two values; the equation has an arrow: "bi,oi->bo".

        Raises ValueError unless there are as many terms as values, and as many letters as axes.
        """
        left, arrow, result = equation.replace(" ", "").partition("->")
        terms = left.split(",")
        if not arrow or len(terms) != len(vars):
            raise ValueError(f"einsum({equation!r}) of {len(vars)} values; expected e.g. 'bi,oi->bo' for two values")
        letters = list(dict.fromkeys(result + "".join(terms)))
        sizes: dict[str, Scaling] = {}
        for term, var in zip(terms, vars, strict=True):
            if len(term) != len(self.shape(var)):
                raise ValueError(
                    f"einsum({equation!r}): {term!r} has {len(term)} letters, "
                    f"but {self.statements[var].name} has the shape {_shown(self.shape(var))}"
                )
            sizes |= dict(zip(term, self.shape(var), strict=True))
        missing = [letter for letter in result if letter not in sizes]
        if missing:
            raise ValueError(f"einsum({equation!r}): no value has the axis {missing[0]!r} of the result")
        operands = tuple(
            Operand(var, tuple(letters.index(letter) for letter in term)) for term, var in zip(terms, vars, strict=True)
        )
        return self.add(Contract(operands, _scaling(scale)), tuple(sizes[letter] for letter in result), name=name)

    def matmul(self, x: int, y: int, *, scale: Number | Scaling = 1, name: str = "") -> int:
        """Add `scale * x @ y`: the last axis of x meets the last but one of y (a vector's only one).

        Raises ValueError where these have different sizes, or where both have more than two axes.
        """
        ranks = len(self.shape(x)), len(self.shape(y))
        inner = self.shape(x)[-1:], self.shape(y)[-2:][:1]
        if 0 in ranks or inner[0] != inner[1] or (max(ranks) > 2 and min(ranks) > 2):
            raise ValueError(
                f"matmul of {_shown(self.shape(x))} and {_shown(self.shape(y))}: expected equal inner sizes "
                "and at most one value with more than two axes. Try einsum"
            )
        batch = "abcdefgh"[: max(*ranks, 2) - 2]
        rows = ("i" * (ranks[0] > 1), "k" * (ranks[1] > 1))
        one = (batch if ranks[0] > 2 else "") + rows[0] + "j"
        other = (batch if ranks[1] > 2 else "") + "j" + rows[1]
        return self.einsum(f"{one},{other}->{batch}{rows[0]}{rows[1]}", x, y, scale=scale, name=name)

    def apply(
        self,
        function: str,
        *vars: int,
        parameters: Sequence[Number | Scaling] = (),
        along: int | None = None,
        name: str = "",
    ) -> int:
        """Apply a function of `tpdyn.pointwise`, entry by entry; `along` is the axis of a softmax (negative: from the right)."""
        shape = self._broadcast(function, vars)
        axis = along if along is None or along >= 0 else len(shape) + along
        operands = tuple(self._from_the_right(var, shape) for var in vars)
        return self.add(Apply(function, operands, tuple(map(_scaling, parameters)), axis), shape, name=name)

    def combine(
        self,
        *terms: tuple[Number | Scaling, int],
        constant: Number | Scaling = 0,
        epsilon: bool = False,
        name: str = "",
    ) -> int:
        """Add the `sum of factor * value, + constant`; `epsilon` says that the constant only guards a division."""
        shape = self._broadcast("combine", [var for _, var in terms])
        scaled = tuple((_scaling(factor), self._from_the_right(var, shape)) for factor, var in terms)
        return self.add(Combine(scaled, _scaling(constant), epsilon), shape, name=name)

    def gather(self, table: int, index: int, *, name: str = "") -> int:
        """Add `table[index]`: the rows of a table that an index names (an embedding)."""
        picked, rest = self.shape(index), self.shape(table)[1:]
        rank = len(picked) + len(rest)
        row = Operand(table, (rank, *range(len(picked), rank)))
        return self.add(Gather(row, self.operand(index), rank), (*picked, *rest), name=name)

    # -- training -----------------------------------------------------------------------------------------------------

    def now(self, name: str) -> int:
        """Return the latest version of a parameter."""
        return self._of(name)[-1]

    def update(self, name: str, var: int, *, gradient: int | None = None) -> int:
        """Let a value be the parameter after the step that `at` has set. The gradient of that step may be named.

        Raises ValueError if that step has updated the parameter already, or if the value has another shape.
        """
        versions, step = self._of(name), self.origin.step
        if len(versions) > step + 1:
            raise ValueError(f"parameter {name!r} has its update of step {step}; go on to the next with at(step=...)")
        if self.shape(var) != self.shape(versions[0]):
            raise ValueError(
                f"parameter {name!r} has the shape {_shown(self.shape(versions[0]))}, "
                f"its update {_shown(self.shape(var))}"
            )
        versions += [versions[-1]] * (step + 1 - len(versions)) + [var]
        if self.statements[var].name == f"v{var}":
            self.statements[var] = replace(self.statements[var], name=f"{name}_{step + 1}")
        if gradient is not None:
            self._gradients[name][step] = gradient
        return var

    def mark(self, kind: Literal["module", "output", "loss"], name: str, var: int) -> int:
        """Name a value in the current step: what a module or the network returns, or a loss."""
        self.marks.append(Mark(kind, name, self.origin.step, self._view(var)))
        return var

    def build(self, **fields: Any) -> Program:
        """Build and check the program; `fields` are those of `Program`.

        Raises IllFormed with every problem found.
        """
        steps = fields.pop("steps", max((len(versions) - 1 for versions in self._versions.values()), default=0))
        trained = [self._trained(name, versions, steps) for name, versions in self._versions.items()]
        program = Program(
            tuple(self.statements), (*self.parameters, *trained), tuple(self.marks), steps=steps, **fields
        )
        check(program)
        return program

    def _trained(self, name: str, versions: Sequence[int], steps: int) -> Parameter:
        every = [*versions, *[versions[-1]] * (steps + 1 - len(versions))]
        gradients = [self._gradients[name].get(step) for step in range(steps)]
        return Parameter(
            name,
            tuple(map(self._view, every)),
            tuple(None if gradient is None else self._view(gradient) for gradient in gradients),
        )

    def _of(self, name: str) -> list[int]:
        if name not in self._versions:
            raise KeyError(f"no parameter {name!r}; there are: {', '.join(self._versions) or 'none'}")
        return self._versions[name]

    def _view(self, var: int) -> View:
        return View.plain(var, len(self.shape(var)))

    def _broadcast(self, what: str, vars: Sequence[int]) -> Shape:
        """Broadcast the shapes of values, which line up from the right. Raises ValueError where two sizes differ."""
        shapes = [self.shape(var) for var in vars]
        longest = max(shapes, key=len, default=())
        if any(shape != longest[len(longest) - len(shape) :] for shape in shapes):
            raise ValueError(f"{what} of shapes {', '.join(map(_shown, shapes))}: expected equal sizes from the right")
        return longest

    def _from_the_right(self, var: int, shape: Shape) -> Operand:
        return Operand(var, tuple(range(len(shape) - len(self.shape(var)), len(shape))))


def _scaling(number: Number | Scaling) -> Scaling:
    return number if isinstance(number, Scaling) else Scaling.of(number)


def _shape(dims: Sequence[Dim]) -> Shape:
    return tuple(map(_scaling, dims))


def _shown(shape: Shape) -> str:
    return f"[{', '.join(map(str, shape))}]"
