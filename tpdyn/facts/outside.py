"""Where does the theory not reach, though every statement can be read? Values that grow both ways, and fixed wide matrices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tpdyn.program.instructions import Contract, Leaf, operands_of
from tpdyn.program.program import Program


def wide_data(program: Program, computed: Iterable[int], from_inputs: Sequence[bool]) -> tuple[int, ...]:
    """What the network computes of its inputs along two wide dims: the number of samples, or of tokens, grows too.

    A matrix that is made of weights alone is none, after updates as little as before.
    """
    return tuple(
        position for position in computed if len(program.statements[position].wide_axes) > 1 and from_inputs[position]
    )


def fixed_products(program: Program) -> tuple[int, ...]:
    """Products that sum a representation with a fixed matrix of two wide dims (a Fourier transform over the width).

    Of such a matrix only the size of its entries is known, and not what it has in common with the vectors that it meets.
    """
    found = []
    for position, statement in enumerate(program.statements):
        contract = statement.instruction
        if statement.origin.phase != "forward" or not isinstance(contract, Contract) or not statement.wide_axes:
            continue
        sums = any(label >= len(statement.shape) for operand in contract.operands for label in operand.axes)
        if sums and any(_is_fixed_matrix(program, operand.var) for operand in operands_of(contract)):
            found.append(position)
    return tuple(found)


def _is_fixed_matrix(program: Program, position: int) -> bool:
    """Whether the entries along two wide dims are an array that the script computes."""
    statement = program.statements[position]
    leaf = statement.instruction
    fixed = isinstance(leaf, Leaf) and leaf.kind in ("constant", "buffer") and leaf.law.kind == "array"
    return fixed and statement.type == "float" and len(statement.wide_axes) > 1
