"""Where is a value divided by its own size? In optimizers, entry by entry; in normalisation layers, as a factor.

Their functions tell (`Function.normalising`). A function of eigenvalues normalises a matrix as a whole, not its entries. A
normalisation layer has one factor `1/sqrt(var + eps)` a channel: only its product with an activation is an activation.
"""

from __future__ import annotations

from tpdyn.program.instructions import Apply, Combine, Eigenvalues, operands_of
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
