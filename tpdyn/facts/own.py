"""Where in abc-space is the script itself, and which role does each parameter play? Read off its program.

A parameter of the script enters the network as `n^-a w`. Its initial entries are of size n^-b, its learning rate of size n^-c.
The constants of the program show all three. `a` is in the multipliers of its uses, `b` in the law of its leaf. `c` is in
the constants between its gradient and its update. Where a function normalises (Adam's division),
only constants after it count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import assert_never, final

from tpdyn.exponents import ZERO, Order
from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Eigenvalues,
    Gather,
    Instruction,
    Leaf,
    Operand,
    Scatter,
    Slice,
    Spectral,
)
from tpdyn.program.program import Parameter, Program


@final
@dataclass(frozen=True, slots=True)
class Own:
    """The exponents of a parameter in the script, and its role.

    a: the smallest over its uses (a weight that is used twice may have two multipliers). `b` is 0 if the parameter starts
    at zero (`zero`). role: "hidden" (two dims grow), "input-like" (one dim grows, and stays: embeddings, biases, gains),
    "output-like" (its growing dim is summed over). Also "scalar-like" (none grows), or several with "and" between. uses:
    the smallest a of each role.
    """

    a: Fraction
    b: Fraction
    c: Fraction
    zero: bool
    role: str
    uses: Mapping[str, Fraction] = field(default_factory=dict, compare=False)


def own_exponents(program: Program, folded: Mapping[int, Fraction]) -> Mapping[str, Own]:
    """Read the script's own exponents and the roles of its parameters. folded: multipliers that follow values (`folded`)."""
    used = _multipliers(program, folded)
    return {parameter.name: _own(program, parameter, used.get(parameter.name, {})) for parameter in program.parameters}


def _own(program: Program, parameter: Parameter, used: Mapping[str, list[Fraction]]) -> Own:
    size = max(
        (order for var in parameter.versions[0].pieces if (order := _size(program, var)) is not None), default=None
    )
    rate = _rate(program, parameter)
    uses = {role: min(several) for role, several in sorted(used.items())}
    return Own(
        a=min(uses.values(), default=ZERO),
        b=ZERO if size is None else -size,
        c=ZERO if rate is None else -rate,
        zero=size is None,
        role=" and ".join(uses) or "unused",
        uses=uses,
    )


def _multipliers(program: Program, folded: Mapping[int, Fraction]) -> Mapping[str, Mapping[str, list[Fraction]]]:
    """Collect for each parameter and role the multipliers (as exponents a) of its uses in the first forward pass."""
    leaves = {var: p.name for p in program.parameters for var in p.versions[0].pieces}
    multipliers: dict[str, dict[str, list[Fraction]]] = {}
    for position, statement in enumerate(program.statements):
        if statement.origin.phase != "forward" or statement.origin.step != 0:
            continue
        for power, operand in _scaled_operands(statement.instruction):
            if operand.var in leaves and power is not None:
                wide = program.statements[operand.var].wide_axes
                kept = [axis for axis in wide if operand.axes[axis] < len(statement.shape)]
                of_role = multipliers.setdefault(leaves[operand.var], {}).setdefault(_role(len(wide), len(kept)), [])
                of_role.append(-power - folded.get(position, ZERO))
    return multipliers


def _scaled_operands(instruction: Instruction) -> list[tuple[Order, Operand]]:
    """List the operands of an instruction, each with the power of the width that multiplies it."""
    match instruction:
        case Contract(operands=operands, scale=scale):
            return [(scale.order, operand) for operand in operands]
        case Combine(terms=terms):
            return [(scale.order, operand) for scale, operand in terms]
        case Gather(value=operand) | Slice(value=operand) | Scatter(value=operand):
            return [(ZERO, operand)]
        case Apply(operands=operands) | Concat(parts=operands):
            return [(ZERO, operand) for operand in operands if operand is not None]
        case Leaf() | Eigenvalues() | Spectral():
            return []  # used otherwise than as a factor or a row: it has no multiplier of its own there
    assert_never(instruction)


def _role(wide: int, kept: int) -> str:
    if wide == 0:
        return "scalar-like"
    if wide >= 2:
        return "hidden"
    return "input-like" if kept else "output-like"


def _size(program: Program, var: int) -> Order:
    leaf = program.statements[var].instruction
    assert isinstance(leaf, Leaf)
    orders = [order for order in (leaf.law.location.order, leaf.law.scale.order) if order is not None]
    if leaf.law.is_given:
        return ZERO
    return max(orders, default=None)


def _rate(program: Program, parameter: Parameter) -> Order:
    """Find the largest power of the width by which constants multiply the update on its way to the parameter."""
    gradients = {var for gradient in parameter.gradients if gradient is not None for var in gradient.pieces}
    versions = {var for view in parameter.versions for var in view.pieces}
    known: dict[int, Order] = {}

    def power(var: int) -> Order:
        """Gather the power between a value of the optimizer and its gradient; None without an update."""
        if var not in known:
            known[var] = _gathered(var)
        return known[var]

    def _gathered(var: int) -> Order:
        statement = program.statements[var]
        instruction = statement.instruction
        if var in gradients:
            return ZERO
        if var in versions or isinstance(instruction, Leaf):
            return None
        if statement.origin.phase != "optimizer":
            return ZERO
        match instruction:
            case Combine(terms=terms):
                orders = [_plus(scale.order, power(operand.var)) for scale, operand in terms]
                return max((order for order in orders if order is not None), default=None)
            case Contract(operands=operands, scale=scale):
                orders = [power(operand.var) for operand in operands]
                gathered = sum((order for order in orders if order is not None), ZERO)
                return _plus(scale.order, gathered if any(order is not None for order in orders) else None)
            case Slice(value=operand) | Gather(value=operand) | Scatter(value=operand):
                return power(operand.var)
            case Concat(parts=parts):
                orders = [power(part.var) for part in parts if part is not None]
                return max((order for order in orders if order is not None), default=None)
            case Apply() | Eigenvalues() | Spectral():
                return ZERO  # a function either normalises its argument or has a scale of its own
        assert_never(instruction)

    updates: list[Fraction] = []
    for after in parameter.versions[1:]:
        for var in after.pieces:
            instruction = program.statements[var].instruction
            terms = instruction.terms if isinstance(instruction, Combine) else ()
            updates += [
                order
                for scale, operand in terms
                if operand.var not in versions and (order := _plus(scale.order, power(operand.var))) is not None
            ]
    return max(updates, default=None)


def _plus(x: Order, y: Order) -> Order:
    return None if x is None or y is None or math.inf in (x, y) else x + y
