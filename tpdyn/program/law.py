"""What is a leaf drawn from? A law of its entries, with mean and standard deviation; or it is given, as data are.

Mean, standard deviation and the draw are told here, once. Whoever needs values, or a Gaussian of the same moments, asks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, assert_never, final

from tpdyn.exponents import Number, Scaling

if TYPE_CHECKING:
    import torch
    from torch import Tensor

NOTHING = Scaling(())


@final
@dataclass(frozen=True, slots=True)
class Law:
    """What a leaf is drawn from: a distribution of independent entries, an orthogonal matrix, or data.

    kind:

    * "zero"; "constant" (location); "bernoulli" (location = probability of a one);
    * "normal" (location = mean, scale = std); "uniform" (location = middle, scale = half of the interval);
    * "iid" (any other law of independent entries, location = mean, scale = std);
    * "orthogonal" (scale = std of an entry, mean 0). Rows or columns, whichever are fewer, are orthogonal and of one length.
      They are drawn uniformly (Haar). Rows are the first axis, columns all others;
    * "data" (given by the user); "index" (integer data: labels, tokens, positions);
    * "array" (a fixed array that the script computes, e.g. a causal mask). Its values are in `Program.arrays`.

    The scale of "data" and "array" is the typical size of an entry, where
    that depends on the width.
    """

    kind: Literal["zero", "constant", "normal", "uniform", "bernoulli", "iid", "orthogonal", "data", "index", "array"]
    location: Scaling = NOTHING
    scale: Scaling = NOTHING

    @property
    def is_given(self) -> bool:
        """Whether somebody has to give the values: there is nothing to draw them from."""
        return self.kind in ("data", "index", "array")

    @property
    def is_number(self) -> bool:
        """Whether every entry is the same number."""
        return self.kind in ("zero", "constant")

    @property
    def mean(self) -> Scaling:
        """The mean of an entry. Raises ValueError for what is given."""
        match self.kind:
            case "zero":
                return NOTHING
            case "constant" | "normal" | "uniform" | "bernoulli" | "iid" | "orthogonal":
                return self.location
            case "data" | "index" | "array":
                raise ValueError(f"{self.kind} is given, not drawn: it has no mean")
        assert_never(self.kind)

    @property
    def std(self) -> Scaling:
        """The standard deviation of an entry.

        Raises ValueError for what is given, and for the probability of a bernoulli law that depends on the width.
        """
        match self.kind:
            case "zero" | "constant":
                return NOTHING
            case "normal" | "iid" | "orthogonal":
                return self.scale
            case "uniform":  # the square of a uniform number on [-1, 1] has mean 1/3
                return self.scale * Scaling.of(3**-0.5)
            case "bernoulli":
                p = float(self.location.constant)
                return Scaling.of(math.sqrt(p * (1 - p)))
            case "data" | "index" | "array":
                raise ValueError(f"{self.kind} is given, not drawn: it has no standard deviation")
        assert_never(self.kind)

    def moments_at(self, width: int) -> tuple[float, float]:
        """Compute mean and standard deviation at one width. Raises ValueError for what is given."""
        mean = self.mean.at(width)
        return mean, math.sqrt(mean * (1 - mean)) if self.kind == "bernoulli" else self.std.at(width)

    def affine(self, slope: Number, shift: Number = 0) -> Law:
        """Return the law of `slope * x + shift`; of a bernoulli law only mean and standard deviation are kept."""
        scale = self.scale * Scaling.of(-slope if slope < 0 else slope)
        match self.kind:
            case "zero" | "constant":
                mean = self.mean * Scaling.of(slope) + Scaling.of(shift)
                return Law("zero") if mean.is_zero else Law("constant", mean)
            case "normal" | "uniform" | "iid":
                return Law(self.kind, self.location * Scaling.of(slope) + Scaling.of(shift), scale)
            case "orthogonal":
                return Law("iid" if shift else "orthogonal", Scaling.of(shift), scale)
            case "bernoulli":
                return Law("iid", self.mean, self.std).affine(slope, shift)
            case "data" | "index" | "array":
                return self
        assert_never(self.kind)

    def draw(
        self,
        shape: Sequence[int],
        width: int,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Draw entries at one width. "iid" is drawn as a Gaussian of its mean and standard deviation.

        generator: on the device. out: where independent entries may be drawn into, of that shape.

        Raises ValueError for what is given, and for an orthogonal matrix of less than two axes.
        """
        import torch

        location, scale = self.location.at(width), self.scale.at(width)
        match self.kind:
            case "zero" | "constant":
                return torch.full(tuple(shape), location, dtype=dtype, device=device)
            case "normal" | "iid":
                noise = torch.randn(tuple(shape), generator=generator, dtype=dtype, device=device, out=out)
                return _moved(noise.mul_(scale), location)
            case "orthogonal":
                return _haar(shape, generator, dtype, device) * scale
            case "uniform":
                noise = torch.rand(tuple(shape), generator=generator, dtype=dtype, device=device, out=out)
                return _moved(noise.mul_(2).sub_(1).mul_(scale), location)
            case "bernoulli":
                noise = torch.rand(tuple(shape), generator=generator, dtype=dtype, device=device)
                return (noise < location).to(noise.dtype)
            case "data" | "index" | "array":
                raise ValueError(f"{self.kind} is given: there is no law to draw it from")
        assert_never(self.kind)


def _moved(noise: Tensor, location: float) -> Tensor:
    return noise.add_(location) if location else noise


def _haar(
    shape: Sequence[int],
    generator: torch.Generator | None,
    dtype: torch.dtype | None,
    device: torch.device | str | None,
) -> Tensor:
    """Draw a matrix with orthogonal rows or columns and entries of mean square 1, uniform among those.

    The Q of a Gaussian matrix's QR is uniform once R has a positive diagonal (Mezzadri, arXiv math-ph/0609050).
    """
    import torch

    if len(shape) < 2:
        raise ValueError(f"an orthogonal matrix of shape {tuple(shape)}; expected rows and columns")
    rows, columns = shape[0], math.prod(shape[1:])
    noise = torch.randn(max(rows, columns), min(rows, columns), generator=generator, dtype=dtype, device=device)
    q, r = torch.linalg.qr(noise)
    q = q * torch.where(r.diagonal() < 0, -1.0, 1.0).to(q)
    matrix: Tensor = (q if rows >= columns else q.T) * math.sqrt(max(rows, columns))
    return matrix.reshape(tuple(shape))
