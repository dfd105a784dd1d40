"""How do rows sorted by group meet one matrix a group? Each row with its group's, by masks that the group sizes give.

A mixture of experts sorts its tokens by expert and counts them (`histc`, `cumsum`). Then it multiplies each run of rows
with that expert's matrix (`_grouped_mm`). How long the runs are depends on parameters. So the product of each row with each
matrix is written, and a mask picks: `inside[r, g] = offset_(g-1) <= r < offset_g`.
"""

from __future__ import annotations

from typing import Any

import torch

from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.summing import reduce
from tpdyn.recorder.lowering.values import Handle, Known, Number, Refusal, Tensor


def histc(b: LoweredBuilder, x: Any, bins: int = 100, min: Number = 0, max: Number = 0) -> Tensor:
    """Count the entries in each of `bins` equal intervals from min to max (the last one closed)."""
    if min >= max:
        raise Refusal("histc between the smallest and the largest entry; give min < max")
    low = b.reshape(x, (-1, 1))
    edges = torch.linspace(float(min), float(max), bins + 1, dtype=torch.float64)
    below = b.apply("less", low, Known(edges[:-1], name="lower_edges"))
    above = b.apply("greater", low, Known(edges[-1:]))
    up_to = b.apply("less", low, Known(edges[1:-1], name="upper_edges")) if bins > 1 else None
    rows = b.shape(x)[0] if len(b.shape(x)) == 1 else b.shape(low)[0]
    last = b.combine([(-1, above)], 1.0, shape=(rows, 1))
    ends = last if up_to is None else b.concat([up_to, last], 1, (rows, bins))
    return reduce(b, b.combine([(1, ends), (-1, below)], shape=(rows, bins)), [0])


def _inside(b: LoweredBuilder, offsets: Any, rows: int) -> Handle:
    """Return inside[r, g]: whether row r belongs to group g, which ends before row offsets[g]."""
    (groups,) = b.shape(offsets)
    row_numbers = Known(torch.arange(rows, dtype=torch.float64).unsqueeze(1), name="rows")
    before_end = b.apply("greater", b.unsqueeze(offsets, 0), row_numbers)
    if groups == 1:
        return before_end
    earlier = b.slice(before_end, 1, 0, 1, groups - 1)
    return b.value(b.combine([(1, before_end), (-1, b.concat([1, earlier], 1, (rows, groups)))], share=True))


def grouped_mm(
    b: LoweredBuilder, left: Any, right: Any, offsets: Any = None, bias: Any = None, out_dtype: Any = None
) -> Tensor:
    """Return `left @ right` for each group. Groups are runs of rows of left, of columns of right, or of the summed dim."""
    if offsets is None or bias is not None:
        raise Refusal("_grouped_mm without offsets, or with a bias")
    shapes = len(b.shape(left)), len(b.shape(right))
    if shapes == (2, 3):
        each = b.contract(["row", "group", "out"], (left, ["row", "in"]), (right, ["group", "in", "out"]))
        mask = _inside(b, offsets, b.shape(left)[0])
        return b.contract(["row", "out"], (each, ["row", "group", "out"]), (mask, ["row", "group"]))
    if shapes == (2, 2):
        mask = _inside(b, offsets, b.shape(right)[0])
        mine = b.contract(["group", "in", "row"], (left, ["in", "row"]), (mask, ["row", "group"]))
        return b.contract(["group", "in", "out"], (mine, ["group", "in", "row"]), (right, ["row", "out"]))
    if shapes == (3, 2):
        each = b.contract(["out", "group", "row"], (left, ["group", "out", "in"]), (right, ["in", "row"]))
        mask = _inside(b, offsets, b.shape(right)[1])
        return b.contract(["out", "row"], (each, ["out", "group", "row"]), (mask, ["row", "group"]))
    raise Refusal(f"_grouped_mm of tensors with {shapes[0]} and {shapes[1]} dims")


RULES: dict[str, Rule] = {"histc": histc, "_grouped_mm": grouped_mm}
