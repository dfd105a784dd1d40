"""Which statements of an optimizer compute a parameter's update? Those on the way back from its new versions.

The way ends where the optimizer's statements end: at gradients, earlier versions and leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tpdyn.program.instructions import Combine, operands_of
from tpdyn.program.program import Program


def updates(program: Program) -> Mapping[str, tuple[int, ...]]:
    """List for each parameter the optimizer's statements on the way to its versions, in all steps, in order."""
    return {
        parameter.name: _behind(program, {var for view in parameter.versions[1:] for var in view.pieces})
        for parameter in program.parameters
    }


def guards(program: Program, updates: Mapping[str, tuple[int, ...]]) -> Mapping[str, tuple[int, ...]]:
    """Select the statements of each parameter's updates that add an epsilon along a wide dim: `sqrt(v) + eps`."""
    return {
        name: tuple(
            position
            for position in positions
            if isinstance(combine := program.statements[position].instruction, Combine)
            and combine.epsilon
            and program.statements[position].wide_axes
        )
        for name, positions in updates.items()
    }


def _behind(program: Program, positions: Iterable[int]) -> tuple[int, ...]:
    stack = [var for var in positions if program.statements[var].origin.phase == "optimizer"]
    seen = set(stack)
    while stack:
        for operand in operands_of(program.statements[stack.pop()].instruction):
            if operand.var not in seen and program.statements[operand.var].origin.phase == "optimizer":
                seen.add(operand.var)
                stack.append(operand.var)
    return tuple(sorted(seen))
