"""Is a matrix symmetric by construction, and is it a sum of squares? Read off the statements that make it.

`G G^T`, sums and averages of such, `A + A^T`, entrywise functions of symmetric matrices, functions of matrices. Numbers are
never looked at, so that recordings at all widths agree.
"""

from __future__ import annotations

from tpdyn.program.instructions import Apply, Combine, Contract, Leaf, Operand, Spectral
from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.values import Handle

Swap = dict[int, int]


def is_symmetric(b: LoweredBuilder, x: Handle) -> bool:
    """Tell whether the two dims of x can be swapped."""
    axes = _matrix_axes(x)
    return axes is not None and _symmetric(b, x.var, *axes)


def is_square_sum(b: LoweredBuilder, x: Handle) -> bool:
    """Tell whether x is a sum of `G G^T` with nonnegative factors, hence without negative eigenvalues."""
    axes = _matrix_axes(x)
    return axes is not None and _square_sum(b, x.var, *axes)


def _matrix_axes(x: Handle) -> tuple[int, int] | None:
    if len(x.shape) != 2 or 0 not in x.axes or 1 not in x.axes:
        return None
    return x.axes.index(0), x.axes.index(1)


def _symmetric(b: LoweredBuilder, var: int, p: int, q: int) -> bool:
    """Tell whether axes p and q of a statement can be swapped."""
    swap = {p: q, q: p}
    match b.statements[var].instruction:
        case Contract(operands=(one,)):
            return _invariant(b, one, swap)
        case Contract(operands=(one, other)):
            return _square(b, one, other, swap) or (_invariant(b, one, swap) and _invariant(b, other, swap))
        case Combine(terms=terms):
            left = [(scale, operand) for scale, operand in terms if not _invariant(b, operand, swap)]
            while left:
                scale, operand = left.pop()
                mirrored = (scale, _swapped(operand, swap))
                if mirrored not in left:
                    return False
                left.remove(mirrored)
            return True
        case Apply(operands=operands, along=None):
            return all(_invariant(b, operand, swap) for operand in operands)
        case Spectral(rows=rows, columns=columns):
            return (rows, columns) in (((p,), (q,)), ((q,), (p,)))
        case Leaf(law=law):
            return law.is_number
        case _:
            return False  # not told: a matrix that is not known to be symmetric is refused


def _square_sum(b: LoweredBuilder, var: int, p: int, q: int) -> bool:
    swap = {p: q, q: p}
    match b.statements[var].instruction:
        case Contract(operands=(one, other), scale=scale):
            (factor, one), (times, other) = _multiple(b, one), _multiple(b, other)
            mirrored = _swapped(one, swap) == other
            return mirrored and p in (*one.axes, *other.axes) and scale.at(1) * factor * times > 0
        case Combine(terms=terms, constant=constant) if constant.is_zero:
            return all(
                scale.at(1) >= 0
                and p in operand.axes
                and q in operand.axes
                and _square_sum(b, operand.var, operand.axes.index(p), operand.axes.index(q))
                for scale, operand in terms
            )
        case _:
            return False  # not told: it may have negative eigenvalues


def _multiple(b: LoweredBuilder, operand: Operand) -> tuple[float, Operand]:
    """Return an operand as a number times what it is a multiple of."""
    statement = b.statements[operand.var]
    match statement.instruction:
        case Combine(terms=((scale, inner),), constant=constant) if constant.is_zero:
            if sorted(inner.axes) == list(range(len(statement.shape))):
                factor, source = _multiple(b, Operand(inner.var, tuple(operand.axes[axis] for axis in inner.axes)))
                return factor * scale.at(1), source
    return 1.0, operand


def _swapped(operand: Operand, swap: Swap) -> Operand:
    return Operand(operand.var, tuple(swap.get(label, label) for label in operand.axes))


def _invariant(b: LoweredBuilder, operand: Operand, swap: Swap) -> bool:
    """Tell whether an operand stays the same when the two labels are swapped."""
    axes = [operand.axes.index(label) for label in swap if label in operand.axes]
    return not axes or (len(axes) == 2 and _symmetric(b, operand.var, axes[0], axes[1]))


def _square(b: LoweredBuilder, one: Operand, other: Operand, swap: Swap) -> bool:
    """Recognise `G G^T`, also of a symmetric G, which can stand either way."""
    (_, one), (_, other) = _multiple(b, one), _multiple(b, other)
    if one.var != other.var:
        return False
    mirrored = _swapped(one, swap).axes
    if mirrored == other.axes:
        return True
    return len(mirrored) == 2 and mirrored[::-1] == other.axes and _symmetric(b, one.var, 0, 1)
