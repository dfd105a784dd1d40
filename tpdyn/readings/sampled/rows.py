"""How are the vectors kept that an operator has met? As rows of blocks: appended without copies, multiplied block by block.

All storage is direction-major: `k` vectors of length n are a tensor of shape (k, n), contiguous along n.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

JOINED = 1 << 22
"""Neighbouring blocks are joined while they are smaller than this many bytes: small widths then make few calls."""
CHUNK = 1 << 14
"""Inner products in float32 are summed in float64 over chunks of this length. At n = 1e5 plain sums lose a digit."""


def inner(x: Tensor, y: Tensor) -> Tensor:
    """Compute `x y^T` for x: (k, n) and y: (l, n)."""
    n = x.shape[1]
    if x.dtype == torch.float64 or n <= CHUNK:
        return x @ y.T
    total = torch.zeros(x.shape[0], y.shape[0], dtype=torch.float64, device=x.device)
    for start in range(0, n, CHUNK):
        total += x[:, start : start + CHUNK] @ y[:, start : start + CHUNK].T
    return total.to(x.dtype)


@final
class Rows:
    """A growing list of vectors of one length."""

    def __init__(self, length: int, dtype: torch.dtype, device: torch.device) -> None:
        self.length, self.dtype, self.device = length, dtype, device
        self.blocks: list[Tensor] = []
        self.count = 0

    def append(self, new: Tensor) -> None:
        """Add the rows of `new`, (k, n)."""
        self.count += new.shape[0]
        while (
            self.blocks and self.blocks[-1].shape[0] <= new.shape[0] and _bytes(self.blocks[-1]) + _bytes(new) < JOINED
        ):
            new = torch.cat([self.blocks.pop(), new])
        self.blocks.append(new)

    def inner(self, x: Tensor) -> Tensor:
        """Compute `x R^T`: (b, count)."""
        if not self.blocks:
            return torch.zeros(x.shape[0], 0, dtype=self.dtype, device=self.device)
        return torch.cat([inner(x, block) for block in self.blocks], 1)

    def combined(self, coefficients: Tensor) -> Tensor:
        """Compute `c R` for c: (b, count)."""
        result = torch.zeros(coefficients.shape[0], self.length, dtype=self.dtype, device=self.device)
        return self.add_to(result, coefficients, 1.0)

    def add_to(self, x: Tensor, coefficients: Tensor, scale: float) -> Tensor:
        """Add in place: `x += scale * c R`."""
        start = 0
        for block in self.blocks:
            x.addmm_(coefficients[:, start : start + block.shape[0]], block, alpha=scale)
            start += block.shape[0]
        return x

    @property
    def whole(self) -> Tensor:
        """All rows as one tensor (a copy)."""
        if not self.blocks:
            return torch.zeros(0, self.length, dtype=self.dtype, device=self.device)
        return torch.cat(self.blocks)


def _bytes(block: Tensor) -> int:
    return block.numel() * block.element_size()
