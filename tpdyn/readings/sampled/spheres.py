"""What is still random in vectors whose lengths are known? Their directions, and these are asked for by sums and by components.

Vectors R_i of a space of d dimensions have known lengths and independent uniform directions. `component` tells `R_i . e` of all
of them along a new direction, `total` tells `sum_i u_i R_i`. What was told stays true, and each answer has the exact law. Rows
of a Gaussian matrix whose norms were told (weight norm) are such vectors.

Sums are formed along a binary tree of blocks of vectors. After m sums, each node has an orthonormal frame of m vectors that
holds its own part of each sum. A *link* writes the frames of two children in the frame of their parent and m vectors more.
Given what was told, those are uniform among all frames orthogonal to the parent's. So a component is told from the root down:
at each node its share along them is drawn. A sum is told from the blocks up: cosines between the new parts are drawn. The
component along each sum is told with it. From then on the parts of all sums cancel at the root.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

import numpy as np
import torch
from torch import Tensor

from tpdyn.program.errors import OutsideTheory

BLOCK = 16
"""Vectors of a block, or up to twice as many. A block stores their coordinates; the larger it is, the fewer links there are."""
APART = 1e-9
"""A sum has no rule if one node gives all but this part of its square."""


@final
class Spheres:
    """Vectors of known lengths, otherwise uniform and independent, in a space of `free` dimensions.

    blocks: (blocks, slots, b), the vectors in the frame of their block. The parent of a block knows the first m of it.
    links[k]: (nodes, 2, m, 2 m), of the nodes above 2^k blocks. Everything is float64.
    """

    def __init__(self, lengths: Tensor, free: int, generator: np.random.Generator) -> None:
        self.count, self.free, self.told, self.generator = len(lengths), free, 0, generator
        self.one = lengths.new_ones((), dtype=torch.float64)
        blocks = self.blocks_of(self.count)
        self.slots = math.ceil(self.count / blocks)
        factor = self._normal(blocks, self.slots, self.slots).tril(
            -1
        )  # of the Gram matrix of Gaussian vectors (Bartlett)
        diagonal = torch.stack([self._chi_squared(free - k, blocks) for k in range(self.slots)], 1).sqrt()
        factor += torch.diag_embed(diagonal)
        self.blocks = factor / factor.norm(dim=2, keepdim=True) * self._dealt(lengths)[..., None]
        self.links = [self.one.new_zeros(blocks >> k, 2, 0, 0) for k in range(1, blocks.bit_length())]

    @staticmethod
    def blocks_of(count: int) -> int:
        """Return the number of blocks: a power of two."""
        return int(2 ** math.floor(math.log2(max(1.0, count / BLOCK))))

    def _dealt(self, x: Tensor) -> Tensor:
        """Deal numbers, one a vector, to the blocks evenly; zeros fill them: (count,) -> (blocks, slots)."""
        blocks = self.blocks_of(self.count)
        return torch.nn.functional.pad(x.double(), (0, blocks * self.slots - self.count)).reshape(self.slots, blocks).T

    @staticmethod
    def is_small(count: int, free: int, told: int) -> bool:
        """Tell whether the vectors themselves take no more memory than what is kept of them; then they should be drawn."""
        slots = math.ceil(count / Spheres.blocks_of(count))
        return slots * free <= 4 * (told + 1) ** 2 + slots * (max(slots, told + 1) + 1) or 4 * told >= count

    # -- components -------------------------------------------------------------------------------------------------

    def component(self) -> Tensor:
        """Draw `R_i . e` of all vectors, for a new unit vector e of the space: (count,)."""
        return self._component(self._with_rest(self.one.new_zeros(1, 0), self.told))

    def _component(self, root: Tensor) -> Tensor:
        """Compute `R_i . e`, given the components of the root's frame, (1, m)."""
        m, known = self.told, root
        for level in reversed(range(len(self.links))):
            whole = self._with_rest(known, m)
            known = torch.einsum("kcij,kj->kci", self.links[level], whole)
            if m and bool((known.square().sum(2) > 1 - APART).any()):
                raise OutsideTheory(
                    "outside the sampler: a sum over few rows of a matrix whose norms of rows were taken"
                )
            link = self.links[level] @ _left(whole)[:, None]
            self.links[level] = torch.linalg.solve_triangular(_left(known), link, upper=False)
            known = known.flatten(0, 1)
        whole = self._with_rest(known, self.blocks.shape[2] - m)
        found = torch.einsum("kci,ki->kc", self.blocks, whole)
        self.blocks = self.blocks @ _left(whole)
        self.free -= 1
        return found.T.reshape(-1)[: self.count]

    def _with_rest(self, known: Tensor, more: int) -> Tensor:
        """Add the components of `more` orthonormal vectors, uniform in the complement: (k, m) -> (k, m + more)."""
        z = self._normal(known.shape[0], more)
        others = self._chi_squared(self.free - known.shape[1] - more, known.shape[0])
        left = (1 - known.square().sum(1)).clamp(min=0)
        share = (left / (z.square().sum(1) + others)).sqrt()
        return torch.cat([known, z * share[:, None]], 1)

    # -- sums -------------------------------------------------------------------------------------------------------

    def total(self, u: Tensor) -> tuple[float, Tensor]:
        """Draw the length of `sum_i u_i R_i`, and the components of all vectors along it: (count,).

        It has a sign. The direction is new: uniform among those that nothing is known of.
        """
        m = self.told
        if self.blocks.shape[2] == m:  # the frame of a block grows: any direction that nothing is known of
            self.blocks = torch.nn.functional.pad(self.blocks, (0, 1))
        whole = torch.einsum("kc,kci->ki", self._dealt(u), self.blocks)
        top = len(
            self.links
        )  # the frame of the root is nobody's: it may be turned as a whole, so that the sum comes first
        self.blocks, along = _turned(self.blocks, whole, m if top else 0)
        for level, link in enumerate(self.links):
            grown = self._grown(link)
            whole = torch.einsum("kci,kcij->kj", along.reshape(-1, 2, m + 1), grown)
            turned, along = _turned(grown.flatten(1, 2), whole, m if level < top - 1 else 0)
            self.links[level] = turned.reshape(grown.shape)
        self.told += 1
        root = self.one.new_zeros(1, m + 1)
        root[0, 0] = 1.0
        return float(along[0, 0]), self._component(root)

    def _grown(self, link: Tensor) -> Tensor:
        """Let each child's frame grow by a vector that is uniform in its complement: (k, 2, m, 2 m) -> m + 1."""
        nodes, _, m, _ = link.shape
        z = self._normal(nodes, 2, 2 * m)
        z = z - torch.einsum("kcij,kci->kcj", link, torch.einsum("kcij,kcj->kci", link, z))
        others = self._chi_squared(self.free - 2 * m, nodes, 2)
        length = (z.square().sum(2) + others).sqrt()
        outside = (others.sqrt() / length)[..., None]
        pair = torch.cat([self._normal(nodes, 1), self._chi_squared(self.free - 2 * m - 1, nodes, 1).sqrt()], 1)
        pair = pair / pair.norm(dim=1, keepdim=True)  # the second child's direction outside, in the plane of both
        first = torch.stack([torch.ones_like(pair[:, 0]), torch.zeros_like(pair[:, 0])], 1)
        grown = link.new_zeros(nodes, 2, m + 1, 2 * m + 2)
        grown[:, :, :m, : 2 * m] = link
        grown[:, :, m, : 2 * m] = z / length[..., None]
        grown[:, :, m, 2 * m :] = torch.stack([first, pair], 1) * outside
        return grown

    # -- the vectors themselves -------------------------------------------------------------------------------------

    def whole(self, fresh: Callable[[int], Tensor]) -> Tensor:
        """Draw the vectors, (count, n), given all that was told. fresh: k -> k standard normal vectors of the space, (k, n)."""
        frames = self._completed(fresh(0)[None], self.told, fresh)
        for link in reversed(self.links):
            below = link.flatten(1, 2) @ self._completed(frames, self.told, fresh)
            frames = below.reshape(2 * below.shape[0], self.told, below.shape[2])
        every: Tensor = self.blocks @ self._completed(frames, self.blocks.shape[2] - self.told, fresh)
        return every.transpose(0, 1).flatten(0, 1)[: self.count]

    @staticmethod
    def _completed(frames: Tensor, more: int, fresh: Callable[[int], Tensor]) -> Tensor:
        """Add `more` orthonormal vectors to each frame, uniform in its complement."""
        new = fresh(frames.shape[0] * more).reshape(frames.shape[0], more, frames.shape[2])
        for _ in range(2):
            new = new - (new @ frames.mT) @ frames
        factor = torch.linalg.cholesky(new @ new.mT)
        return torch.cat([frames, torch.linalg.solve_triangular(factor, new, upper=False)], 1)

    def _normal(self, *shape: int) -> Tensor:
        return torch.from_numpy(self.generator.standard_normal(shape)).to(self.one)

    def _chi_squared(self, freedom: int, *shape: int) -> Tensor:
        return torch.from_numpy(self.generator.chisquare(freedom, shape)).to(self.one)


