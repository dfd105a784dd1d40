"""How does a built model become one of another width? A deep copy whose tensors and stored sizes grow by a plan.

Parameters and buffers get their new shapes and are drawn anew (`tpdyn.recorder.built.initial`). Whole numbers of modules and their
configs follow if they are the size of a growing dim. Floats follow if they are the root, the inverse or the inverse root of
one. A round number (0.125) does not, unless its name is that of a scale. A number that is also a fixed size is ambiguous:
it follows only on request.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from tpdyn.recorder.built.candidates import Candidates
from tpdyn.recorder.built.initial import Initial, resetter
from tpdyn.recorder.errors import RecordingError

TIED: tuple[tuple[type[nn.Module], str, str, int], ...] = (
    (nn.Linear, "in_features", "weight", 1),
    (nn.Linear, "out_features", "weight", 0),
    (nn.Embedding, "num_embeddings", "weight", 0),
    (nn.Embedding, "embedding_dim", "weight", 1),
    (nn.modules.batchnorm._NormBase, "num_features", "weight", 0),
    (nn.GroupNorm, "num_channels", "weight", 0),
    *((kind, "in_channels", "weight", 1) for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d)),
    *((kind, "out_channels", "weight", 0) for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d)),
    (nn.modules.conv._ConvTransposeNd, "in_channels", "weight", 0),
    (nn.modules.conv._ConvTransposeNd, "out_channels", "weight", 1),
    (nn.MultiheadAttention, "embed_dim", "out_proj.weight", 0),
    (nn.MultiheadAttention, "kdim", "k_proj_weight", 1),
    (nn.MultiheadAttention, "vdim", "v_proj_weight", 1),
    (nn.MultiheadAttention, "kdim", "in_proj_weight", 1),
    (nn.MultiheadAttention, "vdim", "in_proj_weight", 1),
    (nn.RNNBase, "input_size", "weight_ih_l0", 1),
    (nn.RNNBase, "hidden_size", "weight_hh_l0", 1),
)
"""Attributes of torch's modules that are the size of one dim of one of their parameters. They are unambiguous, unless a
convolution is grouped.
"""
SIZES = frozenset(
    "in_features out_features in1_features in2_features num_embeddings embedding_dim num_features num_channels "
    "normalized_shape in_channels out_channels groups input_size hidden_size proj_size embed_dim kdim vdim head_dim "
    "num_heads num_groups".split()
)
"""What torch's modules keep of sizes; their other numbers (kernels, strides, eps, dropout) are none."""
SCALES = ("scal", "factor", "mult", "sqrt", "norm")
POWERS = (Fraction(-1, 2), Fraction(-1), Fraction(1, 2))
_OWN = frozenset(vars(nn.Module()))
_DEPTH = 3


@final
@dataclass(frozen=True)
class Attribute:
    """A number, or a few, that a module keeps: `getattr` (or an entry of a dict) by each of the keys in turn."""

    module: str
    keys: tuple[str, ...]
    value: Any
    tied: bool | None = None  # whether it grows, where one dim of a parameter says so

    @property
    def name(self) -> str:
        """Its own name."""
        return self.keys[-1]

    def __str__(self) -> str:
        return ".".join(part for part in (self.module, *self.keys) if part)


Group = tuple[str, int]
"""Attributes of one name with one value change together."""


@final
@dataclass(frozen=True)
class Plan:
    """How a model of width `base` becomes one of another width.

    wide: for each parameter and buffer, which dims grow. follow: groups of attributes that grow. scales: floats that do, by
    `str(attribute)`, as a power of a size; doubtful: floats that could be one, and stay. initials: how parameters are drawn.
    """

    base: int
    wide: Mapping[str, tuple[bool, ...]]
    attributes: tuple[Attribute, ...]
    follow: frozenset[Group]
    scales: Mapping[str, tuple[int, Fraction]]
    initials: Mapping[str, Initial]
    doubtful: tuple[str, ...] = ()

    def sized(self, size: int, width: int) -> int:
        """Return a growing size at another width; raises RecordingError unless it is a whole number."""
        value = Fraction(size * width, self.base)
        if value.denominator != 1:
            raise RecordingError(
                f"at width {width} a dim of {size} would be {value}; the model's own width is {self.base}. "
                "Expected a width at which every growing dim is whole"
            )
        return int(value)

    def following(self, *more: Group, without: frozenset[Group] = frozenset()) -> Plan:
        """Return the same plan with other attributes that grow."""
        return replace(self, follow=(self.follow | set(more)) - without)


