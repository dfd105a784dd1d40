"""What values does a program take at one width? The plain definition: slow, obvious, and what faster things must equal.

Float and bool values are tensors of one float type (a bool is 0 or 1), int values are int64. The axes of a value are
those of its statement. Many seeds at once, the base program beside: `tpdyn.readings.batched`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from tpdyn.program.base import later_versions
from tpdyn.program.errors import ReadingError
from tpdyn.program.evaluation.evaluate import evaluate
from tpdyn.program.evaluation.leaves import draw, known
from tpdyn.program.evaluation.views import from_view, to_view
from tpdyn.program.instructions import Leaf, operands_of
from tpdyn.program.lifetimes import dying
from tpdyn.program.program import Program, Statement
from tpdyn.readings.interpret import Listener, Rule, Until, interpret

__all__ = ["entries", "finite", "from_view", "run", "to_view"]


def run(
    program: Program,
    width: int,
    *,
    vars: Collection[int] | None = None,
    until: Until[Tensor] | None = None,
    leaves: Mapping[str, Tensor] | None = None,
    base: bool = False,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    device: str | torch.device = "cpu",
    listener: Listener[Tensor] | None = None,
) -> dict[int, Tensor]:
    """Run a program at one width; return values by position. All are kept, or those of `vars`; others are freed early.

    vars, until and listener are those of `interpret`, everything else that of `finite`, which see.
    """
    rule = finite(program, width, leaves=leaves, base=base, dtype=dtype, seed=seed, device=device)
    wanted = range(len(program)) if vars is None else vars
    return interpret(program, rule, vars=wanted, until=until, listener=listener)


def finite(
    program: Program,
    width: int,
    *,
    leaves: Mapping[str, Tensor] | None = None,
    base: bool = False,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Rule[Tensor]:
    """Make the finite reading at one width: a rule for `interpret`, or for one side of `lockstep`. Good for one pass.

    Args:
        program: what to run.
        width: the number `n` in its dims and constants.
        leaves: values by leaf name, in the program's layout (see `from_view`). A leaf that is not given is taken from
            `program.arrays`, or else drawn from its law.
        base: run the base program: a parameter has its initial value in every step.
        dtype: the float type of the computation.
        seed: of the leaves that are drawn. Each leaf has a stream of its own. So the same seed draws the same leaves in the
            program and in the base program. A law that is known by its mean and standard deviation only ("iid") is drawn as
            a Gaussian.
        device: where to compute.

    Raises:
        ValueError: the width is not a positive integer, or a leaf is given that the program does not have.
        ReadingError: a leaf that cannot be drawn is missing or has another shape; a dim is not whole at this width.
            The message shows the statement and its source line.
    """
    if isinstance(width, bool) or width < 1:
        raise ValueError(f"width = {width}: expected a positive integer")
    given = {} if leaves is None else leaves
    names = {s.name for s in program.statements if isinstance(s.instruction, Leaf)}
    unknown = sorted(set(given) - names)
    if unknown:
        raise ValueError(f"leaves = {unknown}: the program has no such leaves; it has {', '.join(sorted(names))}")
    return _Evaluation(program, width, given, base, dtype, seed, torch.device(device))


def entries(program: Program, width: int) -> int:
    """Count the entries that live at once in one pass that keeps nothing, at most, the base program included."""
    sizes = [math.prod(dim.size_at(width) for dim in statement.shape) for statement in program.statements]
    reads = [[read.var for read in operands_of(each.instruction)] for each in program.statements]
    freed = dying(reads, ())
    initial = sum(sizes[piece] for parameter in program.parameters for piece in parameter.versions[0].pieces)
    alive = most = 0
    for position, size in enumerate(sizes):
        alive += size
        most = max(most, alive + size)
        alive -= sum(sizes[var] for var in freed.get(position, ()))
    return 2 * most + initial


class _Evaluation:
    """The rule of the finite reading: (position, statement, operand values) -> value."""

    def __init__(
        self,
        program: Program,
        width: int,
        leaves: Mapping[str, Tensor],
        base: bool,
        dtype: torch.dtype,
        seed: int,
        device: torch.device,
    ) -> None:
        self.program, self.width, self.leaves = program, width, leaves
        self.dtype, self.seed, self.device = dtype, seed, device
        self.later = later_versions(program) if base else {}
        self.kept = {piece for later in self.later.values() for piece in later.initial.pieces}
        self.initial: dict[int, Tensor] = {}

    def __call__(self, position: int, statement: Statement, operands: tuple[Tensor, ...]) -> Tensor:
        return (
            self.of_base(position, statement) if position in self.later else self.value(position, statement, operands)
        )

    def of_base(self, position: int, statement: Statement) -> Tensor:
        """Return the value that the base program reads instead of a later version of a parameter."""
        later, shape = self.later[position], self._shape(statement)
        view, initial = later.view, later.initial
        if view.layout == initial.layout:
            return self.initial[later.first]
        return from_view(view, to_view(initial, self.initial), dict.fromkeys(view.pieces, shape))[position]

    def value(self, position: int, statement: Statement, operands: tuple[Tensor, ...]) -> Tensor:
        """Compute the value of a statement as it stands."""
        with torch.no_grad():
            value = self._value(statement, operands, self._shape(statement))
        if position in self.kept:
            self.initial[position] = value
        return value

    def _shape(self, statement: Statement) -> tuple[int, ...]:
        try:
            return tuple(dim.size_at(self.width) for dim in statement.shape)
        except ValueError as error:
            raise ReadingError(str(error)) from error

    def _value(self, statement: Statement, operands: tuple[Tensor, ...], shape: tuple[int, ...]) -> Tensor:
        instruction, type = statement.instruction, statement.type
        if isinstance(instruction, Leaf):
            value = self._leaf(instruction, shape)
            return value.to(self.device, torch.int64 if type == "int" else self.dtype)
        return evaluate(instruction, operands, shape, self.width, dtype=self.dtype, type=type, device=self.device)

    def _leaf(self, leaf: Leaf, shape: tuple[int, ...]) -> Tensor:
        value = known(self.program, leaf, shape, self.width, self.leaves)
        return draw(leaf, shape, self.width, self.dtype, self.seed) if value is None else value
