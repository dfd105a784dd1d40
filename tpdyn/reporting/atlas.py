"""Where does each statement of a program lie on its map? Columns are the steps and phases, rows the modules.

The map is a table: time runs to the right, the forward pass downwards. A cell holds, in order, the statements that one
module makes in one phase of one step. There are `ACROSS` to a line. Whoever draws it adds up columns and rows, so that both
can be folded.

All lists are as long as the program; texts that repeat are numbers into a list of texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, assert_never

from tpdyn.exponents import ZERO, Order, show_order
from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Eigenvalues,
    Gather,
    Leaf,
    Operand,
    Scatter,
    Slice,
    Spectral,
    operands_of,
)
from tpdyn.program.program import Program, Statement
from tpdyn.program.show import show_statement

SCHEMA = "tpdyn.graph/1"
ACROSS = 4


def atlas(program: Program, sizes: Sequence[Order], changes: Sequence[Order]) -> dict[str, Any]:
    """Write the program as JSON data: `sizes[v]` and `changes[v]` are the orders of statement v and of its change."""
    columns, rows, locations, kinds, shapes = (_Numbers() for _ in range(5))
    owners = _owners(program)
    rows.update({name: number for number, name in enumerate(_modules(program, owners))})
    filled: Counter[tuple[int, int]] = Counter()
    nodes: dict[str, list[Any]] = {key: [] for key in KEYS}
    for position, statement in enumerate(program.statements):
        origin = statement.origin
        column = columns[origin.phase if origin.phase == "initialization" else f"{origin.step} {origin.phase}"]
        row = rows[owners[position]]
        cell = (column, row)
        source = origin.source
        values = (
            statement.name,
            kinds[kind(statement)],
            column,
            row,
            filled[cell],
            locations[source.file, source.line, source.text.strip()] if source.file else -1,
            shapes[" × ".join(map(str, statement.shape)) or "scalar"],
            show_statement(program, position).rpartition("   ")[0],
            None if sizes[position] is None else str(sizes[position]),
            None if changes[position] is None else str(changes[position]),
            list(dict.fromkeys(operand.var for operand in operands_of(statement.instruction))),
            derivation(program, position, sizes, changes),
        )
        filled[cell] += 1
        for key, value in zip(KEYS, values, strict=True):
            nodes[key].append(value)
    marks = {}
    for mark in program.marks:
        for piece in mark.view.pieces:
            marks[piece] = mark.name or mark.kind
    return {
        "schema": SCHEMA,
        "across": ACROSS,
        "columns": list(columns),
        "rows": list(rows),
        "kinds": list(kinds),
        "places": [list(each) for each in locations],
        "shapes": list(shapes),
        "marks": {str(position): name for position, name in marks.items()},
        "nodes": nodes,
    }


KEYS = (
    "name", "kind", "column", "row", "slot", "place", "shape", "formula", "size", "change", "inputs", "why"
)  # fmt: skip


class _Numbers(dict[Any, int]):
    """Number different texts, in the order in which they come."""

    def __missing__(self, text: Any) -> int:
        return self.setdefault(text, len(self))


def _owners(program: Program) -> list[str]:
    """Name the module of each statement; updates and initial values of parameters belong to their module."""
    readers: list[set[str]] = [set() for _ in program.statements]
    for parameter in program.parameters:
        for view in parameter.versions:
            for piece in view.pieces:
                readers[piece].add(parameter.name.rpartition(".")[0])
    owners = [statement.origin.module for statement in program.statements]
    for position in reversed(range(len(program))):
        statement = program.statements[position]
        phase = statement.origin.phase
        if phase in ("optimizer", "initialization"):
            if not owners[position] and len(readers[position]) == 1:
                (owners[position],) = readers[position]
            if phase == "optimizer":
                for operand in operands_of(statement.instruction):
                    if program.statements[operand.var].origin.phase == "optimizer":
                        readers[operand.var].add(owners[position])
    return owners


def _modules(program: Program, owners: Sequence[str]) -> list[str]:
    """List the modules as the first forward pass meets them; the root comes first."""
    met = (owner for owner, s in zip(owners, program.statements, strict=True) if s.origin.phase == "forward")
    return list(dict.fromkeys(["", *met, *owners]))


def kind(statement: Statement) -> str:
    """Name the instruction in a word or two."""
    match statement.instruction:
        case Leaf(kind=which):
            return which
        case Apply(function=function):
            return function
        case Contract(operands=operands):
            return "product" if len(operands) == 2 else "sum"
        case Combine():
            return "linear combination"
        case (Gather() | Scatter() | Slice() | Concat() | Eigenvalues() | Spectral()) as other:
            return type(other).__name__.lower()
        case _:
            assert_never(statement.instruction)


def derivation(program: Program, position: int, sizes: Sequence[Order], changes: Sequence[Order]) -> list[Any]:
    """Explain why a statement has its orders: [rule, how the size comes about, how the change does].

    The lines name the parts with their orders; the leading part is marked with a star.
    """
    statement = program.statements[position]
    names = [each.name for each in program.statements]

    def power(order: Order) -> str:
        return "zero" if order is None else f"n^{show_order(order).removeprefix('+')}"

    def listed(orders: Sequence[Order], operands: Sequence[tuple[Order, Operand]]) -> list[str]:
        """List each term of a sum with its order."""
        lines = []
        for scale, operand in operands:
            order = orders[operand.var]
            total = None if order is None or scale is None else order + scale
            lines.append(f"{names[operand.var]}: {power(total)}")
        return lines

    size = sizes[position]
    terms: list[tuple[Order, Operand]]
    constants: list[str] = []
    match statement.instruction:
        case Leaf(law=law):
            return [f"a value that the program starts from ({law.kind})", [f"{power(size)}, by its law"], []]
        case Contract(operands=(one, other), scale=scale):
            wide = sorted(
                {a for a in {*one.axes} & {*other.axes} if a >= len(statement.shape) and _wide(program, one, a)}
            )
            gain = _gain(size, scale.order, sizes[one.var], sizes[other.var])
            rule = (
                "entry by entry" if not wide else f"summed over {'n' if len(wide) == 1 else f'{len(wide)} axes of n'}"
            )
            parts = listed(sizes, [(ZERO, one), (ZERO, other)])
            if scale.order:
                parts.append(f"factor {scale}: {power(scale.order)}")
            if wide and gain is not None:
                parts.append(f"the sum: {power(gain)}{_why_gain(gain, len(wide))}")
            moved = _bilinear(names, one, other, sizes, changes, power)
            return [f"a product, {rule}: orders add", parts, moved]
        case Contract(operands=operands, scale=scale):
            rule, terms = "a sum over axes", [(scale.order, each) for each in operands]
        case Combine(terms=scaled, constant=constant):
            rule, terms = "a linear combination: the largest part leads", [(by.order, each) for by, each in scaled]
            if not constant.is_zero:
                constants.append(f"the constant {constant}: {power(constant.order)}")
        case Apply(function=function, operands=operands):
            rule, terms = f"{function}, entry by entry", [(ZERO, each) for each in operands]
        case (Gather() | Scatter() | Slice() | Concat() | Eigenvalues() | Spectral()) as taken:
            rule, terms = f"{kind(statement)}: entries of what it reads", [(ZERO, each) for each in operands_of(taken)]
    return [rule, [*listed(sizes, terms), *constants], listed(changes, terms)]


def _wide(program: Program, operand: Operand, label: int) -> bool:
    return program.statements[operand.var].shape[operand.axes.index(label)].is_wide


def _gain(total: Order, *parts: Order) -> Order:
    """Compute what the sum itself adds to the orders of the factors; None if something is zero."""
    if total is None or any(part is None for part in parts):
        return None
    return total - sum((part for part in parts if part is not None), ZERO)


def _why_gain(gain: Order, axes: int) -> str:
    if gain == axes:
        return ", its terms agree in sign (law of large numbers)"
    if gain is not None and 2 * gain == axes:
        return ", its terms have random signs (central limit theorem)"
    return ""


def _bilinear(names: Sequence[str], one: Operand, other: Operand, sizes: Any, changes: Any, power: Any) -> list[str]:
    """List the parts of the change of a product that are not zero: dA B, A dB, dA dB."""
    parts = []
    for left, a in (("d", changes[one.var]), ("", sizes[one.var])):
        for right, b in (("d", changes[other.var]), ("", sizes[other.var])):
            if (left or right) and a is not None and b is not None:
                names_ = f"{'Δ' if left else ''}{names[one.var]} · {'Δ' if right else ''}{names[other.var]}"
                parts.append(f"{names_}: {power(a)} · {power(b)}")
    return parts
