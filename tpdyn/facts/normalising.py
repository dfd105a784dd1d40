"""Where is something divided by its own size? In optimizers, entry by entry; in normalisation layers, as a factor.

Both are found by their functions (`Function.normalising`). A function of eigenvalues normalises a matrix as a whole, not its
entries; and the factor `1/sqrt(var + eps)` of a normalisation layer is no activation, though there is one a channel: only
its product with one is.
"""

from __future__ import annotations

from tpdyn.program.instructions import Apply, Combine, Eigenvalues, operands_of
from tpdyn.program.program import Program


def normalising(program: Program) -> tuple[int, ...]:
    """Where the optimizer normalises entry by entry: the statements of its step that do, along a wide dim."""
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
    """Eigenvalues, and what is made of them entry by entry or by sums."""
    found: set[int] = set()
    for position, statement in enumerate(program.statements):
        instruction = statement.instruction
        passes = isinstance(instruction, Apply | Combine)
        if isinstance(instruction, Eigenvalues) or (
            passes and any(operand.var in found for operand in operands_of(instruction))
        ):
            found.add(position)
    return frozenset(found)


def normalisation_factors(program: Program) -> frozenset[int]:
    """The factors `1/sqrt(var + eps)`: powers and roots of a sum whose constant guards a division, and of such factors."""
    found: set[int] = set()
    for position, statement in enumerate(program.statements):
        instruction = statement.instruction
        if isinstance(instruction, Apply) and instruction.facts.normalising and instruction.facts.degree != 0:
            inner = instruction.operands[0].var
            behind = program.statements[inner].instruction
            if inner in found or (isinstance(behind, Combine) and behind.epsilon):
                found.add(position)
    return frozenset(found)
