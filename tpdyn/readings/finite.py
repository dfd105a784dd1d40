"""What values does a program take at one width? The plain definition: slow, obvious, and what faster things must equal.

Float and bool values are tensors of one float type (a bool is 0 or 1), int values are int64. The axes of a value are
those of its statement. Many seeds at once, the base program beside: `tpdyn.readings.batched`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from tpdyn.program.base import Later, later_versions
from tpdyn.program.errors import ReadingError
from tpdyn.program.evaluation.evaluate import evaluate
from tpdyn.program.evaluation.leaves import draw, known
from tpdyn.program.evaluation.views import from_view, to_view
from tpdyn.program.instructions import Leaf
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
    later = later_versions(program) if base else {}
    kept = {piece for each in later.values() for piece in each.initial.pieces}
    initial: dict[int, Tensor] = {}
    place = torch.device(device)

    def rule(position: int, statement: Statement, operands: tuple[Tensor, ...]) -> Tensor:
        """Compute the value of a statement; instead of a later version of a parameter, what the base program reads."""
        shape, instruction, type = _shape_at(statement, width), statement.instruction, statement.type
        if position in later:
            return _of_base(later[position], initial, shape)
        with torch.no_grad():
            if isinstance(instruction, Leaf):
                value = known(program, instruction, shape, width, given)
                value = draw(instruction, shape, width, dtype, seed) if value is None else value
                value = value.to(place, torch.int64 if type == "int" else dtype)
            else:
                value = evaluate(instruction, operands, shape, width, dtype=dtype, type=type, device=place)
        if position in kept:
            initial[position] = value
        return value

    return rule


def _shape_at(statement: Statement, width: int) -> tuple[int, ...]:
    """Return the sizes of a statement's dims; raise ReadingError where one is not whole at this width."""
    try:
        return tuple(dim.size_at(width) for dim in statement.shape)
    except ValueError as error:
        raise ReadingError(str(error)) from error


def _of_base(later: Later, initial: Mapping[int, Tensor], shape: tuple[int, ...]) -> Tensor:
    """Return the value that the base program reads instead of a later version of a parameter, given the initial pieces."""
    view, first = later.view, later.initial
    if view.layout == first.layout:
        return initial[later.first]
    return from_view(view, to_view(first, initial), dict.fromkeys(view.pieces, shape))[view.pieces[later.piece]]


def entries(program: Program, width: int) -> int:
    """Count the entries that live at once in one pass that keeps nothing, at most, the base program included."""
    sizes = [math.prod(dim.size_at(width) for dim in statement.shape) for statement in program.statements]
    freed = dying(program.reads, ())
    initial = sum(sizes[piece] for parameter in program.parameters for piece in parameter.versions[0].pieces)
    alive = most = 0
    for position, size in enumerate(sizes):
        alive += size
        most = max(most, alive + size)
        alive -= sum(sizes[var] for var in freed.get(position, ()))
    return 2 * most + initial
