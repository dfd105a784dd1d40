"""What is kept of one run? Outputs and losses; kernels of features and of gradients; distributions of coordinates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from tpdyn.program.evaluation.views import to_view
from tpdyn.program.instructions import Combine, Contract, Operand, Scatter, operands_of
from tpdyn.program.program import Mark, Program, Statement
from tpdyn.readings.sampled.matrix import Matrix
from tpdyn.readings.sampled.rule import Sampled

ROWS = 64
"""Kernels are kept of so many rows (examples, tokens) at most."""
COORDINATES = 1 << 13
"""Quantiles are taken over the first points. They are a net of their own, and sorting more would take most of the time."""
LEVELS = tuple(number / 32 for number in range(1, 32))


@final
class Statistics:
    """Listens to a run and keeps what `Limit` reports, by (name, step). If a step repeats a name, the first counts.

    scales: what gradients are multiplied by before their kernel is taken, by position (see `backpropagated`).
    """

    def __init__(self, program: Program, scales: Mapping[int, float] | None = None) -> None:
        self.program, self.scales = program, scales or {}
        self.gradients_of = backpropagated(program) if self.scales else {}
        self.gradients: dict[tuple[str, int], Tensor] = {}
        self.marks: dict[int, list[Mark]] = {}
        for mark in program.marks:
            for piece in mark.view.pieces:
                self.marks.setdefault(piece, []).append(mark)
        self.to_come = {piece: len(marks) for piece, marks in self.marks.items()}
        self.pieces: dict[int, Tensor] = {}
        self.values: dict[tuple[str, int], Tensor] = {}
        self.kernels: dict[tuple[str, int], Tensor] = {}
        self.quantiles: dict[tuple[str, int], Tensor] = {}
        self.sizes: dict[tuple[str, int], Tensor] = {}

    def listen(self, position: int, statement: Statement, value: Sampled) -> None:
        """Take in a value; a mark is kept once it has all its pieces."""
        if isinstance(value, Matrix):
            return
        if position in self.scales:
            rows = _rows(value, statement) * self.scales[position]
            for name in self.gradients_of[position]:
                self.gradients[name] = rows @ rows.T / rows.shape[1]
        if position not in self.marks:
            return
        self.pieces[position] = value
        for mark in self.marks[position]:
            if all(piece in self.pieces for piece in mark.view.pieces):
                self._keep(mark)
                for piece in mark.view.pieces:
                    self.to_come[piece] -= 1
        for piece in [piece for piece in self.pieces if not self.to_come[piece]]:
            del self.pieces[piece]

    def _keep(self, mark: Mark) -> None:
        name = mark.name, mark.step
        statements = [self.program.statements[piece] for piece in mark.view.pieces]
        if not any(statement.wide_axes for statement in statements):
            value = self.values.setdefault(name, to_view(mark.view, self.pieces).double())
            self.sizes.setdefault(name, value.square().mean().sqrt())
        elif name not in self.kernels:
            pieces = zip(mark.view.pieces, statements, strict=True)
            rows = torch.cat([_rows(self.pieces[piece], statement) for piece, statement in pieces], 1)
            levels = torch.tensor(LEVELS, dtype=rows.dtype, device=rows.device)
            self.kernels[name] = rows @ rows.T / rows.shape[1]
            parts = [self.pieces[piece] for piece in mark.view.pieces]
            self.sizes[name] = sum(part.abs().double().sum() for part in parts) / sum(part.numel() for part in parts)  # type: ignore[assignment]
            self.quantiles[name] = torch.quantile(rows[:, :COORDINATES], levels, dim=1).T


def backpropagated(program: Program) -> dict[int, list[tuple[str, int]]]:
    """List the vectors that come back to a weight in each step, by position: (name of the weight, step).

    The gradient of a weight is a sum over samples of outer products. Its factor along the rows of the weight is what is meant.
    The gradient of a table of embeddings sums vectors by token: one vector a token is meant. Weights without such a factor
    (gains, weights that are used twice) have none.
    """
    products: dict[int, list[tuple[str, int]]] = {}
    for parameter in program.parameters:
        for step, view in enumerate(parameter.gradients):
            if view is None or len(view.pieces) > 1 or len(view.dims) < 2:
                continue
            at = _factor(program, view.var, frozenset(view.dims[0]))
            if at is not None:
                products.setdefault(at, []).append((parameter.name, step))
    return products


def _factor(program: Program, var: int, rows: frozenset[int]) -> int | None:
    """Find the factor of an outer product that has its axes `rows`, if it is a vector."""
    instruction = program.statements[var].instruction
    if isinstance(instruction, Scatter):
        vectors = len(program.statements[instruction.value.var].wide_axes) == 1 and instruction.axis in rows
        return instruction.value.var if vectors else None
    if not isinstance(instruction, (Contract, Combine)):
        return None
    having = [operand for operand in operands_of(instruction) if rows & set(operand.axes)]
    if len(having) != 1 or (isinstance(instruction, Combine) and len(instruction.terms) > 1):
        return None
    (one,) = having
    if isinstance(instruction, Contract) and len(instruction.operands) == 2:
        return (
            one.var if len(program.statements[one.var].wide_axes) == 1 and _is_outer(instruction, one, rows) else None
        )
    return _factor(program, one.var, frozenset(axis for axis, label in enumerate(one.axes) if label in rows))


def _is_outer(instruction: Contract, one: Operand, rows: frozenset[int]) -> bool:
    """Tell whether the other factor shares none of the rows."""
    return rows <= set(one.axes) and not any(
        rows & set(operand.axes) for operand in instruction.operands if operand is not one
    )


def _rows(value: Tensor, statement: Statement) -> Tensor:
    """Lay finite axes out as rows (the first of them), wide axes as columns."""
    wide = statement.wide_axes
    finite = [axis for axis in range(value.dim()) if axis not in wide]
    count = math.prod(value.shape[axis] for axis in finite)
    return value.permute(*finite, *wide).reshape(count, -1)[:ROWS].double()
