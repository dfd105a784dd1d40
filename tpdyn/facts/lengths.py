"""Which vectors have length 1 by construction? Their entries are of order -1/2, whatever the exponents of the network.

`F.normalize(z)` and `z / z.norm()` along a wide dim, as in contrastive losses and cosine heads. Such a vector counts as
n^1/2 times itself: it neither vanishes nor stands still if its direction moves. RMSNorm divides by the root of a mean, and
its entries are of order 0 already.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from fractions import Fraction

from tpdyn.program.instructions import Apply, Combine, Concat, Contract, Gather, Leaf, Operand, Slice, operands_of
from tpdyn.program.program import Program


def unit_lengths(program: Program) -> Mapping[int, Fraction]:
    """Map forward values of unit length to the power by which they count as larger (half that of the dim).

    Parts, multiples and sums of such vectors count likewise, and entrywise products of two by both powers. A product with a
    sum over a wide dim does not: `x.norm() * z` is of the size of x, as is the part of x along z.
    """
    found: dict[int, Fraction] = {}
    sums: set[int] = set()
    for position, statement in enumerate(program.statements):
        if statement.origin.phase != "forward":
            continue
        if _is_sum(program, position, found, sums):
            sums.add(position)
        if len(statement.wide_axes) != 1:
            continue
        power = _normalised(program, position)
        if power is None:
            power = None if position in sums else _carried(program, position, found)
        if power is not None and power > 0:
            found[position] = power
    return found


def _normalised(program: Program, position: int) -> Fraction | None:
    """Return half the order of the dim along which a value is divided by its own length. None for any other value."""
    statement = program.statements[position]
    product = statement.instruction
    if not isinstance(product, Contract) or len(product.operands) != 2 or product.scale.order != 0:
        return None
    for vector, factor in (product.operands, product.operands[::-1]):
        size = statement.shape[statement.wide_axes[0]].order
        if size is not None and _divides_by_length(program, factor.var, vector.var):
            return size / 2
    return None


def _divides_by_length(program: Program, position: int, vector: int) -> bool:
    """Tell whether a value is one over the length of a vector, guarded or not."""
    inverse = program.statements[position].instruction
    if not isinstance(inverse, Apply) or inverse.function not in ("reciprocal", "rsqrt"):
        return False
    square = _unguarded(program, inverse.operands[0].var)
    if inverse.function == "reciprocal":
        root = program.statements[square].instruction
        if not isinstance(root, Apply) or root.function != "sqrt":
            return False
        square = _unguarded(program, root.operands[0].var)
    total = program.statements[square].instruction
    if not isinstance(total, Contract) or total.scale.order != 0:
        return False
    rank = len(program.statements[square].shape)
    if not any(_sums_wide(program, operand, rank) for operand in total.operands):
        return False
    if len(total.operands) == 1:
        each = program.statements[total.operands[0].var].instruction
        return isinstance(each, Contract) and _is_square(each, vector) and each.scale.order == 0
    return _is_square(total, vector)


def _unguarded(program: Program, position: int) -> int:
    """Walk through what keeps a length from zero: a maximum with a constant, or a small summand."""
    while True:
        match program.statements[position].instruction:
            case Apply(function="maximum" | "clamp", operands=operands) if all(
                isinstance(program.statements[o.var].instruction, Leaf) for o in operands[1:]
            ):
                position = operands[0].var
            case Combine(terms=((scale, operand),)) if scale.is_constant and scale.constant == 1:
                position = operand.var
            case _:  # no guard
                return position


def _sums_wide(program: Program, operand: Operand, rank: int) -> bool:
    wide = program.statements[operand.var].wide_axes
    return any(operand.axes[axis] >= rank for axis in wide)


def _is_square(product: Contract, vector: int) -> bool:
    return (
        len(product.operands) == 2
        and all(operand.var == vector for operand in product.operands)
        and (product.operands[0].axes == product.operands[1].axes)
    )


def _is_sum(program: Program, position: int, lengths: Mapping[int, Fraction], sums: Container[int]) -> bool:
    """Tell whether a value has the size of a sum over a wide dim, or is a product with one. A mean and a cosine are none."""
    statement = program.statements[position]
    instruction = statement.instruction
    numbers = [o.var for o in operands_of(instruction) if not program.statements[o.var].wide_axes]
    if isinstance(instruction, Apply) and (instruction.facts.bounded or instruction.along is not None):
        return False
    if any(number in sums for number in numbers):
        return True
    if not isinstance(instruction, Contract):
        return False
    rank, order = len(statement.shape), instruction.scale.order or Fraction(0)
    summed = {
        label: program.statements[o.var].shape[axis].order
        for o in instruction.operands
        for axis, label in enumerate(o.axes)
        if label >= rank and program.statements[o.var].shape[axis].is_wide
    }
    over = sum((size or Fraction(0) for size in summed.values()), order)
    return bool(summed) and over > sum((lengths.get(o.var, Fraction(0)) for o in instruction.operands), Fraction(0))


def _carried(program: Program, position: int, known: Mapping[int, Fraction]) -> Fraction | None:
    """Return the power of what is made of vectors of unit length, without a sum over the wide dim."""
    instruction = program.statements[position].instruction
    wide = [operand for operand in operands_of(instruction) if program.statements[operand.var].wide_axes]
    if not wide or any(operand.var not in known for operand in wide):
        return None
    powers = [known[operand.var] for operand in wide]
    match instruction:
        case Slice() | Gather() | Concat():
            return min(powers)
        case Combine(terms=terms, constant=constant) if constant.is_zero:
            return min(known[o.var] - (scale.order or Fraction(0)) for scale, o in terms if o.var in known)
        case Contract(scale=scale) if scale.order is not None:
            return sum(powers, Fraction(0)) - scale.order
        case _:  # another function has a size of its own
            return None