def _left(y: Tensor) -> Tensor:
    """Factor `1 - y y^T = L L^T`, L lower triangular, (..., p) -> (..., p, p): what a frame is without its components y.

    Where |y| = 1 it has a row of zeros: the vector that takes this place is a new one.
    """
    left = 1 - y.square().cumsum(-1)
    before = torch.cat([torch.ones_like(left[..., :1]), left[..., :-1]], -1)
    there = left > 0
    diagonal = torch.where(before > 0, (left.clamp(min=0) / before.where(before > 0, 1.0)).sqrt(), 1.0)
    below = -y[..., :, None] * torch.where(there, y / (left * before).where(there, 1.0).sqrt(), 0.0)[..., None, :]
    return below.tril(-1) + torch.diag_embed(diagonal)


def _turned(rows: Tensor, whole: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """Turn frames from vector m on, so that `whole` lies in the first m + 1.

    Return the rows, (k, r, p), and `whole`, (k, m + 1), in them.
    """
    rest = whole[:, m:]
    length = rest.norm(dim=1)
    sign = torch.where(rest[:, 0] < 0, -1.0, 1.0).to(rest)
    mirror = rest.clone()
    mirror[:, 0] += sign * length
    mirror = mirror / mirror.norm(dim=1, keepdim=True).clamp(min=torch.finfo(rest.dtype).tiny)
    turned = rows.clone()
    turned[:, :, m:] -= 2 * torch.einsum("krp,kp->kr", rows[:, :, m:], mirror)[..., None] * mirror[:, None]
    return turned, torch.cat([whole[:, :m], (-sign * length)[:, None]], 1)
