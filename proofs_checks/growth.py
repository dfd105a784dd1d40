"""How fast do values grow with the width, measured? The finite reading at growing widths, against orders.

Sizes are those of the base program. Changes are the differences between training and the base program at the same draw
of every leaf. Both grow as measured between the two largest widths. It is the slope of log(median over seeds of the mean
absolute entry). How exact is it for a single Gaussian scalar? The log of the median of 15 draws of |N(0, 1)| has standard
deviation 0.25. So a slope over a factor 16 in width has 0.25 * sqrt(2) / log(16) = 0.13.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never, final

import numpy as np
import torch
from torch import Tensor

from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Eigenvalues,
    Gather,
    Leaf,
    Operand,
    Scatter,
    Slice,
    Spectral,
    operands_of,
)
from tpdyn.program.program import Program
from tpdyn.readings.finite import run
from tpdyn.readings.orders.reading import Orders

Slope = float | None
MARGIN = 1e3
"""What is not larger than its estimated round-off by this factor is taken for zero."""

_Numbers = np.ndarray[Any, np.dtype[np.float64]]


@final
@dataclass(frozen=True, slots=True)
class Growth:
    """The measured exponents of sizes and changes, one a statement; None for what is zero up to round-off."""

    size: tuple[Slope, ...]
    change: tuple[Slope, ...]


def data_leaves(program: Program, width: int, seed: int) -> dict[str, Tensor]:
    """Draw values for leaves that have no law: standard Gaussian data; labels from 0 and 1."""
    leaves: dict[str, Tensor] = {}
    for number, statement in enumerate(program.statements):
        leaf = statement.instruction
        if not isinstance(leaf, Leaf) or leaf.name in program.arrays:
            continue
        shape = tuple(dim.size_at(width) for dim in statement.shape)
        generator = torch.Generator().manual_seed(100_003 * seed + number)
        if leaf.law.kind == "data":
            leaves[leaf.name] = torch.randn(shape, generator=generator, dtype=torch.float64)
        elif leaf.law.kind == "index":
            leaves[leaf.name] = torch.randint(0, 2, shape, generator=generator)
    return leaves


def measured(program: Program, widths: Sequence[int], seeds: int | range) -> Growth:
    """Measure sizes and changes of every value as powers of the width. seeds: how many, or which."""
    draws = range(seeds) if isinstance(seeds, int) else seeds
    sizes = np.zeros((2, len(widths), len(draws), len(program)))
    errors = np.zeros((len(widths), len(draws), len(program)))
    for i, width in enumerate(widths):
        for j, seed in enumerate(draws):
            leaves = data_leaves(program, width, seed)
            base = run(program, width, leaves=leaves, seed=seed, base=True)
            trained = run(program, width, leaves=leaves, seed=seed)
            sizes[0, i, j] = [_mean(value) for value in base.values()]
            sizes[1, i, j] = [_mean(_difference(trained[var], before)) for var, before in base.items()]
            errors[i, j] = round_off(program, width, sizes[0, i, j]) + round_off(
                program, width, np.array([_mean(value) for value in trained.values()])
            )
    return Growth(_slopes(sizes[0], errors, widths), _slopes(sizes[1], errors, widths))


def round_off(program: Program, width: int, sizes: _Numbers) -> _Numbers:
    """Estimate how wrong each value is in float64, given the sizes of all: a running error analysis, errors independent.

    What overflows has no slope: its error is no number, or infinite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return _round_off(program, width, sizes)


def _round_off(program: Program, width: int, sizes: _Numbers) -> _Numbers:
    errors = np.zeros(len(program))
    for k, statement in enumerate(program.statements):
        own = 2.0**-52 * sizes[k]
        match statement.instruction:
            case Leaf():
                continue
            case Combine(terms=terms):
                parts = [(abs(float(scale.at(width))), operand.var) for scale, operand in terms]
                own = 2.0**-52 * max((c * sizes[var] for c, var in parts), default=0.0)
                errors[k] = own + sum(c * errors[var] for c, var in parts)
            case Contract(operands=operands, scale=scale):
                summed = {
                    label: dim.size_at(width)
                    for operand in operands
                    for label, dim in zip(operand.axes, program.statements[operand.var].shape, strict=True)
                    if label >= len(statement.shape)
                }
                factor = abs(float(scale.at(width))) * math.prod(summed.values()) ** 0.5
                product = factor * math.prod(sizes[operand.var] for operand in operands)
                errors[k] = product * (2.0**-52 + _relative(operands, sizes, errors))
            case (Apply() | Gather() | Scatter() | Slice() | Concat() | Eigenvalues() | Spectral()) as instruction:
                errors[k] = own + sizes[k] * _relative(operands_of(instruction), sizes, errors)
            case _:
                assert_never(statement.instruction)
    return errors


def _relative(operands: Sequence[Operand], sizes: _Numbers, errors: _Numbers) -> float:
    return float(sum(errors[each.var] / sizes[each.var] for each in operands if sizes[each.var]))


def _mean(value: Tensor) -> float:
    """Average the absolute entries, but for those that a mask fills with -inf."""
    size = value.to(torch.float64).abs()
    masked = torch.isneginf(value)
    if bool(masked.any()) and not bool(masked.all()):
        size = size[~masked]
    return float(size.mean()) if value.numel() else 0.0


def _difference(after: Tensor, before: Tensor) -> Tensor:
    """Subtract; nothing changed where both are the same infinity (a mask)."""
    return torch.where(after == before, torch.zeros_like(after), after - before)


def _slopes(sizes: _Numbers, errors: _Numbers, widths: Sequence[int]) -> tuple[Slope, ...]:
    """Return the slope between the two largest widths; None where a value is zero, round-off, or not a number."""
    medians, around = np.median(sizes, axis=1)[-2:], np.median(errors, axis=1)[-2:]
    slopes: list[Slope] = []
    for (low, high), (small, large) in zip(medians.T, around.T, strict=True):
        if not (low > MARGIN * small and high > MARGIN * large) or not math.isfinite(high):
            slopes.append(None)
        else:
            slopes.append(math.log(high / low) / math.log(widths[-1] / widths[-2]))
    return tuple(slopes)


def too_fast(program: Program, orders: Orders, growth: Growth, tolerance: float = 0.5) -> list[str]:
    """List the values that grow faster, in size or in change, than their orders say."""
    exceeding = []
    for k, statement in enumerate(program.statements):
        for what, slope, order in (
            ("size", growth.size[k], orders.values[k].size),
            ("change", growth.change[k], orders.values[k].moved),
        ):
            if slope is not None and (order is None or slope > order + tolerance):
                exceeding.append(
                    f"{statement.name} (statement {k}): {what} measured {slope:+.2f}, predicted at most {order}"
                )
    return exceeding
