"""What does a Gaussian matrix answer when it is multiplied, if nobody ever looked at its entries?

Let W have independent entries N(0, s^2). Let the answers `Y = W Q` and `V = W^T U` be known, for orthonormal columns Q and
U. Given them, a new product has the law of

    W q = U (V^T q) + (1 - U U^T) g,    g ~ N(0, s^2) fresh,    q orthogonal to Q,

the *dot* and the *hat* of the Master Theorem, here at finite n and without error (Bolthausen's conditioning, arXiv
1201.2891). So a network of width n is trained in O(n k) memory after k products, instead of O(n^2).
"""

from __future__ import annotations

import math
from typing import Literal, Protocol, final

import numpy as np
import torch
from torch import Tensor

from tpdyn.readings.sampled.rows import Rows, inner

Side = Literal["rows", "columns"]


class Draw(Protocol):
    """Draws standard normal vectors of one side."""

    def __call__(self, count: int, along: Tensor | None = None) -> Tensor:
        """Draw `count` vectors, (count, n). along: the sums of them that will be read, (sums, count), if that is known."""
        ...


TOLERANCE = {torch.float64: 1e-13, torch.float32: 3e-6}
"""What is left of a vector after projection counts as a new direction above this part of the vector's length."""
WELL_CONDITIONED = 1e-6
"""Directions of the Gram matrix below this part of the largest eigenvalue wait for another round."""
ROUNDS = 8


def other(side: Side) -> Side:
    """Return the opposite side."""
    return "rows" if side == "columns" else "columns"


