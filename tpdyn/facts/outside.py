"""Where does the theory not reach, though every statement can be read? Samples that grow, and fixed wide matrices."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

from tpdyn.program.dims import Axis, Space
from tpdyn.program.instructions import Apply, Combine, Concat, Contract, Gather, Instruction, Leaf, Slice, operands_of
from tpdyn.program.program import Program


def wide_data(
    program: Program, computed: Iterable[int], from_inputs: Sequence[bool], space_of: Mapping[Axis, Space]
) -> tuple[int, ...]:
    """Find functions of the inputs along two wide dims that are no matrices of the theory, as where samples grow.

    A finite sum of outer products is such a matrix (the memory of linear attention, the covariance of an embedding). So is
    a function of its entries (nonlinear outer products: Tensor Programs IVb, arXiv 2308.01814). Matrices act on vectors: of
    a product of two, one must have a finite rank. Functions of weights alone are left out, even after updates.
    """
    samples = _samples(program, space_of)
    finite_rank: set[int] = set()
    wanted, outside = set(computed), []
    for position, statement in enumerate(program.statements):
        if len(statement.wide_axes) < 2:
            continue
        if _has_finite_rank(program, statement.instruction, finite_rank):
            finite_rank.add(position)
        if position in wanted and from_inputs[position]:
            grows = any(space_of[position, axis] in samples for axis in statement.wide_axes)
            if grows or not _is_matrix(program, position, finite_rank):
                outside.append(position)
    return tuple(outside)


def _samples(program: Program, space_of: Mapping[Axis, Space]) -> frozenset[Space]:
    """Find the spaces of data that no parameter has: samples and tokens, where these grow."""
    return frozenset(
        space
        for position, statement in enumerate(program.statements)
        if isinstance(statement.instruction, Leaf) and statement.instruction.kind == "data"
        for axis in statement.wide_axes
        if not (space := space_of[position, axis]).parameters
    )


def _has_finite_rank(program: Program, instruction: Instruction, known: Container[int]) -> bool:
    """Tell whether a value along two wide dims is a finite sum of outer products. known: those before it that are."""
    thin = [len(program.statements[o.var].wide_axes) < 2 or o.var in known for o in operands_of(instruction)]
    if isinstance(instruction, Contract) and _multiplies_matrices(program, instruction):
        return any(thin)
    return isinstance(instruction, Contract | Combine | Slice | Gather | Concat) and all(thin)


def _multiplies_matrices(program: Program, product: Contract) -> bool:
    """Tell whether two values with two wide dims meet along one that is summed over."""
    wide = [{operand.axes[axis] for axis in program.statements[operand.var].wide_axes} for operand in product.operands]
    kept = {label for labels in wide for label in labels}
    return len(wide) == 2 and min(map(len, wide)) > 1 and len(wide[0] & wide[1]) > 0 and len(kept) > 2


def _is_matrix(program: Program, position: int, finite_rank: Container[int]) -> bool:
    """Tell whether a value along two wide dims is made as matrices of the theory are."""
    statement = program.statements[position]
    instruction = statement.instruction
    if len(statement.wide_axes) != 2 or not isinstance(
        instruction, Contract | Combine | Apply | Slice | Gather | Concat
    ):
        return False
    if any(_is_constant_matrix(program, operand.var) for operand in operands_of(instruction)):
        return False
    multiplies = isinstance(instruction, Contract) and _multiplies_matrices(program, instruction)
    return not multiplies or position in finite_rank


def fixed_products(program: Program) -> tuple[int, ...]:
    """Find sums of a representation with a fixed matrix of two wide dims (a Fourier transform over the width).

    Only the size of such a matrix's entries is known, not their dependence on the vectors that it meets. Whatever
    is done with the entries of an identity matrix is found, too, also on the way back.
    """
    products = []
    for position, statement in enumerate(program.statements):
        contract = statement.instruction
        if statement.origin.phase in ("forward", "backward") and any(
            _is_identity(program, operand.var) for operand in operands_of(contract)
        ):
            products.append(position)
            continue
        if statement.origin.phase != "forward" or not isinstance(contract, Contract) or not statement.wide_axes:
            continue
        sums = any(label >= len(statement.shape) for operand in contract.operands for label in operand.axes)
        if sums and any(_is_fixed_matrix(program, operand.var) for operand in operands_of(contract)):
            products.append(position)
    return tuple(products)


def _is_fixed_matrix(program: Program, position: int) -> bool:
    """Tell whether a value is an array of numbers with two wide dims that the script computes."""
    return _is_constant_matrix(program, position) and program.statements[position].type == "float"


def _is_constant_matrix(program: Program, position: int) -> bool:
    """Tell whether a value is an array with two wide dims that the script computes: numbers, or a mask."""
    statement = program.statements[position]
    leaf = statement.instruction
    fixed = isinstance(leaf, Leaf) and leaf.kind in ("constant", "buffer") and leaf.law.kind == "array"
    return fixed and len(statement.wide_axes) > 1


def meets_fixed_matrix(program: Program, position: int) -> bool:
    """Tell whether a value is computed with an array of two wide dims, such as `1 - eye`."""
    return any(_is_constant_matrix(program, o.var) for o in operands_of(program.statements[position].instruction))


def _is_identity(program: Program, position: int) -> bool:
    """Tell whether a value is an identity matrix of a growing size, or its mask. Lowering names those that it writes."""
    leaf = program.statements[position].instruction
    named = isinstance(leaf, Leaf) and leaf.name.partition("~")[0] in ("diagonal", "identity")
    return named and _is_constant_matrix(program, position)
