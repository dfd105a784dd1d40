"""What is a tensor of the tape while it is being lowered? A view of a statement, or a tensor that is already known.

* `Value`: a tensor that a statement makes, seen through permutations, broadcasts and axes of size one: all of these are
  relabellings of axes, so they cost no statement.
* `Known`: a tensor whose entries do not depend on any parameter in training: constants, data, random draws. It becomes a
  leaf only when a statement reads it; arithmetic of constants is done at once.
* `Draw`: the law of a Known's entries, when they are independent draws of one distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, Union, final

import torch

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Law

Number = Union[int, float, Fraction]
Shape = tuple[int, ...]


class LoweringError(RuntimeError):
    """The tape holds operations that no rule turns into instructions; the message lists all of them, with places."""


class Refusal(Exception):
    """One operation cannot be lowered; the text says why. Collected by `lower`, never seen by a user."""


@final
@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of `shape` made by statement `var`: axis k of the statement is dim `axes[k]` (None: size 1, dropped).

    Dims that no axis maps to are broadcast.
    """

    var: int
    axes: tuple[int | None, ...]
    shape: Shape


@final
@dataclass(frozen=True, slots=True)
class Draw:
    """Independent draws from `base` (a standard law), then pointwise `steps`.

    quantile: the base law's quantile function, float64 tensor in (0, 1) -> tensor. law: the exact law, when the steps
    are affine; None once they are not.
    """

    quantile: Callable[[torch.Tensor], torch.Tensor]
    law: Law | None
    steps: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = ()
    parent: Law | None = None  # of a truncated draw: the law before

    def to_law(self) -> Law:
        """The law of the entries: exact, or "iid" with mean and std by tanh-sinh quadrature over the quantiles."""
        if self.law is not None:
            return self.law
        u, weight = _quantiles()
        sample = self.quantile(u)
        for step in self.steps:
            sample = step(sample)
        kept = torch.isfinite(sample)
        sample, weight = sample[kept], weight[kept] / weight[kept].sum()
        mean = float((weight * sample).sum())
        std = math.sqrt(float((weight * (sample - mean) ** 2).sum()))
        mean = 0.0 if abs(mean) < 1e-9 * std else mean
        return Law("iid", Scaling.of(mean), Scaling.of(std))


_CACHE: list[tuple[torch.Tensor, torch.Tensor]] = []


def _quantiles() -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes in (0, 1) and weights of the tanh-sinh rule: exact to about 1e-12 despite the ends."""
    if not _CACHE:
        t = torch.linspace(-3.2, 3.2, 4097, dtype=torch.float64)
        y = math.pi / 2 * torch.sinh(t)
        u = torch.sigmoid(2 * y)
        weight = math.pi / 2 * torch.cosh(t) / torch.cosh(y) ** 2
        _CACHE.append((u, weight / weight.sum()))
    return _CACHE[0]


@final
@dataclass(frozen=True, slots=True)
class Outside:
    """A mask that holds where the entries of `source` are below low or above high (rejection sampling)."""

    source: Known
    low: float
    high: float


KnownKind = Literal["constant", "buffer", "data", "random", "parameter"]


@final
@dataclass(eq=False, slots=True)
class Known:
    """A tensor whose entries are known while lowering. kind "constant": the same in every run, so it may be folded."""

    tensor: torch.Tensor
    kind: KnownKind = "constant"
    draw: Draw | None = None
    name: str = ""
    notes: tuple[str, ...] = ()
    leaf: Value | None = None
    outside: Outside | None = None  # of a mask: where which draw is out of which interval
    _number: float | int | bool | None | Literal["?"] = field(default="?")

    @staticmethod
    def full(shape: Shape, number: Number, dtype: torch.dtype = torch.float64) -> Known:
        """A constant tensor, all of whose entries are `number`, stored as one."""
        known = Known(torch.full((), float(number), dtype=dtype).expand(shape))
        known._number = number  # type: ignore[assignment]
        return known

    @property
    def shape(self) -> Shape:
        """Its shape."""
        return tuple(self.tensor.shape)

    @property
    def number(self) -> float | int | bool | None:
        """The number that all entries of a constant are equal to; None if they differ, or if it is no constant."""
        if self.kind != "constant":
            return None
        if self._number == "?":
            self._number = uniform_number(self.tensor)
        return self._number

    @property
    def is_discrete(self) -> bool:
        """Whether it holds whole numbers or truth values."""
        return not (self.tensor.dtype.is_floating_point or self.tensor.dtype.is_complex)


@final
@dataclass(frozen=True, slots=True)
class Places:
    """Where the maxima over windows lie: only the gradient of the maximum reads it, and finds it out anew."""


@final
@dataclass(frozen=True, slots=True)
class Refused:
    """What a refused operation would have made; whatever reads it is refused silently."""


Tensor = Union[Value, Known]


def uniform_number(tensor: torch.Tensor) -> float | int | bool | None:
    """The one real number that a tensor is filled with, or None."""
    if tensor.numel() == 0 or tensor.dtype.is_complex:
        return None
    first = tensor[(0,) * tensor.ndim]
    if tensor.numel() > 1 and not bool(((tensor == first) | (torch.isnan(tensor) & torch.isnan(first))).all()):
        return None
    number: float | int | bool = first.item()
    return number
