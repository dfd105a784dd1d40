"""What is a tensor program? A straight list of statements, each one instruction, in a symbolic width.

The statements of T training steps follow each other: initial leaves, then for each step forward, backward, optimizer.
A program is built once, by `tpdyn.recorder`, or by hand with `tpdyn.program.builder`. It is checked at the end of the
build, and never edited. Dims and constants are `Scaling`s: functions of the width `n`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, final

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Instruction, operands_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

Phase = Literal["initialization", "data", "forward", "backward", "optimizer"]
Type = Literal["float", "int", "bool"]


@final
@dataclass(frozen=True, slots=True)
class Source:
    """Where in the user's script a statement comes from."""

    file: str = ""
    line: int = 0
    text: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.file else "(no source line)"


@final
@dataclass(frozen=True, slots=True)
class Origin:
    """Who made a statement: training step (0, 1, ...), phase, module path ('' outside of modules), source line."""

    step: int = 0
    phase: Phase = "forward"
    module: str = ""
    source: Source = Source()


@final
@dataclass(frozen=True, slots=True)
class Statement:
    """`name : shape = instruction`. `name` is what is printed; the position in the program is what operands refer to."""

    name: str
    instruction: Instruction
    shape: tuple[Scaling, ...]
    type: Type = "float"
    origin: Origin = Origin()

    @property
    def wide_axes(self) -> tuple[int, ...]:
        """The positions of the axes that grow with the width."""
        return tuple(axis for axis, dim in enumerate(self.shape) if dim.is_wide)


@final
@dataclass(frozen=True, slots=True)
class Factor:
    """A factor of a script's dim that counts pieces: of dim number `dim`, before the `place`-th factor, of size `count`."""

    dim: int
    place: int
    count: int


