"""Which values can never be negative? Norms, squares, and what is made of such: of these the smallest is a matter of orders.

Needed where a script takes the smaller of two numbers (the factor of gradient clipping is the minimum of 1 and of a limit
divided by the norm of all gradients), or the larger of a norm and of a tiny number before it divides by it (Muon, and
`torch.nn.functional.normalize`): that number is an epsilon like Adam's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Eigenvalues,
    Gather,
    Leaf,
    Operand,
    Slice,
    operands_of,
)
from tpdyn.program.program import Program

ALWAYS = frozenset({"abs", "exp", "relu", "sigmoid", "softmax", "sqrt", "rsqrt"})
KEEPING = frozenset({"maximum", "minimum", "power", "reciprocal"})
DIVIDING = frozenset({"power", "reciprocal", "rsqrt"})

Axes = tuple[int, ...]
Generator = tuple[int, Axes]
"""A value, and those of its axes along which its vectors lie."""

TINY = 1e-4
"""A constant up to this size under a norm that is divided by is there for the case of zero only."""


def nonnegative(program: Program, var: int) -> bool:
    """Whether a value is nonnegative whatever the parameters are; False where the rules do not tell."""
    instruction = program.statements[var].instruction
    match instruction:
        case Leaf(law=law):
            return law.kind == "bernoulli" or (law.kind == "constant" and _none_negative([law.location]))
        case Apply(function=function, operands=operands):
            kept = function in KEEPING and all(nonnegative(program, operand.var) for operand in operands)
            return function in ALWAYS or kept
        case Contract(operands=operands, scale=scale):
            square = len(operands) == 2 and operands[0] == operands[1]
            return _none_negative([scale]) and (square or all(nonnegative(program, o.var) for o in operands))
        case Combine(terms=terms, constant=constant):
            positive = _none_negative([constant, *(scale for scale, _ in terms)])
            return positive and all(nonnegative(program, operand.var) for _, operand in terms)
        case Slice(value=operand) | Gather(value=operand):
            return nonnegative(program, operand.var)
        case Eigenvalues(value=value, rows=rows, columns=columns):
            sides = (tuple(value.axes.index(label) for label in side) for side in (rows, columns))
            return squares(program, value.var, *sides) is not None
        case Concat(parts=parts):
            return all(part is None or nonnegative(program, part.var) for part in parts)
        case _:
            return False


def squares(program: Program, var: int, rows: Axes, columns: Axes) -> frozenset[Generator] | None:
    """The values G of which a matrix is the sum of `G G^T`, times numbers that are not negative; None where it may be none."""
    instruction = program.statements[var].instruction
    swap = dict(zip((*rows, *columns), (*columns, *rows), strict=True))

    def within(operand: Operand) -> frozenset[Generator] | None:
        if any(label not in operand.axes for label in swap):
            return None
        sides = (tuple(operand.axes.index(label) for label in side) for side in (rows, columns))
        return squares(program, operand.var, *sides)

    match instruction:
        case Contract(operands=(one,), scale=scale) if _none_negative([scale]):
            return within(one)
        case Contract(operands=(one, other), scale=scale) if _none_negative([scale]):
            (factor, left), (times, right) = multiple(program, one), multiple(program, other)
            mirrored = tuple(swap.get(label, label) for label in left.axes)
            if (left.var, mirrored) == (right.var, right.axes) and _none_negative([factor * times]):
                side = rows if all(label in left.axes for label in rows) else columns
                if all(label in left.axes for label in side):
                    return frozenset({(left.var, tuple(left.axes.index(label) for label in side))})
            for matrix, number in ((one, other), (other, one)):
                if not any(label in swap for label in number.axes) and nonnegative(program, number.var):
                    return within(matrix)
            return None
        case Combine(terms=terms, constant=constant) if constant.is_zero:
            found: frozenset[Generator] = frozenset()
            for scale, operand in terms:
                own = within(operand) if _none_negative([scale]) else None
                if own is None:
                    return None
                found |= own
            return found
        case _:
            return None


def multiple(program: Program, operand: Operand) -> tuple[Scaling, Operand]:
    """An operand as a constant times what it is a multiple of."""
    statement = program.statements[operand.var]
    match statement.instruction:
        case Combine(terms=((scale, inner),), constant=constant) if constant.is_zero:
            if sorted(inner.axes) == list(range(len(statement.shape))):
                axes = tuple(operand.axes[axis] for axis in inner.axes)
                factor, source = multiple(program, Operand(inner.var, axes))
                return scale * factor, source
    return Scaling.of(1), operand


def _none_negative(scalings: Iterable[Scaling]) -> bool:
    return all(coefficient >= 0 for scaling in scalings for coefficient, _ in scaling.terms)


FLOOR = 1e-3
"""A constant up to this size under the norm of a parameter is there for parameters that are zero (Adafactor's, whose steps are
in proportion to the norm): a norm of order n^-1/2 meets it at a width of a million."""


def guarded_maxima(program: Program) -> Mapping[int, int]:
    """The statements `maximum(x, tiny)` in which the tiny number counts only where x is zero, and which operand is x.

    Those that are used as divisors only; and, in an optimizer, those of the norm of a parameter.
    """
    found: dict[int, int] = {}
    floors: dict[int, int] = {}
    versions = {var for parameter in program.parameters for view in parameter.versions for var in view.pieces}
    for position, statement in enumerate(program.statements):
        instruction = statement.instruction
        if isinstance(instruction, Apply) and instruction.function == "maximum":
            for k, (operand, other) in enumerate(zip(instruction.operands, instruction.operands[::-1], strict=True)):
                if not _is_constant_up_to(FLOOR, program, other.var) or not nonnegative(program, operand.var):
                    continue
                if _is_constant_up_to(TINY, program, other.var):
                    found[position] = k
                if (
                    statement.origin.phase == "optimizer"
                    and not statement.wide_axes
                    and _of_parameters(program, operand.var, versions)
                ):
                    floors[position] = k
    if found:
        for statement in program.statements:
            instruction = statement.instruction
            if not (isinstance(instruction, Apply) and instruction.function in DIVIDING):
                for operand in operands_of(instruction):
                    found.pop(operand.var, None)
    return found | floors


def _of_parameters(program: Program, var: int, versions: AbstractSet[int]) -> bool:
    """Whether a value is made of parameters and constants alone."""
    if var in versions:
        return True
    instruction = program.statements[var].instruction
    if isinstance(instruction, Leaf):
        return instruction.law.kind == "constant"
    return all(_of_parameters(program, operand.var, versions) for operand in operands_of(instruction))


def _is_constant_up_to(bound: float, program: Program, var: int) -> bool:
    leaf = program.statements[var].instruction
    if not isinstance(leaf, Leaf) or leaf.law.kind != "constant" or leaf.law.location.is_wide:
        return False
    return 0 < leaf.law.location.at(1) <= bound
