"""How fast do values grow with the width, measured? The finite reading at growing widths, against orders.

Sizes are those of the base program, changes are the differences between training and the base program at the same draw of
every leaf. The growth of either is the slope of log(median over seeds of the mean absolute entry) between the two largest
widths: for a single Gaussian scalar the median of 15 draws of |N(0, 1)| has a logarithm of standard deviation 0.25, so a
slope over a factor 16 in width has 0.25 * sqrt(2) / log(16) = 0.13.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from tpdyn.program.instructions import Leaf
from tpdyn.program.program import Program
from tpdyn.readings.finite import run
from tpdyn.readings.orders.reading import Orders

Slope = float | None
_Numbers = np.ndarray[Any, np.dtype[np.float64]]


@final
@dataclass(frozen=True, slots=True)
class Growth:
    """The measured exponents of sizes and changes, one a statement; None for what is zero up to round-off."""

    size: tuple[Slope, ...]
    change: tuple[Slope, ...]


def data_leaves(program: Program, width: int, seed: int) -> dict[str, Tensor]:
    """Values for leaves that have no law: standard Gaussian data; labels from 0 and 1."""
    found: dict[str, Tensor] = {}
    for number, statement in enumerate(program.statements):
        leaf = statement.instruction
        if not isinstance(leaf, Leaf) or leaf.name in program.arrays:
            continue
        shape = tuple(dim.size_at(width) for dim in statement.shape)
        generator = torch.Generator().manual_seed(100_003 * seed + number)
        if leaf.law.kind == "data":
            found[leaf.name] = torch.randn(shape, generator=generator, dtype=torch.float64)
        elif leaf.law.kind == "index":
            found[leaf.name] = torch.randint(0, 2, shape, generator=generator)
    return found


def measured(program: Program, widths: Sequence[int], seeds: int) -> Growth:
    """Sizes and changes of every value as powers of the width."""
    sizes = np.zeros((2, len(widths), seeds, len(program)))
    scales = np.zeros((len(widths), seeds, len(program)))
    for i, width in enumerate(widths):
        for seed in range(seeds):
            leaves = data_leaves(program, width, seed)
            base = run(program, width, leaves=leaves, seed=seed, base=True)
            trained = run(program, width, leaves=leaves, seed=seed)
            for k, (before, after) in enumerate(zip(base, trained, strict=True)):
                sizes[0, i, seed, k] = _mean(before)
                sizes[1, i, seed, k] = _mean(after - before)
                scales[i, seed, k] = max(_mean(before), _mean(after))
    return Growth(_slopes(sizes[0], scales, widths), _slopes(sizes[1], scales, widths))


def _mean(value: Tensor) -> float:
    return float(value.to(torch.float64).abs().mean()) if value.numel() else 0.0


def _slopes(sizes: _Numbers, scales: _Numbers, widths: Sequence[int]) -> tuple[Slope, ...]:
    """The slope between the two largest widths; None where a value is zero, round-off, or no number."""
    medians, around = np.median(sizes, axis=1)[-2:], np.median(scales, axis=1)[-2:]
    slopes: list[Slope] = []
    for (low, high), (small, large) in zip(medians.T, around.T, strict=True):
        if not (low > 1e-11 * small and high > 1e-11 * large) or not math.isfinite(high):
            slopes.append(None)
        else:
            slopes.append(math.log(high / low) / math.log(widths[-1] / widths[-2]))
    return tuple(slopes)


def too_fast(program: Program, orders: Orders, growth: Growth, tolerance: float = 0.5) -> list[str]:
    """The values that grow faster, in size or in change, than their orders say."""
    found = []
    for k, statement in enumerate(program.statements):
        for what, slope, order in (
            ("size", growth.size[k], orders.values[k].size),
            ("change", growth.change[k], orders.values[k].moved),
        ):
            if slope is not None and (order is None or slope > order + tolerance):
                found.append(
                    f"{statement.name} (statement {k}): {what} measured {slope:+.2f}, predicted at most {order}"
                )
    return found