@final
@dataclass(frozen=True, slots=True)
class View:
    """How a value of the script lies in the program: its dims, each a product of axes of `var`.

    `dims[k]` lists the axes of the program's value that make up the script's k-th dim (row-major). An empty tuple is a dim of
    size 1. A script's tensor that the program holds in pieces (a fused qkv weight) has one `var` per piece. Then `pieces`
    is longer than one, and the missing first factor of dim `stacked` counts the pieces. Where that is not all (pieces along
    two dims, or along an inner factor), `grid` names every missing factor. The pieces are in row-major order of them.
    Places count the factors of the whole dim, missing ones included.

    A packed tensor holds parts of different sizes end to end along one dim (the rows of Mamba-2's `in_proj`). Then `parts` are
    their views, and `along` is that dim. `pieces` are those of all parts, one after the other. `dims` is empty.
    """

    pieces: tuple[int, ...]
    dims: tuple[tuple[int, ...], ...]
    stacked: int | None = None
    grid: tuple[Factor, ...] = ()
    parts: tuple[View, ...] = ()
    along: int | None = None

    @staticmethod
    def plain(var: int, rank: int) -> View:
        """View one value of that rank as a tensor of the script, axis by axis."""
        return View((var,), tuple((axis,) for axis in range(rank)))

    @staticmethod
    def packed(parts: Sequence[View], along: int) -> View:
        """View parts of different sizes as one tensor of the script, end to end along one dim."""
        return View(tuple(piece for part in parts for piece in part.pieces), (), parts=tuple(parts), along=along)

    def moved(self, place: Callable[[int], int]) -> View:
        """Return the view of other values that lie in the same way."""
        return replace(
            self, pieces=tuple(map(place, self.pieces)), parts=tuple(part.moved(place) for part in self.parts)
        )

    @property
    def wholes(self) -> tuple[View, ...]:
        """The view itself; of a packed tensor, the views of its parts, none of which is packed."""
        return tuple(whole for part in self.parts for whole in part.wholes) if self.parts else (self,)

    @property
    def layout(self) -> tuple[object, ...]:
        """Equal for two views whose pieces lie in the tensor in the same way."""
        return self.dims, self.factors, self.along, tuple(part.layout for part in self.parts)

    @property
    def var(self) -> int:
        """The (first) value; the only one unless the tensor is held in pieces."""
        return self.pieces[0]

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Every factor that counts pieces."""
        if self.grid or self.stacked is None:
            return self.grid
        return (Factor(self.stacked, 0, len(self.pieces)),)


@final
@dataclass(frozen=True, slots=True)
class Mark:
    """A value of the script with a name: a module's output in one step, the network's output, a loss."""

    kind: Literal["module", "output", "loss"]
    name: str
    step: int
    view: View


@final
@dataclass(frozen=True, slots=True)
class Parameter:
    """A trained tensor: `versions[t]` is its value after t optimizer steps, `gradients[t]` the gradient in step t.

    `versions[0]` is its leaf. A gradient is None where the step left none.
    """

    name: str
    versions: tuple[View, ...]
    gradients: tuple[View | None, ...]


@final
@dataclass(frozen=True)
class Program:
    """A training script as a tensor program (frozen; see the module docstring).

    steps: the number of optimizer steps unrolled. arrays: values of "array" and finite "data" leaves, the same at every
    width, by leaf name. They do not enter equality. widths: those recorded. verified: the held-out width at which the
    program replayed the live script; None if that was not asked for. guarded: at that width, the typical size of what each
    `Combine(epsilon=True)` adds its epsilon to, or Rprop clamps. It is the mean of the entries that are not zero, by
    statement name. late: by name, the width from which on an initial parameter shrinks as its law says. Below, it hardly does.
    """

    statements: tuple[Statement, ...]
    parameters: tuple[Parameter, ...] = ()
    marks: tuple[Mark, ...] = ()
    steps: int = 0
    widths: tuple[int, ...] = ()
    verified: int | None = None
    notes: tuple[str, ...] = ()
    guarded: Mapping[str, float] = field(default_factory=dict)
    late: Mapping[str, float] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.statements)

    @cached_property
    def reads(self) -> tuple[tuple[int, ...], ...]:
        """The positions that each statement reads, in the order of its operands."""
        return tuple(
            tuple(operand.var for operand in operands_of(statement.instruction)) for statement in self.statements
        )

    def parameter(self, name: str) -> Parameter:
        """Return the parameter of that name; raises KeyError with the names there are."""
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise KeyError(f"no parameter {name!r}; there are: {', '.join(p.name for p in self.parameters) or 'none'}")

    def mark(self, name: str, step: int = 0) -> Mark:
        """Find the value that has this name in that step: a module's path, "output" or "loss".

        Raises KeyError with the marks there are.
        """
        for mark in self.marks:
            if (mark.name, mark.step) == (name, step):
                return mark
        steps = sorted({mark.step for mark in self.marks if mark.name == name})
        if steps:
            raise KeyError(f"no mark {name!r} in step {step}; it has one in the steps {', '.join(map(str, steps))}")
        names = dict.fromkeys(mark.name or "(root)" for mark in self.marks)
        raise KeyError(f"no mark {name!r}; there are: {', '.join(names) or 'none'}")

    def show(self, *, step: int | None = None, phases: tuple[str, ...] | None = None) -> str:
        """Show the program as text, formulas as in a paper (all of it, or one step or some phases)."""
        from tpdyn.program.show import show

        return show(self, step=step, phases=phases)

    def _repr_html_(self) -> str:
        from tpdyn.notebook import card, table

        counts: dict[tuple[int, str], int] = {}
        for statement in self.statements:
            part = (statement.origin.step, statement.origin.phase)
            counts[part] = counts.get(part, 0) + 1
        rows = [(str(step), phase, str(count)) for (step, phase), count in counts.items()]
        widths = ", ".join(map(str, self.widths)) or "none"
        facts = [
            f"{self.steps} steps, {len(self.parameters)} parameters, recorded at widths {widths}",
            "all of it: print(program.show(step=1))",
        ]
        return card(f"tensor program of {len(self)} statements", facts, table(("step", "phase", "statements"), rows))

    def dims_table(self) -> str:
        """Show which dims of parameters and data are which space, wide or finite, and why (see `tpdyn.program.dims`)."""
        from tpdyn.program.dims import show_spaces

        return show_spaces(self)

    def to_json(self) -> str:
        """Write the program as JSON text; `Program.from_json` reads it back (equal, up to `arrays`)."""
        from tpdyn.program.json import to_json

        return to_json(self)

    @staticmethod
    def from_json(text: str) -> Program:
        """Read the program that `to_json` wrote; raise ValueError on anything else."""
        from tpdyn.program.json import from_json

        return from_json(text)
