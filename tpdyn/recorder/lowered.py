"""What is a program before its width became a symbol? Closed instructions with the numbers of one width.

Between `lowering` (one tape -> one `Lowered`) and `widths` (several `Lowered` -> one `Program`). It differs from a program
in three ways. Every `Scaling` is a constant. Axes are those of the script's tensors, axes of size 1 included. `Reshape`
regroups them (row-major), which a program does not need because its axes cannot be split further.

An operand's axis of size 1 may lack in the result (broadcasting, squeezing). Then it has a label >= the result's rank of
its own.
"""

from __future__ import annotations

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


@final
@dataclass(slots=True)
class Lowered:
    """One tape, lowered. `leaf_values[position]` is the live value of each leaf statement. `live[position]` the live
    value of marks and last parameters (float64 copies), to verify against."""

    width: int
    statements: list[LoweredStatement] = field(default_factory=list)
    parameters: list[LoweredParameter] = field(default_factory=list)
    marks: list[LoweredMark] = field(default_factory=list)
    steps: int = 0
    leaf_values: dict[int, torch.Tensor] = field(default_factory=dict)
    live: dict[int, torch.Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
