"""How are many small and long tensors multiplied together? Two at a time, the pair with the smallest product first.

Axes are named by integer labels, as in the instructions of a program. Labels of `out` remain, all others are summed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Labels = tuple[int, ...]
Part = tuple[Tensor, Labels]


def einsum(parts: Sequence[Part], out: Sequence[int]) -> Tensor:
    """Multiply the parts, summed over labels that `out` lacks; a label that only `out` has gets size 1."""
    left = list(parts)
    while len(left) > 2:
        first, second, kept = _cheapest(left, tuple(out))
        product = _pair([left[first], left[second]], kept)
        left = [part for number, part in enumerate(left) if number not in (first, second)] + [(product, kept)]
    present = {label for _, labels in left for label in labels}
    result = _pair(left, tuple(label for label in out if label in present))
    for axis, label in enumerate(out):
        if label not in present:
            result = result.unsqueeze(axis)
    return result


def sizes_of(parts: Sequence[Part]) -> dict[int, int]:
    """Return the size of each label."""
    return {label: size for tensor, labels in parts for label, size in zip(labels, tensor.shape, strict=True)}


def fresh(*groups: Sequence[int]) -> int:
    """Return a label above all that are given."""
    return 1 + max((label for group in groups for label in group), default=-1)


def _cheapest(parts: Sequence[Part], out: Labels) -> tuple[int, int, Labels]:
    sizes = sizes_of(parts)
    best: tuple[tuple[int, int], int, int, Labels] | None = None
    for first in range(len(parts)):
        for second in range(first + 1, len(parts)):
            others = {*out, *(a for k, (_, labels) in enumerate(parts) if k not in (first, second) for a in labels)}
            both = tuple(dict.fromkeys(parts[first][1] + parts[second][1]))
            kept = tuple(label for label in both if label in others)
            cost = (math.prod(sizes[label] for label in kept), math.prod(sizes[label] for label in both))
            if best is None or cost < best[0]:
                best = (cost, first, second, kept)
    assert best is not None
    return best[1:]


def _pair(parts: Sequence[Part], out: Labels) -> Tensor:
    letter: dict[int, int] = {}  # torch knows 52 letters
    arguments: list[Any] = []
    for tensor, labels in parts:
        arguments += [tensor, [letter.setdefault(label, len(letter)) for label in labels]]
    result: Tensor = torch.einsum(*arguments, [letter[label] for label in out])
    return result
