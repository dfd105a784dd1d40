"""Which points stand for the infinitely many coordinates of a space? Scrambled Sobol points, whitened; one set a space.

Each fresh direction of a space takes the next dimension of its sequence (Owen's scrambling, arXiv 2008.08051 on its use).
Columns are made orthonormal to each other and to the constant in the mean over points. So first and second moments are those of
the limit, and linear networks come out exactly. Spaces with a sum that stays random are drawn from independent noise.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import assert_never, final

import torch
from torch import Tensor

from tpdyn.program.dims import Axis, Space
from tpdyn.program.errors import ReadingError
from tpdyn.program.evaluation.leaves import draw
from tpdyn.program.instructions import Leaf
from tpdyn.readings.sampled.einsum import Labels
from tpdyn.readings.sampled.gaussian import Draw, orthonormal

BLOCK = 64
"""Dimensions of one Sobol sequence; further ones come from another sequence, its points permuted (Latin supercubes)."""

SMALLEST = 1024
"""Of less coordinates that belong to no axis, independent noise is drawn: there is no room to whiten many directions."""


@final
class Points:
    """The noise of a limit: see `tpdyn.readings.sampled.rule.Noise`.

    spaces: of every axis. independent: numbers of spaces drawn from independent noise. quiet: leaves whose answers to vectors
    vanish in the limit, unless they are known. seed: of one scramble; common: of leaves without a wide axis, the same in
    every scramble.
    """

    def __init__(
        self,
        spaces: Mapping[Axis, Space],
        width: int,
        one: Tensor,
        seed: int,
        *,
        common: int = 0,
        independent: frozenset[int] = frozenset(),
    ) -> None:
        self.spaces, self.width, self.one, self.seed = spaces, width, one, seed
        self.common, self.independent = common, independent
        self.streams: dict[int, Stream] = {}
        self.paddings: dict[str, Stream] = {}

    def leaf(self, position: int, leaf: Leaf, shape: tuple[int, ...], wide: Labels) -> Tensor:
        """Fill a leaf with at most one wide axis: its entries are the quantiles of its law at the points."""
        law = leaf.law
        if not wide or law.kind in ("zero", "constant"):
            return draw(leaf, shape, self.width, torch.float64, self.common).to(self.one)
        location, scale = law.location.at(self.width), law.scale.at(self.width)
        z = self._normal(position, tuple(range(len(shape))), shape, 1).reshape(shape)
        uniform: Tensor = torch.special.ndtr(z)
        match law.kind:
            case "normal" | "iid" | "orthogonal":  # few columns of a large orthogonal matrix are Gaussian, and whitened
                return z * scale + location
            case "uniform":
                return (2 * uniform - 1) * scale + location
            case "bernoulli":
                return (uniform < location).to(self.one)
            case "zero" | "constant" | "data" | "index" | "array":
                raise AssertionError(f"{leaf.name} is not a random number")
            case _:
                assert_never(law.kind)

    def draw(self, position: int, axes: Labels, shape: tuple[int, ...], number: int) -> Draw:
        """Draw fresh standard normal vectors for these axes of a leaf; zeros where none of them is wide."""
        if not self._wide(position, axes):
            return lambda count: self.one.new_zeros(count, math.prod(shape[axis] for axis in axes))
        return lambda count: self._normal(position, axes, shape, count)

    def padding(self, position: int, size: int, number: int) -> Draw:
        """Draw fresh standard normal vectors of coordinates that belong to no axis of the program."""
        key = f"padding {position} {number}"
        if key not in self.paddings:
            self.paddings[key] = Stream(f"{self.seed} {key}", size, self.one, size < SMALLEST)
        return self.paddings[key]

    def _wide(self, position: int, axes: Labels) -> list[int]:
        return [axis for axis in axes if self.spaces[position, axis].is_wide]

    def _normal(self, position: int, axes: Labels, shape: tuple[int, ...], count: int) -> Tensor:
        """Draw count vectors over the given axes, the wide one filled from its space, (count, product of the axes)."""
        (wide,) = self._wide(position, axes)
        others = [axis for axis in axes if axis != wide]
        columns = self._stream(self.spaces[position, wide], shape[wide])(
            count * math.prod(shape[axis] for axis in others)
        )
        z = columns.reshape(count, *(shape[axis] for axis in others), shape[wide])
        order = [*others, wide]
        return z.permute([0, *(1 + order.index(axis) for axis in axes)]).reshape(count, -1)

    def _stream(self, space: Space, size: int) -> Stream:
        if space.number not in self.streams:
            key = f"{self.seed} {space.number}"
            self.streams[space.number] = Stream(key, size, self.one, space.number in self.independent)
        return self.streams[space.number]


@final
class Stream:
    """The columns of one space: each call gives the next ones, (count, size)."""

    def __init__(self, key: str, size: int, one: Tensor, independent: bool) -> None:
        self.key, self.size, self.one, self.independent = key, size, one, independent
        self.block = 0
        self.ready = one.new_zeros(0, size)
        self.basis = one.new_full((1, size), size**-0.5)
        self.generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))

    def __call__(self, count: int) -> Tensor:
        """Return the next `count` columns."""
        if self.independent:
            return torch.randn(count, self.size, generator=self.generator, dtype=torch.float64).to(self.one)
        while len(self.ready) < count:
            self.ready = torch.cat([self.ready, self._sobol()])
        columns, self.ready = self.ready[:count], self.ready[count:]
        return self._whitened(columns)

    def _sobol(self) -> Tensor:
        seed = zlib.crc32(f"{self.key} {self.block}".encode())
        engine = torch.quasirandom.SobolEngine(BLOCK, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
        uniform = engine.draw(self.size, dtype=torch.float64).clamp_(1e-12, 1 - 1e-12)
        if self.block:
            uniform = uniform[torch.randperm(self.size, generator=self.generator)]
        self.block += 1
        normal: Tensor = torch.special.ndtri(uniform)
        return normal.T.contiguous().to(self.one)

    def _whitened(self, columns: Tensor) -> Tensor:
        if len(self.basis) + len(columns) > self.size // 2:
            raise ReadingError(
                f"the run asks for {len(self.basis) + len(columns)} directions of a space of {self.size} points. Take more "
                "points: at least four times as many as directions"
            )
        for _ in range(2):
            columns = columns - (columns @ self.basis.T) @ self.basis
        new = orthonormal(columns)
        self.basis = torch.cat([self.basis, new])
        return new * math.sqrt(self.size)
