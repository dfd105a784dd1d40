"""Where do fresh coordinates come from? Independent streams, one for each leaf and side: exact in law at a finite width."""

from __future__ import annotations

import math
import zlib
from typing import final

import torch
from torch import Tensor

from tpdyn.program.evaluation.leaves import draw
from tpdyn.program.instructions import Leaf
from tpdyn.readings.sampled.einsum import Labels
from tpdyn.readings.sampled.gaussian import Draw


@final
class Independent:
    """Independent noise; the same seed draws the same."""

    sharp = False

    def __init__(self, width: int, seed: int, one: Tensor) -> None:
        self.width, self.seed, self.one = width, seed, one

    def leaf(self, position: int, leaf: Leaf, shape: tuple[int, ...], wide: Labels) -> Tensor:
        """Draw a leaf with at most one wide axis from its law (as the finite reading does)."""
        return draw(leaf, shape, self.width, torch.float64, self.seed).to(self.one)  # the same draws in either type

    def draw(self, position: int, axes: Labels, shape: tuple[int, ...], number: int) -> Draw:
        """Draw fresh standard normal vectors over the given axes, (k, product of the axes)."""
        return self._stream(f"{position} {axes} {number}", math.prod(shape[axis] for axis in axes))

    def padding(self, position: int, size: int, number: int) -> Draw:
        """Draw fresh standard normal vectors of coordinates beside the axes of the program, (k, size)."""
        return self._stream(f"{position} padding {number}", size)

    def _stream(self, key: str, size: int) -> Draw:
        generator = torch.Generator(self.one.device)
        generator.manual_seed(zlib.crc32(f"{self.seed} {key}".encode()))

        def fresh(count: int, along: Tensor | None = None) -> Tensor:
            return torch.randn(count, size, generator=generator, dtype=self.one.dtype, device=self.one.device)

        return fresh