def planned(
    model: nn.Module, candidates: Candidates, initials: Mapping[str, Initial]
) -> tuple[Plan, tuple[Group, ...]]:
    """Return the plan that follows the candidates, and the groups of attributes that are ambiguous: in it they stay."""
    base = candidates.base
    assert base is not None
    wide = dict(_tensors(model, candidates))
    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in (*model.named_parameters(remove_duplicate=False), *model.named_buffers())
    }
    counts = {len(module) for module in model.modules() if isinstance(module, nn.ModuleList | nn.Sequential)}
    fixed = candidates.fixed | counts
    attributes = tuple(_attributes(model, wide, shapes))
    groups = dict.fromkeys(
        (attribute.name, value)
        for attribute in attributes
        if attribute.tied is None
        for value in _whole(attribute.value)
        if value in candidates.sizes | candidates.factors
    )
    ambiguous = tuple(group for group in groups if group[1] in fixed)
    powers = {
        str(attribute): power
        for attribute in attributes
        if isinstance(attribute.value, float)
        if (power := _power_of(attribute.value, candidates.factors | candidates.sizes)) is not None
    }
    scales = {
        str(attribute): powers[str(attribute)]
        for attribute in attributes
        if str(attribute) in powers
        and (round(attribute.value, 4) != attribute.value or any(word in attribute.name.lower() for word in SCALES))
    }
    follow = frozenset(group for group in groups if group not in ambiguous)
    doubtful = tuple(name for name in powers if name not in scales)
    return Plan(base, wide, attributes, follow, scales, initials, doubtful), ambiguous


def _power_of(value: float, sizes: frozenset[int]) -> tuple[int, Fraction] | None:
    for power in POWERS:
        for size in sorted(sizes):
            if size > 1 and math.isclose(value, size ** float(power), rel_tol=1e-6):
                return size, power
    return None


def _tensors(model: nn.Module, candidates: Candidates) -> Iterator[tuple[str, tuple[bool, ...]]]:
    """Yield which dims of each parameter and buffer grow; those that the recording lacks go by their neighbours or size."""
    recorded = {id(p): candidates.wide[name] for name, p in model.named_parameters() if name in candidates.wide}
    recorded |= {id(b): candidates.wide[name] for name, b in model.named_buffers() if name in candidates.wide}
    for path, module in model.named_modules():
        own = {name: p for name, p in (*module._parameters.items(), *module._buffers.items()) if p is not None}
        known: dict[int, bool] = {}
        for tensor in own.values():
            known.update(zip(tensor.shape, recorded.get(id(tensor), ()), strict=False))
        for name, tensor in own.items():  # a tied parameter was recorded under its first name
            by_size = [known.get(d, d in candidates.sizes and d not in candidates.fixed) for d in tensor.shape]
            yield _joined(path, name), recorded.get(id(tensor), tuple(by_size))


