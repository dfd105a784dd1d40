"""What did the script do, operation by operation? The raw recording at one width, before any interpretation.

The recorder writes a tape, and the lowering reads it. It holds functional aten operations in the order of their execution,
each with its origin in the script. In-place writes, views and optimizer kernels have become values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, final

import torch

from tpdyn.program.program import Origin

InputKind = Literal["parameter", "buffer", "data", "constant"]


@final
@dataclass(frozen=True, slots=True)
class Ref:
    """A tensor on the tape: output number `output` of node number `node`. number: operations get it as a number."""

    node: int
    output: int = 0
    number: bool = field(default=False, compare=False)


@final
@dataclass(frozen=True, slots=True)
class Meta:
    """Shape and type of one output."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def meta_of(tensor: torch.Tensor) -> Meta:
    """Return shape and type of a tensor."""
    return Meta(tuple(tensor.shape), tensor.dtype)


@final
@dataclass(slots=True)
class Node:
    """One functional operation: `outputs = target(*args, **kwargs)`, every tensor argument a `Ref`.

    op is the overload's name, e.g. "aten.addmm.default". A node with op "input" is a tensor that came from outside of the
    recording (data, a model built earlier). It lacks a target, `input_kind` and `name` say what it is, `value` keeps a
    copy. For a random operation `value` keeps the outputs drawn (a tuple), so that a replay can use them. `sequence` is the
    autograd sequence number (to pair backward with forward), -1 if none.
    """

    op: str
    target: Callable[..., Any] | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Meta | None, ...]
    origin: Origin
    input_kind: InputKind | None = None
    name: str = ""
    value: Any = None
    random: bool = False
    sequence: int = -1

    @property
    def reads(self) -> list[Ref]:
        """The values that it reads, however nested in its arguments."""
        return _refs_in((*self.args, *self.kwargs.values()))


def _refs_in(items: Iterable[Any]) -> list[Ref]:
    refs: list[Ref] = []
    for item in items:
        kind = type(item)
        if kind is Ref:
            refs.append(item)
        elif kind is list or kind is tuple:
            refs += _refs_in(item)
    return refs


def mapped(item: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to each item of nested arguments that is not a list, tuple or dict."""
    if isinstance(item, (list, tuple)):
        return type(item)(mapped(part, function) for part in item)
    if isinstance(item, dict):
        return {key: mapped(part, function) for key, part in item.items()}
    return function(item)


@cache  # asked for each operation, by each rule that may concern it
def base_name(op: str) -> str:
    """Shorten a name: "aten.add.Tensor" -> "add"."""
    parts = op.split(".")
    return parts[1] if len(parts) > 1 else op


@final
@dataclass(slots=True)
class TapeParameter:
    """A tensor that an optimizer steps: versions[t] after t steps (None if the tensor did not exist). gradients[t]: the
    gradient that step t used (None if it had none)."""

    name: str
    versions: list[Ref] = field(default_factory=list)
    gradients: list[Ref | None] = field(default_factory=list)

    @property
    def refs(self) -> list[Ref]:
        """All of them that there are."""
        return [ref for ref in (*self.versions, *self.gradients) if ref is not None]


@final
@dataclass(frozen=True, slots=True)
class TapeMark:
    """A named value: kind "module" (the output of the module `name`), "output" (the root's), "loss" (on which backward was
    called). forward: the number of the forward pass that it belongs to."""

    kind: Literal["module", "output", "loss"]
    name: str
    step: int
    ref: Ref
    forward: int = 0


@final
@dataclass(slots=True)
class Tape:
    """The recording of a script at one width. `live` holds copies of the script's own tensors, to verify a replay:
    every mark's value, and each parameter's last version. `numbers`: whole numbers that modules keep, by name, if asked for.
    default: torch's default type at the end of the script. evaluations: whether forward passes without gradients are recorded."""

    width: int
    nodes: list[Node] = field(default_factory=list)
    parameters: list[TapeParameter] = field(default_factory=list)
    marks: list[TapeMark] = field(default_factory=list)
    steps: int = 0
    live: dict[Ref, torch.Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    numbers: dict[str, frozenset[int]] = field(default_factory=dict)
    default: torch.dtype = torch.float32
    evaluations: bool = False

    @property
    def named(self) -> list[Ref]:
        """The values that have a name: marks, versions and gradients of parameters."""
        return [mark.ref for mark in self.marks] + [ref for parameter in self.parameters for ref in parameter.refs]


def behind(nodes: Sequence[Node], roots: Iterable[Ref]) -> Iterator[int]:
    """Yield the positions of all nodes on which the roots depend, themselves included."""
    waiting, seen = [ref.node for ref in roots], set[int]()
    while waiting:
        index = waiting.pop()
        if index not in seen:
            seen.add(index)
            yield index
            waiting += [ref.node for ref in nodes[index].reads]
