"""Which values can never be negative? Norms, squares, and their sums and products: orders tell which of these is the smallest.

Some scripts take the smaller of two numbers. Gradient clipping multiplies by the minimum of 1 and a limit over the norm
of all gradients. Others divide by the larger of a norm and a tiny number: Muon, and `torch.nn.functional.normalize`.
That is an epsilon like Adam's. So is the smallest step size of Rprop, to which it clamps.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import assert_never

from tpdyn.exponents import Scaling
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
    operands_of,
)
from tpdyn.program.program import Program, Statement

Axes = tuple[int, ...]
Generator = tuple[int, Axes]
"""A value, and those of its axes along which its vectors lie."""

TINY = 1e-4
"""A constant up to this size, under a norm in a denominator, counts only if the norm is zero."""


def nonnegative(program: Program) -> tuple[bool, ...]:
    """Mark the values that are nonnegative whatever the parameters are; False if the rules do not tell.

    Squares are nonnegative. So are sums and products of nonnegative values with nonnegative constants, and functions of them
    that keep the sign.
    """
    known: list[bool] = []
    for statement in program.statements:
        known.append(_nonnegative(program, known, statement.instruction))
    return tuple(known)


def _nonnegative(program: Program, known: Sequence[bool], instruction: Instruction) -> bool:
    match instruction:
        case Leaf(law=law):
            return law.kind == "bernoulli" or (law.kind == "constant" and _none_negative([law.location]))
        case Apply(operands=operands):
            if instruction.facts.jumps:
                return False  # a mask may select few entries: of their sum only a bound is known, which nothing is smaller than
            sign = instruction.facts.nonnegative
            return sign == "always" or (sign == "kept" and all(known[operand.var] for operand in operands))
        case Contract(operands=operands, scale=scale):
            square = len(operands) == 2 and operands[0] == operands[1]
            return _none_negative([scale]) and (square or all(known[o.var] for o in operands))
        case Combine(terms=terms, constant=constant):
            positive = _none_negative([constant, *(scale for scale, _ in terms)])
            return positive and all(known[operand.var] for _, operand in terms)
        case Slice(value=operand) | Gather(value=operand) | Scatter(value=operand):
            return known[operand.var]
        case Concat(parts=parts):
            return all(part is None or known[part.var] for part in parts)
        case Eigenvalues(value=value, rows=rows, columns=columns):
            sides = (tuple(value.axes.index(label) for label in side) for side in (rows, columns))
            return squares(program, known, value.var, *sides) is not None
        case Spectral():
            return False  # a negative entry off the diagonal, even where every eigenvalue is positive
    assert_never(instruction)


def squares(
    program: Program, known: Sequence[bool], var: int, rows: Axes, columns: Axes
) -> frozenset[Generator] | None:
    """Find the values G if a matrix is the sum of `G G^T` times nonnegative numbers. None if it may not be one.

    known: which values are never negative (`nonnegative`).
    """
    instruction = program.statements[var].instruction
    swap = dict(zip((*rows, *columns), (*columns, *rows), strict=True))

    def within(operand: Operand) -> frozenset[Generator] | None:
        if any(label not in operand.axes for label in swap):
            return None
        sides = (tuple(operand.axes.index(label) for label in side) for side in (rows, columns))
        return squares(program, known, operand.var, *sides)

    match instruction:
        case Contract(operands=(one,), scale=scale) if _none_negative([scale]):
            return within(one)
        case Contract(operands=(one, other), scale=scale) if _none_negative([scale]):
            generator = _own_square(program, one, other, rows, swap)
            if generator is not None:
                return frozenset({generator})
            for matrix, number in ((one, other), (other, one)):
                if not any(label in swap for label in number.axes) and known[number.var]:
                    return within(matrix)
            return None
        case Combine(terms=terms, constant=constant) if constant.is_zero:
            parts = [within(operand) if _none_negative([scale]) else None for scale, operand in terms]
            known_parts = [part for part in parts if part is not None]
            return frozenset().union(*known_parts) if len(known_parts) == len(parts) else None
        case _:
            return None  # nothing else is known to be a sum of squares: None is the cautious answer


def _own_square(
    program: Program, one: Operand, other: Operand, rows: Axes, swap: Mapping[int, int]
) -> Generator | None:
    """Find G where a product is `G G^T`: a value with itself, or a multiple of it, rows against columns."""
    (factor, left), (times, right) = multiple(program, one), multiple(program, other)
    mirrored = tuple(swap.get(label, label) for label in left.axes)
    if (left.var, mirrored) != (right.var, right.axes) or not _none_negative([factor * times]):
        return None
    side = rows if all(label in left.axes for label in rows) else tuple(swap[label] for label in rows)
    if not all(label in left.axes for label in side):
        return None
    return left.var, tuple(left.axes.index(label) for label in side)


def multiple(program: Program, operand: Operand) -> tuple[Scaling, Operand]:
    """Write an operand as a constant times another operand."""
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
"""A constant up to this size under the norm of a parameter is there for parameters that are zero. So is Adafactor's, whose
steps are in proportion to the norm. A norm of order n^-1/2 meets it at a width of a million.
"""


def guarded_maxima(program: Program, known: Sequence[bool], versions: Container[int]) -> Mapping[int, int]:
    """Find the statements `maximum(x, tiny)` where the tiny number counts only at x = 0, and which operand is x.

    Those that are used as divisors only. In an optimizer also those of the norm of a parameter, and clamps (`floor_of`).
    known: which values are never negative. versions: values that are parameters.
    """
    guarded = _maxima_with(TINY, program, known)
    if guarded:
        for statement in program.statements:
            instruction = statement.instruction
            if not (isinstance(instruction, Apply) and _divides(instruction)):
                for operand in operands_of(instruction):
                    guarded.pop(operand.var, None)
    of_parameters = made_of_parameters(program, versions)
    for position, kept in _maxima_with(FLOOR, program, known).items():
        statement = program.statements[position]
        maximum = statement.instruction
        assert isinstance(maximum, Apply)
        norm = of_parameters[maximum.operands[kept].var] and not statement.wide_axes
        if norm and statement.origin.phase == "optimizer":
            guarded[position] = kept
    return guarded | dict.fromkeys(floors(program), 0)


def floors(program: Program) -> tuple[int, ...]:
    """Find the clamps of an optimizer whose lower end is tiny (`floor_of`)."""
    return tuple(position for position, statement in enumerate(program.statements) if floor_of(statement) is not None)


def floor_of(statement: Statement) -> float | None:
    """Return the tiny lower end to which an optimizer clamps, as Rprop its step sizes. None for any other value.

    It counts only where a step size has shrunk away. A rate that falls with the width meets it in the end.
    """
    clamp = statement.instruction
    if statement.origin.phase != "optimizer" or not isinstance(clamp, Apply) or clamp.function != "clamp":
        return None
    low = clamp.parameters[0]
    return low.at(1) if not low.is_wide and 0 < low.at(1) <= TINY else None


def _divides(apply: Apply) -> bool:
    """Tell whether a function is infinite at zero, as a quotient is."""
    degree = apply.facts.degree
    return degree is not None and degree < 0


def _maxima_with(bound: float, program: Program, known: Sequence[bool]) -> dict[int, int]:
    """Find the maxima of a nonnegative value and a constant up to a bound, and which operand is the value."""
    return {
        position: k
        for position, statement in enumerate(program.statements)
        if isinstance(maximum := statement.instruction, Apply) and maximum.facts.chooses == "largest"
        for k in (0, 1)
        if known[maximum.operands[k].var] and _is_constant_up_to(bound, program, maximum.operands[1 - k].var)
    }


def made_of_parameters(program: Program, versions: Container[int]) -> tuple[bool, ...]:
    """Mark the values that depend on parameters and constants alone."""
    alone: list[bool] = []
    for position, statement in enumerate(program.statements):
        instruction = statement.instruction
        if isinstance(instruction, Leaf):
            alone.append(position in versions or instruction.law.kind == "constant")
        else:
            alone.append(position in versions or all(alone[operand.var] for operand in operands_of(instruction)))
    return tuple(alone)


def _is_constant_up_to(bound: float, program: Program, var: int) -> bool:
    leaf = program.statements[var].instruction
    if not isinstance(leaf, Leaf) or leaf.law.kind != "constant" or leaf.law.location.is_wide:
        return False
    return 0 < leaf.law.location.at(1) <= bound
