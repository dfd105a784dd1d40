"""Where could a multiplier stand that belongs to no single parameter? At products of two wide vectors, with their gradients.

Attention divides logits by d^1/2 or d. A weight that is embedding and readout at once needs a multiplier at one of its uses.
A multiplier n^-p behind a product `v = sum x y` also multiplies the gradients through it, `dx = sum dv y` and `dy = sum dv x`.
A site is such a product with these two; their operands tell which they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from tpdyn.program.instructions import Contract, Instruction, operands_of
from tpdyn.program.program import Program, Source


@final
@dataclass(frozen=True, slots=True)
class Site:
    """A product of the script, in all steps: `positions` are its statements, forward and backward.

    name: module and source line. parameters: those that are a factor of it (none for the logits of attention).
    """

    name: str
    module: str
    source: Source
    positions: tuple[int, ...]
    parameters: tuple[str, ...]


def sites(program: Program, owner: Mapping[int, str]) -> tuple[Site, ...]:
    """Find the products of two values without a wide dim in the result (logits, outputs), and their gradients.

    owner: the parameter of which a value is a version. The steps of a script repeat its products in the same order. So
    the k-th product of a line in one step is the k-th in every step.
    """
    backward = _backward_products(program)
    positions: dict[tuple[str, Source, int], list[int]] = {}
    factors: dict[tuple[str, Source, int], set[str]] = {}
    met: Counter[tuple[int, str, Source]] = Counter()
    for position, statement in enumerate(program.statements):
        product = statement.instruction
        if statement.origin.phase != "forward" or statement.wide_axes or not _is_product(product):
            continue
        gradients = _gradients(program, position, backward)
        if gradients is None:
            continue
        origin = statement.origin
        number = met[origin.step, origin.module, origin.source]
        met[origin.step, origin.module, origin.source] += 1
        key = (origin.module, origin.source, number)
        positions.setdefault(key, []).extend((position, *gradients))
        named = {owner[operand.var] for operand in operands_of(product) if operand.var in owner}
        factors.setdefault(key, set()).update(named)
    return tuple(
        Site(_name(*key), key[0], key[1], tuple(statements), tuple(sorted(factors[key])))
        for key, statements in positions.items()
    )


Backward = Mapping[tuple[int, int], list[tuple[int, int]]]
"""For a step and a factor: the backward products with it, each with its other factor."""


def _backward_products(program: Program) -> Backward:
    products: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for position, statement in enumerate(program.statements):
        if statement.origin.phase == "backward" and _is_product(statement.instruction):
            one, other = (operand.var for operand in operands_of(statement.instruction))
            products.setdefault((statement.origin.step, one), []).append((position, other))
            products.setdefault((statement.origin.step, other), []).append((position, one))
    return products


def _gradients(program: Program, position: int, backward: Backward) -> tuple[int, int] | None:
    """Find the statements `dv y` and `dv x` for a product v of x and y: both meet the same dv."""
    statement = program.statements[position]
    x, y = (operand.var for operand in operands_of(statement.instruction))
    through_x = {flow: at for at, flow in backward.get((statement.origin.step, x), ())}
    through_y = {flow: at for at, flow in backward.get((statement.origin.step, y), ())}
    flows = [
        flow
        for flow in through_x.keys() & through_y.keys()
        if sorted(map(str, program.statements[flow].shape)) == sorted(map(str, statement.shape))
    ]
    if x == y or len(flows) != 1:
        return None
    return through_x[flows[0]], through_y[flows[0]]


def _is_product(instruction: Instruction) -> bool:
    return isinstance(instruction, Contract) and len(instruction.operands) == 2


def shared_sites(program: Program, sites: Sequence[Site]) -> tuple[Site, ...]:
    """Select sites whose multiplier is not that of a parameter: between activations, or at one of a weight's uses."""
    leaves = {var: p.name for p in program.parameters for var in p.versions[0].pieces}
    pieces, uses = Counter(leaves.values()), Counter[str]()
    for statement in program.statements:
        if statement.origin.phase == "forward" and statement.origin.step == 0:
            uses.update(leaves[o.var] for o in operands_of(statement.instruction) if o.var in leaves)
    return tuple(site for site in sites if not site.parameters or any(uses[p] > pieces[p] for p in site.parameters))


def _name(module: str, source: Source, number: int) -> str:
    base = f"{module or Path(source.file).name}:{source.line}" if source.file else module or "the network"
    return f"{base}#{number + 1}" if number else base
