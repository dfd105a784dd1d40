"""Where is one entry of a wide dim chosen, the largest say? At the one-hot rows `equal(rank, k)` of its recording.

`max`, `topk` and `sort` are recorded by ranks: `rank_e = #{e' : x_e' > x_e}`, the k-th largest entry being where the rank is k
(`tpdyn.recorder.lowering.standins.chosen`). The gradient of a maximum m looks for it again, `equal(x, m)`. One of n entries
has a given rank: the rows are ones on a fraction 1/n of the entries.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from fractions import Fraction

from tpdyn.program.instructions import Apply, Combine, Contract, operands_of
from tpdyn.program.program import Program


def picks(program: Program) -> Mapping[int, Fraction]:
    """Find the one-hot rows along wide dims, each with the order of the dim. A fraction n^-order of its entries is one."""
    rows: dict[int, Fraction] = {}
    for position, statement in enumerate(program.statements):
        apply = statement.instruction
        if isinstance(apply, Apply) and apply.function == "equal" and statement.wide_axes:
            x, other = (operand.var for operand in apply.operands)
            size = _ranked(program, x) or _chosen_from(program, x, other, rows)
            if size:
                rows[position] = size
    return rows


def rankings(program: Program) -> frozenset[int]:
    """Find what a ranking is made of: comparisons of a value with itself, one by one, and their counts. They represent nothing."""
    found: set[int] = set()
    for position in range(len(program)):
        if _ranked(program, position) is None:
            continue
        waiting = [position]
        while waiting:
            each = waiting.pop()
            if each not in found:
                found.add(each)
                instruction = program.statements[each].instruction
                if not isinstance(instruction, Apply):  # what is compared is no part of the ranking
                    waiting += [operand.var for operand in operands_of(instruction)]
    return frozenset(found)


def extremes(program: Program, rows: Container[int]) -> Mapping[int, int]:
    """Find the products that look up the k-th largest entry of a value by its ranks. Which factor is the value?

    It changes by no more than the largest change of an entry. The rank of an entry may change at once.
    """
    return {
        position: k
        for position, statement in enumerate(program.statements)
        if isinstance(product := statement.instruction, Contract) and len(product.operands) == 2
        for k in (0, 1)
        if product.operands[1 - k].var in rows
        and product.operands[k].var == _picked_by(program, product.operands[1 - k].var)
    }


def _picked_by(program: Program, row: int) -> int | None:
    """Return the value whose ranks a one-hot row was made of."""
    apply = program.statements[row].instruction
    compared = _compared(program, apply.operands[0].var) if isinstance(apply, Apply) else ()
    return next((each.operands[0].var for each in compared if _compares_with_itself(each)), None)


def _ranked(program: Program, position: int) -> Fraction | None:
    """Find the order of the wide dim along which a value ranks entries (a sum of comparisons with itself)."""
    count = program.statements[position].instruction
    if not isinstance(count, Contract) or len(count.operands) != 1:
        return None
    (operand,) = count.operands
    shape = program.statements[operand.var].shape
    rank = len(program.statements[position].shape)
    summed = [dim for label, dim in zip(operand.axes, shape, strict=True) if label >= rank]
    if len(summed) != 1 or not summed[0].is_wide:
        return None
    if any(_compares_with_itself(each) for each in _compared(program, position)):
        return summed[0].order
    return None


def _compared(program: Program, count: int) -> tuple[Apply, ...]:
    """List the functions that a sum counts."""
    total = program.statements[count].instruction
    if not isinstance(total, Contract) or len(total.operands) != 1:
        return ()
    (operand,) = total.operands
    before = program.statements[operand.var].instruction
    parts = [part.var for _, part in before.terms] if isinstance(before, Combine) else [operand.var]
    made = (program.statements[part].instruction for part in parts)
    return tuple(each for each in made if isinstance(each, Apply))


def _chosen_from(program: Program, x: int, chosen: int, picked: Mapping[int, Fraction]) -> Fraction:
    """Find the dims along which a value was chosen from x, by products with one-hot rows: their order, or 0.

    The gradient of a maximum goes to the entries that equal it.
    """
    size = Fraction(0)
    while chosen != x:
        product = program.statements[chosen].instruction
        rows = [o.var for o in product.operands if o.var in picked] if isinstance(product, Contract) else []
        values = [o.var for o in product.operands if o.var not in picked] if isinstance(product, Contract) else []
        if len(rows) != 1 or len(values) != 1:
            return Fraction(0)
        size, chosen = size + picked[rows[0]], values[0]
    return size


def _compares_with_itself(apply: Apply) -> bool:
    if apply.function not in ("greater", "less"):
        return False
    one, other = apply.operands
    return one.var == other.var and one.axes != other.axes
