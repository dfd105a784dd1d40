"""Where is a value divided by its own size? In optimizers, entry by entry; in normalisation layers, as a factor.

Their functions tell (`Function.normalising`). A function of eigenvalues normalises a matrix as a whole, not its entries. A
normalisation layer has one factor `1/sqrt(var + eps)` a channel: only its product with an activation is an activation.
Nor is the numerator of a quotient that nothing else reads. Linear attention divides by the sum of its weights.
"""

from __future__ import annotations

from tpdyn.program.instructions import Apply, Combine, Concat, Contract, Eigenvalues, Slice, operands_of
from tpdyn.program.program import Program


def normalising(program: Program) -> tuple[int, ...]:
    """Find the statements of the optimizer that normalise entry by entry, along a wide dim."""
    spectra = functions_of_eigenvalues(program)
    return tuple(
        position
        for position, statement in enumerate(program.statements)
        if statement.origin.phase == "optimizer"
        and statement.wide_axes
        and position not in spectra
        and isinstance(statement.instruction, Apply)
        and statement.instruction.facts.normalising
    )


def functions_of_eigenvalues(program: Program) -> frozenset[int]:
    """Find eigenvalues, and their entrywise functions and sums."""
    spectra: set[int] = set()
    for position, statement in enumerate(program.statements):
        instruction = statement.instruction
        passes = isinstance(instruction, Apply | Combine)
        if isinstance(instruction, Eigenvalues) or (
            passes and any(operand.var in spectra for operand in operands_of(instruction))
        ):
            spectra.add(position)
    return frozenset(spectra)


def normalisation_factors(program: Program) -> frozenset[int]:
    """Find factors `1/sqrt(var + eps)`: powers and roots of a sum with an epsilon, and of such factors."""
    factors: set[int] = set()
    for position, statement in enumerate(program.statements):
        instruction = statement.instruction
        if isinstance(instruction, Apply) and instruction.facts.normalising and instruction.facts.degree != 0:
            inner = instruction.operands[0].var
            behind = program.statements[inner].instruction
            if inner in factors or (isinstance(behind, Combine) and behind.epsilon):
                factors.add(position)
    return frozenset(factors)


def numerators(program: Program) -> frozenset[int]:
    """Find forward values that are only read to be divided by others, at once or behind a sum or slice.

    Whatever size such a value has, the quotient is what the network goes on with.
    """
    divided: dict[int, bool] = {}
    for position in reversed(range(len(program))):
        statement = program.statements[position]
        if statement.origin.phase != "forward":
            continue
        instruction = statement.instruction
        passes = isinstance(instruction, Combine | Slice | Concat) and divided.get(position, False)
        inverse = [_is_reciprocal(program, operand.var) for operand in operands_of(instruction)]
        for number, operand in enumerate(operands_of(instruction)):
            quotient = isinstance(instruction, Contract) and len(inverse) == 2 and inverse[1 - number]
            divided[operand.var] = divided.get(operand.var, True) and (passes or quotient)
    return frozenset(position for position, only in divided.items() if only)


def _is_reciprocal(program: Program, position: int) -> bool:
    instruction = program.statements[position].instruction
    return isinstance(instruction, Apply) and instruction.function == "reciprocal"
