"""Where do fresh coordinates come from? Independent streams, one for each leaf and side: exact in law at a finite width."""

from __future__ import annotations

import math
import zlib
from typing import assert_never, final

import torch
from torch import Tensor

from tpdyn.program.instructions import Leaf
from tpdyn.readings.sampled.einsum import Labels
from tpdyn.readings.sampled.gaussian import Draw


@final
class Independent:
    """Independent noise; the same seed draws the same."""

    def __init__(self, width: int, seed: int, one: Tensor) -> None:
        self.width, self.seed, self.one = width, seed, one

    def leaf(self, position: int, leaf: Leaf, shape: tuple[int, ...], wide: Labels) -> Tensor:
        """A leaf with at most one wide axis, from its law (as the finite reading draws it)."""
        return drawn(leaf, shape, self.width, torch.float64, self.seed).to(self.one)  # the same draws in either type

    def draw(self, position: int, axes: Labels, shape: tuple[int, ...], number: int) -> Draw:
        """Fresh standard normal vectors over the given axes, (k, product of the axes)."""
        size = math.prod(shape[axis] for axis in axes)
        generator = torch.Generator(self.one.device)
        generator.manual_seed(zlib.crc32(f"{self.seed} {position} {axes} {number}".encode()))

        def fresh(count: int) -> Tensor:
            return torch.randn(count, size, generator=generator, dtype=self.one.dtype, device=self.one.device)

        return fresh


def drawn(leaf: Leaf, shape: tuple[int, ...], width: int, dtype: torch.dtype, seed: int) -> Tensor:
    """A leaf from its law, from a stream that depends on the seed and on the leaf's name only (as in the finite reading)."""
    law = leaf.law
    location, scale = law.location.at(width), law.scale.at(width)
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {leaf.name}".encode()))
    match law.kind:
        case "zero":
            return torch.zeros(shape, dtype=dtype)
        case "constant":
            return torch.full(shape, location, dtype=dtype)
        case "normal" | "iid":
            return torch.randn(shape, generator=generator, dtype=dtype) * scale + location
        case "uniform":
            return (torch.rand(shape, generator=generator, dtype=dtype) * 2 - 1) * scale + location
        case "bernoulli":
            return (torch.rand(shape, generator=generator, dtype=dtype) < location).to(dtype)
        case "data" | "index" | "array":
            raise AssertionError(f"{leaf.name} has no law; it is given")
        case _:
            assert_never(law.kind)
