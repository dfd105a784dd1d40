"""How much of a change do the parts of lower order make at a width? The recorded program tells, with some parameters frozen.

A change is a sum of parts: each parameter's own, and what they do together. The calculus says which of them lead.
Constants decide how large the others still are at the smallest width. The calculus does not know them, but the program
computes them: run it with the leading parameters frozen. The change that is left is compared with the whole one. So the
width at which parts cross is measured, where `statistics.GROWING_CROSSOVER` assumes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tpdyn.claims.slower import alone
from tpdyn.claims.statistics import Part
from tpdyn.facts.facts import Facts
from tpdyn.program.errors import ReadingError
from tpdyn.program.instructions import Gather, Leaf, Scatter
from tpdyn.program.program import Program
from tpdyn.readings.finite import run
from tpdyn.regimes.prediction import Prediction, Row

SEEDS = 4
SMALL = 1 / 3
"""A share below it hides nothing. Even at twice that, the leading part is a third of the change, and of its slope. It is
taken as the standard deviation of what the other parts add, with one sign or the other.
"""

MOST_STATEMENTS = 4000
"""Longer programs are not run here: a verdict is to take seconds."""


def share(prediction: Prediction, row: Row, width: int) -> float | None:
    """Return which part of a row's change at a width is left when its leading parameters are frozen.

    0 where every parameter leads, 1 where none does alone. None where the program cannot be run at this width.
    """
    facts = Facts.of(prediction.program)
    program = facts.program
    whole, parts = alone(prediction, row)
    if whole is None or len(program) > MOST_STATEMENTS:
        return None
    leading = frozenset(name for group, order in parts if order == whole for name in group)
    if not leading:
        return 1.0
    if all(order is None or order == whole for _, order in parts):
        return 0.0
    fraction: float | None = facts.once(
        ("share", row.position, leading, width), lambda: _measured(program, row.position, leading, width)
    )
    return fraction


def known_part(prediction: Prediction, row: Row, width: int) -> Part | None:
    """Return the parts of lower order as one whose share is known, if that is `SMALL` at this width.

    The share falls as n^-(p - q), p the order of the change, q the largest of the others.
    """
    fraction, (whole, parts) = share(prediction, row, width), alone(prediction, row)
    if fraction is None or fraction >= SMALL or whole is None or whole == math.inf:
        return None
    power = float(whole - max((order for _, order in parts if order is not None and order < whole), default=whole - 1))
    return Part(width * fraction ** (1 / power), power)


def leading_of(prediction: Prediction, row: Row) -> frozenset[str]:
    """Name the parameters whose own training gives a row's change its order. Empty where all do, or none does alone."""
    whole, parts = alone(prediction, row)
    leading = frozenset(name for group, order in parts if order == whole and whole is not None for name in group)
    others = any(order is not None and order != whole for _, order in parts)
    return leading if others else frozenset()


def rest_of(
    prediction: Prediction, row: Row, leading: frozenset[str], widths: Sequence[int]
) -> NDArray[np.float64] | None:
    """Measure the change that is left with leading parameters frozen, [width, seed]. None where the program cannot be run."""
    program = Facts.of(prediction.program).program
    try:
        rest = [[_changes(program, row.position, leading, width, seed)[0] for seed in range(SEEDS)] for width in widths]
    except (ReadingError, ValueError, MemoryError):
        return None
    return np.array(rest)


def _changes(program: Program, position: int, leading: frozenset[str], width: int, seed: int) -> tuple[float, float]:
    """Return the change with leading parameters frozen, and the whole one."""
    frozen = replace(program, parameters=tuple(each for each in program.parameters if each.name in leading))
    tokens = _tokens(program, width, seed)
    base = run(program, width, vars=[position], base=True, seed=seed, leaves=tokens)[position]
    left = run(frozen, width, vars=[position], base=True, seed=seed, leaves=tokens)[position]
    trained = run(program, width, vars=[position], seed=seed, leaves=tokens)[position]
    return float((left - base).abs().mean()), float((trained - base).abs().mean())


def _measured(program: Program, position: int, leading: frozenset[str], width: int) -> float | None:
    """Compare the change with leading parameters frozen to the whole one: the median of seeds."""
    try:
        changes = [_changes(program, position, leading, width, seed) for seed in range(SEEDS)]
    except (ReadingError, ValueError, MemoryError):
        return None
    median = float(np.median([left / whole if whole else math.nan for left, whole in changes]))
    return median if math.isfinite(median) else None


def _tokens(program: Program, width: int, seed: int) -> dict[str, Tensor]:
    """Draw tokens and labels that differ from run to run (the program has no values of them) from their vocabulary."""
    generator = torch.Generator().manual_seed(seed)
    tokens: dict[str, Tensor] = {}
    for statement in program.statements:
        if not isinstance(statement.instruction, Gather | Scatter):
            continue
        instruction = statement.instruction
        index = program.statements[instruction.index.var]
        leaf = index.instruction
        if isinstance(leaf, Leaf) and leaf.law.kind == "index" and leaf.name not in program.arrays:
            if isinstance(instruction, Gather):
                value = program.statements[instruction.value.var]
                dim = value.shape[instruction.value.axes.index(instruction.axis)]
            else:
                dim = statement.shape[instruction.axis]
            shape = tuple(each.size_at(width) for each in index.shape)
            tokens.setdefault(leaf.name, torch.randint(dim.size_at(width), shape, generator=generator))
    return tokens
