"""What does a Gaussian matrix answer once the norms of its rows were told (weight norm)?

Given its norm, a row is uniform on a sphere and no longer Gaussian. Given a product with the transpose, rows are no longer
independent. `Spheres` answers for what is left of them, without error. Where the rows take no more memory than that, they are
drawn and stored.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from tpdyn.program.errors import OutsideTheory
from tpdyn.readings.sampled.gaussian import Gaussian, Orthogonal, Side, orthonormal, other
from tpdyn.readings.sampled.spheres import Spheres


@final
class Normed(Gaussian):
    """A Gaussian matrix whose rows (or columns: the side `unit`) have norms that were told.

    squared_norms: of each. It goes on from the answers of a matrix that was applied from the other side only.
    """

    def __init__(self, before: Gaussian, unit: Side, name: str) -> None:
        across = other(unit)
        device = before.answers[across].device
        rows, columns = before.size["rows"], before.size["columns"]
        super().__init__(rows, columns, before.std, before.draw, before.generator, before.dtype, device)
        if before.asked[unit].count:
            raise OutsideTheory(
                f"outside the sampler: the norms of {unit} of {name} after sums over its {unit}; take the norms first"
            )
        self.asked, self.answers, self.unit = before.asked, before.answers, unit
        free, count = self._free(across), self.size[unit]
        rest = self.generator.chisquare(free, count) if free else torch.zeros(count).numpy()
        squares = torch.from_numpy(rest).to(before.answers[across].whole) * self.std**2
        if before.remainder is not None and free:  # the norm of the whole matrix was told
            squares *= before.remainder * self.std**2 / squares.sum()
        self.squared_norms = squares + self.answers[across].whole.square().sum(0)
        self.stored: Tensor | None = None
        self.spheres: Spheres | None = None
        if Spheres.is_small(count, free, 0):
            self.stored = self._known() + self._uniform(squares.sqrt())
        else:
            self.spheres = Spheres(squares.sqrt(), free, self.generator)

    def _times(self, x: Tensor, side: Side) -> Tensor:
        if self.stored is None:
            return super()._times(x, side)
        return x @ (self.stored.T if side == other(self.unit) else self.stored)

    def _fresh(self, new: Tensor, side: Side, along: Tensor) -> Tensor:
        """Answer by what is left of the rows: their components along new vectors, or sums of them."""
        across, k = other(self.unit), new.shape[0]
        assert self.spheres is not None
        told = self.spheres.told if side == across else self.spheres.told + k
        if Spheres.is_small(self.size[self.unit], self.spheres.free - k, told):
            self.stored = self._known() + self.spheres.whole(lambda k: self._new(k).double()).to(self.dtype)
            return self._times(new, side)
        if side == across:
            return torch.stack([self.spheres.component() for _ in range(k)]).to(new)
        for each in new:
            length, components = self.spheres.total(each)
            assert length or not bool(components.any())
            direction = orthonormal(self._new(1))
            self.asked[across].append(direction)
            self.answers[across].append(components.to(new)[None])
        return self.asked[across].combined(self.answers[across].inner(new))  # every sum lies in what was asked

    def _new(self, count: int) -> Tensor:
        """Draw vectors that are standard normal in the space that answers have not touched."""
        known = self.asked[other(self.unit)]
        new = self.draw[other(self.unit)](count, None).to(self.dtype)
        for _ in range(2):
            known.add_to(new, known.inner(new), -1.0)
        return new

    def _uniform(self, lengths: Tensor) -> Tensor:
        new = self._new(len(lengths))
        short = torch.finfo(new.dtype).tiny
        rows: Tensor = new / new.norm(dim=1, keepdim=True).clamp(min=short) * lengths[:, None]
        return rows

    def _known(self) -> Tensor:
        """Return what the answers say of the rows (of the columns, as rows)."""
        across = other(self.unit)
        known: Tensor = self.answers[across].whole.T @ self.asked[across].whole
        return known

    def squared_norm(self) -> float:
        """See `Gaussian.squared_norm`."""
        return float(self.squared_norms.sum())


def with_norms(operator: Gaussian, unit: Side, name: str) -> tuple[Gaussian, Tensor]:
    """Tell the squared norms of all rows (or columns) of a matrix: the operator from now on, and they.

    Raises OutsideTheory where it was applied from that side before, or norms of the other side were told.
    """
    if isinstance(operator, Orthogonal):
        if operator.shape[unit] > operator.shape[other(unit)]:
            raise OutsideTheory(
                f"outside the sampler: the norms of {unit} of {name}, orthogonal along its {other(unit)}"
            )
        return operator, operator.answers[unit].whole.new_full((operator.shape[unit],), operator.std**2)
    if isinstance(operator, Normed):
        if operator.unit != unit:
            raise OutsideTheory(f"outside the sampler: the norms of both rows and columns of {name}")
        return operator, operator.squared_norms
    normed = Normed(operator, unit, name)
    return normed, normed.squared_norms