def _attributes(
    model: nn.Module, wide: Mapping[str, tuple[bool, ...]], shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[Attribute]:
    seen: set[int] = set()
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        ours = type(module).__module__.startswith("torch.nn")
        for keys, value in _numbers(vars(module), (), seen):
            if len(keys) == 1 and (keys[0] in _OWN or (ours and keys[0] not in SIZES)):
                continue
            tied = next(
                (
                    wide[prefix + parameter][dim]
                    for kind, name, parameter, dim in TIED
                    if isinstance(module, kind) and keys == (name,) and prefix + parameter in shapes
                    if shapes[prefix + parameter][dim] == value
                ),
                None,
            )
            yield Attribute(path, keys, value, tied)


def _numbers(holder: Mapping[Any, Any], keys: tuple[str, ...], seen: set[int]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield (keys, number or numbers) of everything that an object keeps, and what that keeps (a config); each object once."""
    for key, value in holder.items():
        if not isinstance(key, str) or (not keys and key in _OWN):
            continue
        here = (*keys, key)
        if isinstance(value, float) or list(_whole(value)):
            yield here, value
        elif len(here) < _DEPTH and not isinstance(value, Tensor | nn.Module | type) and id(value) not in seen:
            inner = value if isinstance(value, dict) else getattr(value, "__dict__", None)
            if isinstance(inner, dict) and not callable(value):
                seen.add(id(value))
                yield from _numbers(inner, here, seen)


def _whole(value: Any) -> list[int]:
    """Return the whole numbers of a value that is one, or a list or tuple of such."""
    items = value if isinstance(value, list | tuple) else [value]
    return [item for item in items if type(item) is int] if all(type(item) is int for item in items) else []


# -- copies ---------------------------------------------------------------------------------------------------------


def own_copy(model: nn.Module) -> nn.Module:
    """Return the model itself, its parameters made anew with their own values."""
    with _disable_current_modes():
        twin = copy.deepcopy(model)
    _renew(twin, lambda name, old: old.detach().clone())
    return twin


def resized(model: nn.Module, plan: Plan, width: int) -> nn.Module:
    """Return a copy at another width, its parameters drawn anew. Raises RecordingError where that cannot be."""
    with _disable_current_modes():
        twin = copy.deepcopy(model)
        for attribute in plan.attributes:
            _set_attribute(twin, attribute, plan, width)
    _renew(twin, lambda name, old: old.new_empty(_shape(old, plan.wide[name], plan, width)))
    for path, module in twin.named_modules():
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = _buffer(_joined(path, name), buffer, plan, width)
    _draw(twin, plan, width / plan.base)
    _renew(twin, lambda name, old: old.detach().clone())
    return twin


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shape(tensor: Tensor, wide: tuple[bool, ...], plan: Plan, width: int) -> tuple[int, ...]:
    return tuple(plan.sized(size, width) if grows else size for size, grows in zip(tensor.shape, wide, strict=True))


def _buffer(name: str, buffer: Tensor, plan: Plan, width: int) -> Tensor:
    wide = plan.wide[name]
    if not any(wide):
        return buffer
    with _disable_current_modes():
        first = buffer.flatten()[0].item()
        same = bool((buffer == first).all())
    if not same:
        raise RecordingError(
            f"the buffer {name} has a growing dim and is not constant: what it holds at another width is not known. "
            "Give a function of the width"
        )
    return torch.full(_shape(buffer, wide, plan, width), first, dtype=buffer.dtype, device=buffer.device)


def _set_attribute(twin: nn.Module, attribute: Attribute, plan: Plan, width: int) -> None:
    value = attribute.value
    if isinstance(value, float):
        if str(attribute) not in plan.scales:
            return
        new: Any = value * (width / plan.base) ** float(plan.scales[str(attribute)][1])
    else:
        numbers = [
            plan.sized(number, width)
            if attribute.tied or (attribute.tied is None and (attribute.name, number) in plan.follow)
            else number
            for number in _whole(value)
        ]
        if numbers == _whole(value):
            return
        new = numbers[0] if type(value) is int else type(value)(numbers)
    holder: Any = twin.get_submodule(attribute.module)
    for key in attribute.keys[:-1]:
        holder = holder[key] if isinstance(holder, dict) else getattr(holder, key)
    if isinstance(holder, dict):
        holder[attribute.name] = new
    else:
        setattr(holder, attribute.name, new)


@torch.no_grad()
def _draw(twin: nn.Module, plan: Plan, growth: float) -> None:
    """Draw new entries for every parameter; buffers that a reset fills are filled, too."""
    for path, module in twin.named_modules():
        initials = {
            name: plan.initials[_joined(path, name)]
            for name, p in module._parameters.items()
            if p is not None and _joined(path, name) in plan.initials
        }
        reset = resetter(module)
        if reset is not None and any(initial.kind == "reset" for initial in initials.values()):
            reset()
    filled: set[int] = set()
    for path, module in twin.named_modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and id(parameter) not in filled:  # of a tied one, the first name
                filled.add(id(parameter))
                initial = plan.initials[_joined(path, name)]
                if initial.kind != "reset":
                    initial.fill(parameter, growth)


def _renew(twin: nn.Module, new: Callable[[str, nn.Parameter], Tensor]) -> None:
    """Make every parameter once more, in the order of its module: so recordings of two copies begin alike."""
    done: dict[int, nn.Parameter] = {}
    for path, module in twin.named_modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is None:
                continue
            if id(parameter) not in done:
                done[id(parameter)] = nn.Parameter(new(_joined(path, name), parameter), parameter.requires_grad)
            setattr(module, name, done[id(parameter)])
