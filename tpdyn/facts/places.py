"""Where could a multiplier stand that belongs to no single parameter? At products of two wide vectors, with their gradients.

Attention divides logits by d^1/2 or d; a weight that is embedding and readout at once needs a multiplier at one of its uses.
A multiplier n^-p behind a product `v = sum x y` also multiplies what flows back through it, `dx = sum dv y` and
`dy = sum dv x`: a place is such a product with these two, found in the program by their operands.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import final

from tpdyn.program.instructions import Contract, operands_of
from tpdyn.program.program import Program, Source


@final
@dataclass(frozen=True, slots=True)
class Place:
    """A product of the script, in all steps: `positions` are its statements, forward and backward.

    name: module and source line. parameters: those that are a factor of it (none for the logits of attention).
    """

    name: str
    module: str
    source: Source
    positions: tuple[int, ...]
    parameters: tuple[str, ...]


def places(program: Program) -> tuple[Place, ...]:
    """The products of two values without a wide dim in the result (logits, outputs), whose gradients are found."""
    owner = {var: p.name for p in program.parameters for view in p.versions for var in view.pieces}
    backward: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for position, statement in enumerate(program.statements):
        instruction = statement.instruction
        if (
            statement.origin.phase == "backward"
            and isinstance(instruction, Contract)
            and len(instruction.operands) == 2
        ):
            one, other = (operand.var for operand in instruction.operands)
            backward.setdefault((statement.origin.step, one), []).append((position, other))
            backward.setdefault((statement.origin.step, other), []).append((position, one))
    found: dict[tuple[str, Source, int], list[int]] = {}
    factors: dict[tuple[str, Source, int], set[str]] = {}
    met: Counter[tuple[int, str, Source]] = Counter()
    for position, statement in enumerate(program.statements):
        instruction = statement.instruction
        if statement.origin.phase != "forward" or not isinstance(instruction, Contract):
            continue
        if statement.wide_axes or len(instruction.operands) != 2:
            continue
        x, y = (operand.var for operand in instruction.operands)
        step = statement.origin.step
        through_x = {made: at for at, made in backward.get((step, x), ())}
        through_y = {made: at for at, made in backward.get((step, y), ())}
        flows = [
            made
            for made in through_x.keys() & through_y.keys()
            if sorted(map(str, program.statements[made].shape)) == sorted(map(str, statement.shape))
        ]
        if x == y or len(flows) != 1:
            continue
        origin = statement.origin
        number = met[step, origin.module, origin.source]
        met[step, origin.module, origin.source] += 1
        key = (origin.module, origin.source, number)
        found.setdefault(key, []).extend((position, through_x[flows[0]], through_y[flows[0]]))
        factors.setdefault(key, set()).update(owner[var] for var in (x, y) if var in owner)
    return tuple(
        Place(_name(*key), key[0], key[1], tuple(positions), tuple(sorted(factors[key])))
        for key, positions in found.items()
    )


def shared_places(program: Program) -> tuple[Place, ...]:
    """Places whose multiplier is not that of a parameter: between two activations, or at one of several uses of a weight."""
    uses: Counter[str] = Counter()
    owner = {var: p.name for p in program.parameters for view in p.versions for var in view.pieces}
    first = {p.name: set(p.versions[0].pieces) for p in program.parameters}
    for statement in program.statements:
        if statement.origin.phase == "forward" and statement.origin.step == 0:
            for operand in operands_of(statement.instruction):
                if operand.var in owner and operand.var in first[owner[operand.var]]:
                    uses[owner[operand.var]] += 1
    pieces = {name: len(vars_) for name, vars_ in first.items()}
    return tuple(
        place for place in places(program) if not place.parameters or any(uses[p] > pieces[p] for p in place.parameters)
    )


def _name(module: str, source: Source, number: int) -> str:
    base = f"{module or Path(source.file).name}:{source.line}" if source.file else module or "the network"
    return f"{base}#{number + 1}" if number else base
