"""Which sums over the width stay random in the limit? Those whose fluctuation has order 0 and is not hidden by a mean.

A sum of n terms of order o has a mean of order o + 1 at most. It fluctuates by o + 1/2 (the central limit theorem).
Where the mean leads, the fluctuation is relatively smaller by n^-1/2 and vanishes in the limit. Where it does not, the
sum is a random number of order o + 1/2. It is drawn if that is 0, and vanishes if it is negative. A multiplier that
follows the sum counts (`Facts.folded`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

import torch
from torch import Tensor

from tpdyn.exponents import HALF, ZERO, Order
from tpdyn.facts.facts import Facts
from tpdyn.program.instructions import Combine, Contract, Leaf, operands_of
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Orders
from tpdyn.readings.orders.terms import Value

GAUSSIAN = ("normal", "orthogonal")
"""Laws of leaves with one wide axis whose products with a vector are Gaussian in the limit."""


def fluctuations(facts: Facts, orders: Orders) -> dict[int, Fraction]:
    """Order of the fluctuation of each sum over the width that is not a vector any more, by position."""
    fluctuating: dict[int, Fraction] = {}
    for position, statement in enumerate(facts.program.statements):
        instruction = statement.instruction
        if not isinstance(instruction, Contract) or statement.wide_axes:
            continue
        order = _fluctuation(facts, orders, position, instruction)
        if order is not None:
            fluctuating[position] = order + facts.folded.get(position, ZERO)
    return fluctuating


def random_sums(facts: Facts, orders: Orders) -> tuple[int, ...]:
    """Return the sums that stay random in the limit, by position."""
    random = []
    for position, order in fluctuations(facts, orders).items():
        size = _largest(orders.values[position])
        leads = size is None or size + facts.folded.get(position, ZERO) <= order
        if order >= 0 and leads:
            random.append(position)
    return tuple(random)


def summed_axes(facts: Facts, position: int) -> tuple[tuple[int, int], ...]:
    """Return the wide axes (position of the value, number) over which a statement sums."""
    rank = len(facts.program.statements[position].shape)
    return tuple(
        (operand.var, axis)
        for operand in operands_of(facts.program.statements[position].instruction)
        for axis in facts.program.statements[operand.var].wide_axes
        if operand.axes[axis] >= rank
    )


def readouts(facts: Facts, orders: Orders) -> frozenset[str]:
    """Find Gaussian leaves with one wide axis, summed over it, whose fluctuations all vanish in the limit."""
    sums = fluctuations(facts, orders)
    leaf_of: dict[int, frozenset[int]] = {}
    quiet: set[int] = set()
    loud: set[int] = set()
    for position, statement in enumerate(facts.program.statements):
        instruction = statement.instruction
        if isinstance(instruction, Leaf):
            one = len(statement.wide_axes) == 1 and instruction.kind == "parameter" and instruction.law.kind in GAUSSIAN
            leaf_of[position] = frozenset({position} if one and instruction.law.location.is_zero else ())
        elif isinstance(instruction, Combine) and len(statement.wide_axes) == 1:
            leaf_of[position] = frozenset().union(*(leaf_of.get(o.var, ()) for o in operands_of(instruction)))
        if position in sums:
            met = {leaf for var, _ in summed_axes(facts, position) for leaf in leaf_of.get(var, ())}
            (loud if sums[position] >= 0 else quiet).update(met)
    return frozenset(facts.program.statements[leaf].name for leaf in quiet - loud)


def _fluctuation(facts: Facts, orders: Orders, position: int, instruction: Contract) -> Order:
    axes = summed_axes(facts, position)
    shapes = [facts.program.statements[operand.var] for operand in instruction.operands]
    size = _largest(orders.values[position])
    parts = [_largest(orders.values[operand.var]) for operand in instruction.operands]
    if not axes or instruction.scale.order is None or size is None or None in parts:
        return None
    if max(len(statement.wide_axes) for statement in shapes) > 1:  # a norm of a matrix: entries are not independent
        return size - HALF
    labels = {operand.axes[axis]: operand.var for operand in instruction.operands for axis in _wide(facts, operand.var)}
    dims = [
        facts.program.statements[var].shape[axis].order or ZERO
        for var, axis in dict.fromkeys(axes)
        if labels.get(_label(instruction, var, axis)) == var
    ]
    return instruction.scale.order + sum((part for part in parts if part is not None), ZERO) + sum(dims, ZERO) / 2


def _wide(facts: Facts, var: int) -> tuple[int, ...]:
    return facts.program.statements[var].wide_axes


def _label(instruction: Contract, var: int, axis: int) -> int:
    return next(operand.axes[axis] for operand in instruction.operands if operand.var == var)


def _largest(value: Value) -> Order:
    """Order of the root mean square of the entries; None for zero."""
    return max((term.rms_order for term in value.total), default=None)


def data_met(program: Program, leaves: Mapping[str, Tensor]) -> dict[int, Tensor]:
    """Return what leaves with one wide axis are multiplied by, where it is data: "sums entries" by position.

    The entries are those of the leaf's finite axes, in order; the first product decides.
    """
    met: dict[int, Tensor] = {}
    for statement in program.statements:
        instruction = statement.instruction
        if not isinstance(instruction, Contract) or len(instruction.operands) != 2:
            continue
        for one, other in (instruction.operands, instruction.operands[::-1]):
            leaf, data = program.statements[one.var], program.statements[other.var]
            if not isinstance(leaf.instruction, Leaf) or not isinstance(data.instruction, Leaf) or data.wide_axes:
                continue
            labels = [one.axes[axis] for axis in range(len(leaf.shape)) if axis not in leaf.wide_axes]
            known = leaves.get(data.name, program.arrays.get(data.name))
            if len(leaf.wide_axes) != 1 or one.var in met or known is None or not {*labels} <= {*other.axes}:
                continue
            if (
                not labels
                or any(label < len(statement.shape) for label in labels)
                or len({*other.axes}) < len(other.axes)
            ):
                continue
            order = [other.axes.index(label) for label in labels]
            rest = [axis for axis in range(len(other.axes)) if axis not in order]
            values = torch.as_tensor(known).detach().double().permute(*rest, *order)
            met[one.var] = values.reshape(-1, math.prod(values.shape[len(rest) :]))
    return met
