"""What is a tensor of the tape during lowering? A handle on a statement, or a known tensor.

* `Handle`: the result of a statement, seen through permutations, broadcasts and axes of size one. All of these relabel
  axes, so they are free.
* `Known`: a tensor whose entries are known. These are constants, data, random draws, and what is made of initial parameters
  before training. It becomes a leaf, or a function of parameters, only when a statement reads it. Arithmetic of constants
  is done at once.
* `StandsIn`: neither yet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, Union, final

import torch

from tpdyn.recorder.lowering.draws import Draw

Number = Union[int, float, Fraction]
Shape = tuple[int, ...]


class LoweringError(RuntimeError):
    """The tape holds operations that rules do not turn into instructions; the message lists all of them, with their lines."""


class Refusal(Exception):
    """One operation cannot be lowered; the text says why. Collected by `lower`, never seen by a user."""


@final
@dataclass(frozen=True, slots=True)
class Handle:
    """The result of statement `var`, with the script's `shape`: axis k of the statement is dim `axes[k]` (None: dropped).

    Dims to which axes do not map are broadcast.
    """

    var: int
    axes: tuple[int | None, ...]
    shape: Shape


class StandsIn:
    """A tensor that depends on parameters and is no `Handle` yet: see `standins`."""

    __slots__ = ()


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
    leaf: Handle | None = None
    outside: Outside | None = None  # of a mask: where which draw is out of which interval
    made: Callable[[], Handle | None] | None = None  # of parameters: how a statement computes it
    _number: float | int | bool | None | Literal["?"] = field(default="?")

    @staticmethod
    def full(shape: Shape, number: Number, dtype: torch.dtype = torch.float64) -> Known:
        """Return a constant tensor with all entries equal to `number`, stored as one."""
        known = Known(torch.full((), float(number), dtype=dtype).expand(shape))
        known._number = number  # type: ignore[assignment]
        return known

    @property
    def shape(self) -> Shape:
        """Its shape."""
        return tuple(self.tensor.shape)

    @property
    def number(self) -> float | int | bool | None:
        """The number that all entries of a constant are equal to. None if they differ, or if it is not constant."""
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
class Argmax(StandsIn):
    """The indices of the maxima over windows: only the gradient of the maximum reads them, and computes them anew."""


@final
@dataclass(frozen=True, slots=True)
class Refused(StandsIn):
    """The result of a refused operation; its readers are refused silently."""


Tensor = Union[Handle, Known]


def uniform_number(tensor: torch.Tensor) -> float | int | bool | None:
    """Return the one real number that fills a tensor, or None."""
    if tensor.numel() == 0 or tensor.dtype.is_complex:
        return None
    first = tensor[(0,) * tensor.ndim]
    if tensor.numel() > 1 and not bool(((tensor == first) | (torch.isnan(tensor) & torch.isnan(first))).all()):
        return None
    number: float | int | bool = first.item()
    return number
