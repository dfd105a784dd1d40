"""What does an aten overload do to its arguments, and which functional overload computes the same?

The schema of an overload answers, once. Is it a view, which arguments does it write, which overload computes the same
without writing? Overloads with a wrong schema are listed by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, final

import torch

aten = torch.ops.aten

Kind = Literal[
    "functional", "view", "split", "in-place", "out", "geometry", "foreach", "fused", "scaler", "composite", "ignored"
]

SPLITS = frozenset({aten.split.Tensor, aten.split_with_sizes.default, aten.unbind.int})
# Views that do not say so.
SILENT_VIEWS = frozenset({aten._unsafe_view.default, aten.lift_fresh.default})
# Overloads that draw nothing when their dropout probability is zero, though they are tagged as random.
ATTENTION = ("_scaled_dot_product", "_flash_attention", "_efficient_attention", "_cudnn_attention")
# native_batch_norm writes its running statistics without saying so.
SILENT_WRITES = frozenset({aten.native_batch_norm.default, aten._native_batch_norm_legit.default})
_GEOMETRY_OF = {
    aten.transpose_.default: aten.transpose.int, aten.t_.default: aten.t.default,
    aten.squeeze_.default: aten.squeeze.default, aten.squeeze_.dim: aten.squeeze.dim,
    aten.squeeze_.dims: aten.squeeze.dims, aten.unsqueeze_.default: aten.unsqueeze.default,
    aten.as_strided_.default: aten.as_strided.default, aten.detach_.default: aten.detach.default,
}  # fmt: skip
# In-place overloads whose functional twin has another name.
_FUNCTIONAL_OVERLOADS = {
    aten.normal_.default: aten.normal_functional.default,
    aten.bernoulli_.float: aten.bernoulli.p,
    aten.bernoulli_.Tensor: aten.bernoulli.Tensor,
}


@final
@dataclass(frozen=True, slots=True)
class Operation:
    """The facts of one overload. written: (position, name) of arguments that it writes. functional: the overload
    that computes the new values of those instead (None: none does)."""

    kind: Kind
    name: str
    written: tuple[tuple[int, str], ...] = ()
    functional: Any = None
    random: bool = False
    attention: bool = False


@cache  # asked for each operation
def operation(overload: Any) -> Operation:
    """Return the facts of an overload."""
    schema = overload._schema
    space, _, name = schema.name.partition("::")
    if space == "profiler":
        return Operation("ignored", name)
    if space == "aten" and _is_composite(overload.name()):
        return Operation("composite", name)
    arguments = schema.arguments
    written = tuple(
        (position, argument.name)
        for position, argument in enumerate(arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )
    random = torch.Tag.nondeterministic_seeded in overload.tags
    attention = name.startswith(ATTENTION)
    full = str(overload)
    if overload in SILENT_WRITES:
        running = ((3, "running_mean"), (4, "running_var"))
        return Operation("functional", full, running, aten._native_batch_norm_legit_functional.default)
    if name.startswith("_fused_"):
        return Operation("fused", full)
    if name.startswith("_amp_"):
        return Operation("scaler", full, written)
    if name.startswith("_foreach_"):
        return Operation("foreach", full, written)
    if overload in SPLITS or name.startswith("unsafe_split"):
        return Operation("split", full)
    if torch.Tag.inplace_view in overload.tags:
        return Operation("geometry", full, written, _GEOMETRY_OF.get(overload))
    if written:
        if name.endswith("_") and not name.endswith("__"):
            functional = _FUNCTIONAL_OVERLOADS.get(overload) or _matching(overload, name[:-1], set())
            return Operation("in-place", full, written, functional, random, attention)
        functional = _matching(overload, name, {n for _, n in written})
        return Operation("out", full, written, functional, random, attention)
    aliases = any(a.alias_info is not None for a in arguments) and any(r.alias_info is not None for r in schema.returns)
    if aliases or overload in SILENT_VIEWS:
        return Operation("view", full)
    return Operation("functional", full, (), overload, random, attention)


def _is_composite(name: str) -> bool:
    """Whether torch writes an operation in others on every device. These are what a recording sees, but in inference mode."""
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return has(name, "CompositeImplicitAutograd") and not has(name, "CPU") and not has(name, "CUDA")


def _matching(overload: Any, name: str, left_out: set[str]) -> Any:
    """Return the overload of `name` that writes nothing and takes the same arguments, up to defaults and those left out. Of
    several it is the one of the same overload name."""
    wanted = [(a.name, str(a.type)) for a in overload._schema.arguments if a.name not in left_out]
    packet = getattr(getattr(torch.ops, overload.namespace), name, None)
    matching = []
    for candidate_name in packet.overloads() if packet is not None else ():
        candidate = getattr(packet, candidate_name)
        arguments = candidate._schema.arguments
        if any(a.alias_info is not None and a.alias_info.is_write for a in arguments):
            continue
        have = [(a.name, str(a.type)) for a in arguments]
        extra = [a for a in arguments if (a.name, str(a.type)) not in wanted]
        if [pair for pair in have if pair in wanted] == wanted and all(a.has_default_value() for a in extra):
            matching.append(candidate)
    same = [candidate for candidate in matching if candidate._overloadname == overload._overloadname]
    return (same or matching or [None])[0]
