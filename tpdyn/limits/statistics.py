"""What is kept of one run? Outputs and losses; of each module's output the kernel and the distribution of coordinates."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from tpdyn.program.evaluation.views import to_view
from tpdyn.program.program import Mark, Program, Statement
from tpdyn.readings.sampled.matrix import Matrix
from tpdyn.readings.sampled.rule import Value

ROWS = 64
"""Kernels are kept of so many rows (examples, tokens) at most."""
COORDINATES = 1 << 13
"""Quantiles are taken over the first points: they are a net of their own, and sorting more would take most of the time."""
LEVELS = tuple(number / 32 for number in range(1, 32))


@final
class Statistics:
    """Listens to a run and keeps what `Limit` reports, by (name, step): the first value of a name that a step repeats."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.marks: dict[int, list[Mark]] = {}
        for mark in program.marks:
            for piece in mark.view.pieces:
                self.marks.setdefault(piece, []).append(mark)
        self.to_come = {piece: len(marks) for piece, marks in self.marks.items()}
        self.pieces: dict[int, Tensor] = {}
        self.values: dict[tuple[str, int], Tensor] = {}
        self.kernels: dict[tuple[str, int], Tensor] = {}
        self.quantiles: dict[tuple[str, int], Tensor] = {}

    def listen(self, position: int, statement: Statement, value: Value) -> None:
        """Take in a value; a mark is kept once it has all its pieces."""
        if position not in self.marks or isinstance(value, Matrix):
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
            self.values.setdefault(name, to_view(mark.view, self.pieces).double())
        elif name not in self.kernels:
            pieces = zip(mark.view.pieces, statements, strict=True)
            rows = torch.cat([_rows(self.pieces[piece], statement) for piece, statement in pieces], 1)
            levels = torch.tensor(LEVELS, dtype=rows.dtype, device=rows.device)
            self.kernels[name] = rows @ rows.T / rows.shape[1]
            self.quantiles[name] = torch.quantile(rows[:, :COORDINATES], levels, dim=1).T


def _rows(value: Tensor, statement: Statement) -> Tensor:
    """Finite axes as rows (the first of them), wide axes as columns."""
    wide = statement.wide_axes
    finite = [axis for axis in range(value.dim()) if axis not in wide]
    count = 1
    for axis in finite:
        count *= value.shape[axis]
    return value.permute(*finite, *wide).reshape(count, -1)[:ROWS].double()