class Gaussian:
    """A matrix of independent N(0, std^2) entries, known by its answers only.

    asked["columns"] holds the orthonormal vectors Q that W was applied to, answers["columns"] holds W Q. Likewise for the
    transpose under "rows". draw: fresh standard normal vectors for each side. generator: for the norm, see `squared_norm`.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        std: float,
        draw: dict[Side, Draw],
        generator: np.random.Generator,
        dtype: torch.dtype = torch.float64,
        device: torch.device | None = None,
    ) -> None:
        device = device or torch.device("cpu")
        self.size: dict[Side, int] = {"rows": rows, "columns": columns}
        self.std, self.draw, self.generator, self.dtype = std, draw, generator, dtype
        self.asked: dict[Side, Rows] = {side: Rows(self.size[side], dtype, device) for side in self.size}
        self.answers: dict[Side, Rows] = {side: Rows(self.size[other(side)], dtype, device) for side in self.size}
        self.remainder: float | None = None

    def times(self, x: Tensor, side: Side = "columns") -> Tensor:
        """Compute `W x` for each row of x: (b, columns) -> (b, rows); side "rows": `W^T x`, (b, rows) -> (b, columns).

        A row that is not finite gets NaN; the others do not notice.
        """
        return self._times(x, side)

    def _times(self, x: Tensor, side: Side) -> Tensor:
        largest = x.abs().amax(1) if x.numel() else x.new_zeros(x.shape[0])
        proper = torch.isfinite(largest) & (largest > 0)
        if not bool(proper.all()):
            result = torch.zeros(x.shape[0], self.size[other(side)], dtype=self.dtype, device=x.device)
            result[~torch.isfinite(largest)] = math.nan
            if bool(proper.any()):
                result[proper] = self._times(x[proper], side)
            return result
        coefficients = self._coefficients(x / largest[:, None], side)  # scaled: lengths neither overflow nor vanish
        return self.answers[side].combined(coefficients * largest[:, None])

    def _coefficients(self, rest: Tensor, side: Side) -> Tensor:
        """Write x in the basis of the directions asked so far; new directions are asked. `rest` is overwritten."""
        known, tolerance = self.asked[side], TOLERANCE[self.dtype]
        length = rest.norm(dim=1)
        coefficients = known.inner(rest)
        known.add_to(rest, coefficients, -1.0)
        for _ in range(ROUNDS):
            again = known.inner(rest)  # "twice is enough"
            known.add_to(rest, again, -1.0)
            coefficients = coefficients + again
            left = rest.norm(dim=1)
            active = left > tolerance * length
            room = self.size[side] - known.count
            if room <= 0 or not bool(active.any()):
                break
            cancelled = bool((left[active] < 1e-6 * length[active]).any())
            new = self._directions(rest[active] / left[active, None], side, cancelled, room)
            along = inner(rest, new)
            answers = self._fresh(new, side, along)
            known.append(new)
            self.answers[side].append(answers)
            rest.addmm_(along, new, alpha=-1.0)
            coefficients = torch.cat([coefficients, along], 1)
        return coefficients

    def _directions(self, x: Tensor, side: Side, cancelled: bool, room: int) -> Tensor:
        """Orthonormal vectors that span the well conditioned part of x, whose rows are unit vectors orthogonal to `asked`.

        If a vector were dropped outright, its component along later vectors would be lost. That is an error of order 1 with
        duplicate inputs. So the Gram matrix decides, and what it cannot tell apart waits for the next round.
        """
        values, vectors = torch.linalg.eigh(inner(x, x))
        kept = values > WELL_CONDITIONED * values[-1]
        values, vectors = values[kept].flip(0)[:room], vectors[:, kept].flip(1)[:, :room]  # largest first
        new = (vectors.T @ x) / values.sqrt()[:, None]
        if cancelled or bool((values < 1e-3).any()):
            self.asked[side].add_to(new, self.asked[side].inner(new), -1.0)
        return orthonormal(new)

    def _fresh(self, new: Tensor, side: Side, along: Tensor) -> Tensor:
        """Draw `W q` for new orthonormal q: what the transpose has told of it, and fresh noise where it has not.

        along: the vectors that ask, in terms of q.
        """
        across = other(side)
        known, told = self.asked[across], self.answers[across]
        answers = self.draw[across](new.shape[0], along).to(self.dtype) * self.std
        known.add_to(answers, known.inner(answers), -1.0)  # hat: fresh where the transpose has not asked
        if self.remainder is not None:
            self._share_norm(answers, known.count, side)
        known.add_to(answers, told.inner(new), 1.0)  # dot: U (V^T q)
        return answers

    # -- the norm of the matrix itself -------------------------------------------------------------------------------

    def squared_norm(self) -> float:
        """Draw `|W|^2` once: known answers, and the rest of W, whose square is `std^2` times a chi-squared number."""
        columns, rows = self.answers["columns"].whole, self.answers["rows"].whole
        both = inner(self.asked["rows"].whole, columns)
        known = float(columns.square().sum() + rows.square().sum() - both.square().sum())
        if self.remainder is None:
            self.remainder = self._chi_squared(self._free("rows") * self._free("columns"))
        return known + self.remainder * self.std**2

    def _free(self, side: Side) -> int:
        return self.size[side] - self.asked[side].count

    def _share_norm(self, answers: Tensor, known: int, side: Side) -> None:
        """Scale each fresh answer so that the norm comes out as it was told. Given it, the rest is uniform on a sphere."""
        width = self.size[other(side)] - known
        for row in range(answers.shape[0]):
            assert self.remainder is not None
            own = float(answers[row].square().sum()) / self.std**2
            rest = self._chi_squared(width * (self._free(side) - row - 1))
            answers[row] *= math.sqrt(self.remainder / (own + rest)) if own + rest else 0.0
            self.remainder *= rest / (own + rest) if own + rest else 0.0

    def _chi_squared(self, freedom: int) -> float:
        return float(self.generator.chisquare(freedom)) if freedom > 0 else 0.0

    @property
    def mean_square(self) -> float:
        """The mean square of an entry."""
        return self.std**2

    @property
    def directions(self) -> tuple[int, int]:
        """How many directions of each side were asked: (columns, rows)."""
        return self.asked["columns"].count, self.asked["rows"].count


@final
class Orthogonal(Gaussian):
    """A matrix with orthonormal rows or columns (uniform, "Haar"), times `std`.

    A larger square one serves: vectors of the shorter side are padded with zeros. One list of pairs (e, f) with `W e = f`
    answers for both sides, since then `W^T f = e`.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        std: float,
        draw: dict[Side, Draw],
        generator: np.random.Generator,
        dtype: torch.dtype = torch.float64,
        device: torch.device | None = None,
    ) -> None:
        large = max(rows, columns)
        super().__init__(large, large, std, draw, generator, dtype, device)
        self.shape: dict[Side, int] = {"rows": rows, "columns": columns}
        self.answers = {"rows": self.asked["columns"], "columns": self.asked["rows"]}

    def times(self, x: Tensor, side: Side = "columns") -> Tensor:
        """See `Gaussian.times`."""
        missing = self.size[side] - self.shape[side]
        padded = torch.nn.functional.pad(x, (0, missing)) if missing else x
        return self._times(padded, side)[:, : self.shape[other(side)]] * self.std

    def _fresh(self, new: Tensor, side: Side, along: Tensor) -> Tensor:
        """Draw uniformly among the orthonormal vectors that are orthogonal to every image so far."""
        known = self.asked[other(side)]
        answers = self.draw[other(side)](new.shape[0]).to(self.dtype)
        for _ in range(2):
            known.add_to(answers, known.inner(answers), -1.0)
        return orthonormal(answers)

    @property
    def mean_square(self) -> float:
        """See `Gaussian.mean_square`: one of the entries of a square orthogonal matrix has mean square 1 / n."""
        return self.std**2 / self.size["rows"]

    def squared_norm(self) -> float:
        """Return `|W|^2`, which is not random."""
        return self.std**2 * min(self.shape.values())


def orthonormal(x: Tensor) -> Tensor:
    """Orthonormalise the rows of x, in order, by a Cholesky factor of their Gram matrix."""
    factor = torch.linalg.cholesky(inner(x, x))
    basis: Tensor = torch.linalg.solve_triangular(factor, x, upper=False)
    return basis
