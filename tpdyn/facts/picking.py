"""Where is one entry of a wide dim chosen, the largest say? At the one-hot rows `equal(rank, k)` of its recording.

`max`, `topk` and `sort` are recorded by ranks: `rank_e = #{e' : x_e' > x_e}`, the k-th largest entry being where the rank is k
(`tpdyn.recorder.lowering.standins.chosen`). The gradient of a maximum m looks for it again, `equal(x, m)`. One of n entries
has a given rank: the rows are ones on a fraction 1/n of the entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from tpdyn.program.instructions import Apply, Combine, Contract
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
    before = program.statements[operand.var].instruction
    parts = [part.var for _, part in before.terms] if isinstance(before, Combine) else [operand.var]
    compared = [program.statements[part].instruction for part in parts]
    if any(_compares_with_itself(each) for each in compared):
        return summed[0].order
    return None


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


def _compares_with_itself(instruction: object) -> bool:
    if not isinstance(instruction, Apply) or instruction.function not in ("greater", "less"):
        return False
    one, other = instruction.operands
    return one.var == other.var and one.axes != other.axes
