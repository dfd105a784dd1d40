"""Where is an activation function so flat that hardly any gradient comes back? A unit that stays there is dead.

A region is the inputs with |phi'(x)| <= 1/64, to two digits: below the first number, or above the second. Torch's own
operations show which entries lie there, however a script writes its activations.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

FLATTEST = 1 / 64
"""A slope this small passes less than 2 % of a gradient: by convention nothing."""

FLAT: dict[str, tuple[float, float]] = {
    "relu": (0.0, math.inf),
    "gelu": (-2.9, math.inf),
    "silu": (-5.72, math.inf),
    "tanh": (-2.77, 2.77),
    "sigmoid": (-4.13, 4.13),
    "hardtanh": (-1.0, 1.0),
    "hardsigmoid": (-3.0, 3.0),
    "hardswish": (-3.0, math.inf),
}


def flat_region(operation: str, args: tuple[Any, ...]) -> tuple[float, float] | None:
    """Return the inputs between which `aten.<operation>` is not flat; None unless it is an activation function."""
    operation = operation.removesuffix("_")
    if operation == "hardtanh" and len(args) == 3:
        return float(args[1]), float(args[2])  # relu6 is hardtanh between 0 and 6
    return FLAT.get(operation)


def flat_entries(value: Tensor, region: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Return the fractions of flat entries, and of units flat for every example (each a 0-d tensor).

    Units lie along the last axis; along axis 1 for images and volumes (four axes or more).
    """
    low, high = region
    flat = torch.le(
        value, low, out=torch.empty(value.shape, dtype=torch.float32, device=value.device)
    )  # not bool: 8 times as fast
    if high != math.inf:
        flat += value >= high
    axis = 1 if value.dim() >= 4 else value.dim() - 1
    units = flat.movedim(axis, -1).flatten(0, -2) if value.dim() > 1 else flat.reshape(1, -1)
    counts = units.sum(dim=0)
    return counts.sum() / units.numel(), (counts == units.shape[0]).to(torch.float32).mean()
