"""Which points stand for the infinitely many coordinates of a space? Scrambled Sobol points, whitened; one set a space.

Each fresh direction of a space takes the next dimension of its sequence (Owen's scrambling, arXiv 2008.08051 on its use).
Columns are made orthonormal to each other and to the constant in the mean over points. So first and second moments are those of
the limit, and linear networks come out exactly. What the network reads first are sums of columns, one a sample, and these are
spread evenly themselves. Where it trains, points come in pairs (`Stream`). Spaces with a sum that stays random are
drawn from independent noise.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
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
"""Of fewer coordinates that lie beside all axes, independent noise is drawn: many directions cannot be whitened there."""

SUMS, SPREAD = 32, 2
"""The longest sums of columns are spread evenly, so many at most, in so many first calls. Each sorts all points."""


@final
class Crowded(ReadingError):
    """A space has too few points for the directions that a run asks for."""


@final
class Points:
    """The noise of a limit: see `tpdyn.readings.sampled.rule.Noise`.

    spaces: of every axis. independent: numbers of spaces drawn from independent noise. quiet: leaves whose answers to vectors
    vanish in the limit, unless they are known. seed: of one scramble; common: of leaves without a wide axis, the same in
    every scramble. met: what leaves are first multiplied by, see `data_met`. paired: see `Stream`.
    """

    sharp = True

    def __init__(
        self,
        spaces: Mapping[Axis, Space],
        width: int,
        one: Tensor,
        seed: int,
        *,
        common: int = 0,
        independent: frozenset[int] = frozenset(),
        met: Mapping[int, Tensor] | None = None,
        paired: bool = False,
    ) -> None:
        self.spaces, self.width, self.one, self.seed = spaces, width, one, seed
        self.common, self.independent, self.met, self.paired = common, independent, met or {}, paired
        self.streams: dict[int, Stream] = {}
        self.paddings: dict[str, Stream] = {}

    def leaf(self, position: int, leaf: Leaf, shape: tuple[int, ...], wide: Labels) -> Tensor:
        """Fill a leaf with at most one wide axis: its entries are the quantiles of its law at the points."""
        law = leaf.law
        if not wide or law.kind in ("zero", "constant"):
            return draw(leaf, shape, self.width, torch.float64, self.common).to(self.one)
        location, scale = law.location.at(self.width), law.scale.at(self.width)
        z = self._normal(position, tuple(range(len(shape))), shape, 1, self.met.get(position)).reshape(shape)
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
            return lambda count, along=None: self.one.new_zeros(count, math.prod(shape[axis] for axis in axes))
        return lambda count, along=None: self._normal(position, axes, shape, count, along)

    def padding(self, position: int, size: int, number: int) -> Draw:
        """Draw fresh standard normal vectors of coordinates beside the axes of the program."""
        key = f"padding {position} {number}"
        if key not in self.paddings:
            self.paddings[key] = Stream(f"{self.seed} {key}", size, self.one, size < SMALLEST)
        return self.paddings[key]

    def _wide(self, position: int, axes: Labels) -> list[int]:
        return [axis for axis in axes if self.spaces[position, axis].is_wide]

    def _normal(
        self, position: int, axes: Labels, shape: tuple[int, ...], count: int, along: Tensor | None = None
    ) -> Tensor:
        """Draw count vectors over the given axes, the wide one filled from its space, (count, product of the axes).

        along: the sums of columns that will be read; of vectors, where several columns make one, position by position.
        """
        (wide,) = self._wide(position, axes)
        others = [axis for axis in axes if axis != wide]
        number = math.prod(shape[axis] for axis in others)
        if along is not None and number > 1 and count > 1:
            along = torch.kron(along, torch.eye(number).to(along)) if len(along) * number <= SUMS else None
        columns = self._stream(self.spaces[position, wide], shape[wide])(count * number, along)
        z = columns.reshape(count, *(shape[axis] for axis in others), shape[wide])
        order = [*others, wide]
        return z.permute([0, *(1 + order.index(axis) for axis in axes)]).reshape(count, -1)

    def _stream(self, space: Space, size: int) -> Stream:
        if space.number not in self.streams:
            key = f"{self.seed} {space.number}"
            independent = space.number in self.independent
            self.streams[space.number] = Stream(key, size, self.one, independent, self.paired)
        return self.streams[space.number]


@final
class Stream:
    """The columns of one space: each call gives the next ones, (count, size).

    paired: points come in two halves, equal in the columns of the first call and opposite in all later ones. What is odd in
    the later ones (what comes back, beside what went forward) then cancels exactly. Columns are whitened within a half.
    """

    def __init__(self, key: str, size: int, one: Tensor, independent: bool, paired: bool = False) -> None:
        self.key, self.size, self.one, self.independent = key, size, one, independent
        self.paired = paired and size % 2 == 0
        self.own = size // 2 if self.paired else size
        self.calls = self.block = 0
        self.ready = one.new_zeros(0, self.own)
        self.basis = one.new_full((1, self.own), self.own**-0.5)
        self.first: tuple[Tensor, ...] = ()
        self.generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))

    def __call__(self, count: int, along: Tensor | None = None) -> Tensor:
        """Return the next `count` columns. along: sums of them that will be read, (sums, count), to be spread evenly."""
        if self.independent:
            return torch.randn(count, self.size, generator=self.generator, dtype=torch.float64).to(self.one)
        while len(self.ready) < count:
            self.ready = torch.cat([self.ready, self._sobol()])
        columns, self.ready = self.ready[:count], self.ready[count:]
        if along is not None and self.calls < SPREAD:
            along = _leading(along.to(columns))
            columns = evened(columns, along, self.first)
        columns = self._whitened(columns)
        if along is not None and not self.calls:
            self.first = tuple((sum_ @ columns).argsort() for sum_ in along)
        self.calls += 1
        return torch.cat([columns, columns if self.calls == 1 else -columns], 1) if self.paired else columns

    def _sobol(self) -> Tensor:
        seed = zlib.crc32(f"{self.key} {self.block}".encode())
        engine = torch.quasirandom.SobolEngine(BLOCK, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
        uniform = engine.draw(self.own, dtype=torch.float64).clamp_(1e-12, 1 - 1e-12)
        if self.block:
            uniform = uniform[torch.randperm(self.own, generator=self.generator)]
        self.block += 1
        normal: Tensor = torch.special.ndtri(uniform)
        return normal.T.contiguous().to(self.one)

    def _whitened(self, columns: Tensor) -> Tensor:
        if len(self.basis) + len(columns) > self.own // 2:
            raise Crowded(
                f"the run asks for {len(self.basis) + len(columns)} directions of a space of {self.size} points, which have "
                f"room for {self.own // 2}. Take more points: a limit is also taken with a quarter of them"
            )
        for _ in range(2):
            columns = columns - (columns @ self.basis.T) @ self.basis
        new = orthonormal(columns)
        self.basis = torch.cat([self.basis, new])
        return new * math.sqrt(self.own)


def _leading(along: Tensor) -> Tensor:
    """Return the longest sums, at most `SUMS`, as unit vectors, in order."""
    lengths = along.norm(dim=1)
    longest = lengths.argsort(descending=True, stable=True)[:SUMS].sort().values
    longest = longest[lengths[longest] > 1e-9 * lengths.max()]
    unit: Tensor = along[longest] / lengths[longest, None]
    return unit


def evened(columns: Tensor, along: Tensor, first: Sequence[Tensor] = ()) -> Tensor:
    """Move points so that sums of columns take the quantiles of their law, each along its sum only.

    along: sums as unit vectors, (sums, count). first: orders of the points by earlier sums. Each sum is also spread evenly
    within stretches of the earlier sum of the same number. If one of the two calls has one sum only, all others count.
    """
    alone = 1 in (len(first), len(along))
    for number, direction in enumerate(along):
        beside = first if alone else first[number : number + 1] if len(first) == len(along) else ()
        for order in beside or (None,):
            projected = direction @ columns
            columns = torch.addr(columns, direction, _quantiles(projected, order) - projected)
    return columns


def _quantiles(projected: Tensor, order: Tensor | None) -> Tensor:
    """Return normal quantiles in the order of the numbers, or stretch by stretch of `order`: both are even then."""
    size = len(projected)
    normal = torch.special.ndtri((torch.arange(size, dtype=projected.dtype, device=projected.device) + 0.5) / size)
    target = torch.empty_like(projected)
    length = 1 << (size.bit_length() - 1) // 2
    if order is None or size % length:
        target[projected.argsort()] = normal
        return target
    sorted_, within = projected[order].reshape(-1, length).sort(1)  # "stretches levels"
    across = sorted_.argsort(0)
    levels = torch.empty_like(sorted_).scatter_(0, across, normal.reshape(length, -1).T.contiguous())
    target[order] = torch.empty_like(sorted_).scatter_(1, within, levels).reshape(-1)
    return target
