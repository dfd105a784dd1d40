"""Which values of a forward pass are numbers in the limit? Which are random, and where does their randomness come from?"""

from __future__ import annotations

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Contract, Leaf, Operand, operands_of
from tpdyn.program.program import Program

ONE = Scaling.of(1)


def matrix_of(program: Program, numeric: frozenset[int], var: int) -> tuple[Operand, Operand] | None:
    """Return (weights, what they multiply) where a statement is a product with independent centred entries that sums over them."""
    statement = program.statements[var]
    instruction = statement.instruction
    if not isinstance(instruction, Contract) or len(instruction.operands) != 2:
        return None
    for w, x in (instruction.operands, instruction.operands[::-1]):
        leaf = program.statements[w.var].instruction
        if not isinstance(leaf, Leaf) or w.var in numeric or not leaf.law.location.is_zero or w.var == x.var:
            continue
        shared = set(w.axes) & set(x.axes)
        dims = dict(zip(x.axes, program.statements[x.var].shape, strict=True))
        kept_wide = [label for label in shared if dims[label].is_wide and label < len(statement.shape)]
        if not kept_wide and (x.var in numeric or any(dims[label].is_wide for label in shared)):
            return w, x
    return None


def numbers_of(program: Program, data: int) -> frozenset[int]:
    """Collect the values that are numbers in the limit: made of data, or sums over the width without weights."""
    numbers: set[int] = set()
    for var, statement in enumerate(program.statements):
        instruction = statement.instruction
        if statement.origin.phase not in ("initialization", "data", "forward") or statement.origin.step:
            break
        wide = any(dim.is_wide for dim in statement.shape)
        if isinstance(instruction, Leaf):
            fixed = instruction.kind != "parameter" and instruction.law.kind in ("data", "index", "array")
            level = instruction.law.kind in ("zero", "constant") and instruction.kind != "parameter"
            if var == data or ((fixed or level) and not wide):
                numbers.add(var)
            continue
        reads = [operand.var for operand in operands_of(instruction)]
        if all(read in numbers for read in reads):
            if not wide:
                numbers.add(var)
            continue
        if isinstance(instruction, Contract) and not wide and matrix_of(program, frozenset(numbers), var) is None:
            sums = any(
                dim.is_wide and label >= len(statement.shape)
                for operand in instruction.operands
                for dim, label in zip(program.statements[operand.var].shape, operand.axes, strict=True)
            )
            if sums:
                numbers.add(var)
    return frozenset(numbers)


def sources_of(program: Program, numeric: frozenset[int]) -> dict[int, frozenset[int]]:
    """Find the leaves that a value's randomness comes from, coordinate by coordinate: of `W x` it is W alone."""
    sources: dict[int, frozenset[int]] = {}
    for var, statement in enumerate(program.statements):
        instruction = statement.instruction
        if var in numeric:
            sources[var] = frozenset()
        elif isinstance(instruction, Leaf):
            random = not instruction.law.scale.is_zero or instruction.kind == "parameter"
            sources[var] = frozenset({var}) if random else frozenset()
        elif (matrix := matrix_of(program, numeric, var)) is not None:
            sources[var] = frozenset({matrix[0].var})
        else:
            sources[var] = frozenset().union(*(sources[operand.var] for operand in operands_of(instruction)))
    return sources
