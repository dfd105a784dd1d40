"""Where does the theory not reach, though every statement can be read? Values that grow both ways, and fixed wide matrices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tpdyn.program.instructions import Contract, Leaf, operands_of
from tpdyn.program.program import Program


def wide_data(program: Program, computed: Iterable[int], from_inputs: Sequence[bool]) -> tuple[int, ...]:
    """Find functions of the inputs along two wide dims: the number of samples, or of tokens, grows too.

    Functions of weights alone are left out, even after updates.
    """
    return tuple(
        position for position in computed if len(program.statements[position].wide_axes) > 1 and from_inputs[position]
    )


def fixed_products(program: Program) -> tuple[int, ...]:
    """Find sums of a representation with a fixed matrix of two wide dims (a Fourier transform over the width).

    Only the size of such a matrix's entries is known, not their dependence on the vectors that it meets.
    """
    products = []
    for position, statement in enumerate(program.statements):
        contract = statement.instruction
        if statement.origin.phase != "forward" or not isinstance(contract, Contract) or not statement.wide_axes:
            continue
        sums = any(label >= len(statement.shape) for operand in contract.operands for label in operand.axes)
        if sums and any(_is_fixed_matrix(program, operand.var) for operand in operands_of(contract)):
            products.append(position)
    return tuple(products)


def _is_fixed_matrix(program: Program, position: int) -> bool:
    """Tell whether a value is an array with two wide dims that the script computes."""
    statement = program.statements[position]
    leaf = statement.instruction
    fixed = isinstance(leaf, Leaf) and leaf.kind in ("constant", "buffer") and leaf.law.kind == "array"
    return fixed and statement.type == "float" and len(statement.wide_axes) > 1
