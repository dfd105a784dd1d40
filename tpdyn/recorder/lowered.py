"""What is a program before its width became a symbol? Closed instructions with the numbers of one width.

Between `lowering` (one tape -> one `Lowered`) and `widths` (several `Lowered` -> one `Program`). It differs from a program
in three ways. Every `Scaling` is a constant. Axes are those of the script's tensors, axes of size 1 included. `Reshape`
regroups them (row-major), which a program does not need because its axes cannot be split further.

An operand's axis of size 1 may lack in the result (broadcasting, squeezing). Then it has a label >= the result's rank of
its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, final

import torch

from tpdyn.program.instructions import Instruction
from tpdyn.program.program import Origin, Type


@final
@dataclass(frozen=True, slots=True)
class Reshape:
    """The same entries in the same row-major order, under the statement's shape."""

    value: int


@final
@dataclass(frozen=True, slots=True)
class LoweredStatement:
    """`shape : instruction` at one width."""

    instruction: Instruction | Reshape
    shape: tuple[int, ...]
    type: Type = "float"
    origin: Origin = Origin()


@final
@dataclass(slots=True)
class LoweredParameter:
    """versions[t], gradients[t]: positions of statements (gradients may be None)."""

    name: str
    versions: list[int] = field(default_factory=list)
    gradients: list[int | None] = field(default_factory=list)


@final
@dataclass(frozen=True, slots=True)
class LoweredMark:
    """A named value: see `tpdyn.program.program.Mark`."""

    kind: Literal["module", "output", "loss"]
    name: str
    step: int
    var: int


MANY = 2**16
"""From so many entries on, ones and zeros are kept in a byte each."""


@final
class Leaves(dict[int, torch.Tensor]):
    """The live values of leaves by their positions, in float64 where they are real.

    Many ones and zeros are kept in a byte each, and made anew when they are read. Masks of dropout are such.
    """

    def __init__(self, values: Mapping[int, torch.Tensor] | Iterable[tuple[int, torch.Tensor]] = ()) -> None:
        super().__init__()
        self._bits: set[int] = set()
        for position, value in values.items() if isinstance(values, Mapping) else values:
            self[position] = value

    def __setitem__(self, position: int, value: torch.Tensor) -> None:
        many = value.dtype == torch.float64 and value.numel() >= MANY and any(value.stride())  # but one number
        bits = value == 1 if many else value
        if many and bool((bits | (value == 0)).all()):
            self._bits.add(position)
            value = bits
        else:
            self._bits.discard(position)
        super().__setitem__(position, value)

    def __getitem__(self, position: int) -> torch.Tensor:
        value = super().__getitem__(position)
        return value.to(torch.float64) if position in self._bits else value

    def items(self) -> Iterator[tuple[int, torch.Tensor]]:  # type: ignore[override]
        """Yield positions and values, one after the other."""
        return ((position, self[position]) for position in list(self))

    def values(self) -> Iterator[torch.Tensor]:  # type: ignore[override]
        """Yield the values, one after the other."""
        return (self[position] for position in list(self))


@final
@dataclass(slots=True)
class Lowered:
    """One tape, lowered. `leaf_values[position]` is the live value of each leaf statement. `live[position]` the live
    value of marks and last parameters (float64 copies), to verify against. `made[name]` is the operation that made a parameter's
    entries. It is there if their law was measured, and the model was built while recording."""

    width: int
    statements: list[LoweredStatement] = field(default_factory=list)
    parameters: list[LoweredParameter] = field(default_factory=list)
    marks: list[LoweredMark] = field(default_factory=list)
    steps: int = 0
    leaf_values: dict[int, torch.Tensor] = field(default_factory=Leaves)
    live: dict[int, torch.Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    made: dict[str, str] = field(default_factory=dict)
