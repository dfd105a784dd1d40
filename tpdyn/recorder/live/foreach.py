"""What does an operation on lists of tensors do to each tensor of the list?

`_foreach_*` operations become one ordinary operation a tensor (which is how torch itself defines them).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

aten = torch.ops.aten

_BINARY = {"add", "sub", "mul", "div"}
_OVERLOADS: dict[tuple[str, str], Any] = {
    ("addcdiv", "Scalar"): aten.addcdiv.default,
    ("addcmul", "Scalar"): aten.addcmul.default,
    ("lerp", "List"): aten.lerp.Tensor,
    ("lerp", "Scalar"): aten.lerp.Scalar,
    ("maximum", "List"): aten.maximum.default,
    ("minimum", "List"): aten.minimum.default,
    ("maximum", "Scalar"): aten.clamp_min.default,
    ("minimum", "Scalar"): aten.clamp_max.default,
    ("clamp_min", "List"): aten.clamp_min.Tensor,
    ("clamp_max", "List"): aten.clamp_max.Tensor,
    ("clamp_min", "Scalar"): aten.clamp_min.default,
    ("clamp_max", "Scalar"): aten.clamp_max.default,
    ("pow", "List"): aten.pow.Tensor_Tensor,
    ("pow", "Scalar"): aten.pow.Tensor_Scalar,
    ("pow", "ScalarAndTensor"): aten.pow.Scalar,
}


def per_tensor(overload: Any) -> Any:
    """Return the overload that a foreach overload applies to each tensor; None if there is none here. `copy_` and `zero_` are
    answered by their in-place overloads."""
    name = overload._schema.name.removeprefix("aten::_foreach_")
    variant = overload._overloadname.replace("ScalarList", "Scalar")  # a number each, or one for all
    if name == "copy_":
        return aten.copy_.default
    if name == "zero_":
        return aten.zero_.default
    name = name.removesuffix("_")
    if name in _BINARY:
        return getattr(aten, name).Tensor
    if name == "norm":
        return aten.linalg_vector_norm.default
    if (name, variant) in _OVERLOADS:
        return _OVERLOADS[name, variant]
    if variant == "default" and hasattr(aten, name):
        return getattr(getattr(aten, name), "default", None)
    return None


def calls_of(
    overload: Any, args: Sequence[Any], kwargs: dict[str, Any]
) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return the arguments of the per-tensor call for each tensor of the list."""
    names = [argument.name for argument in overload._schema.arguments]
    positional = list(args)
    named = dict(kwargs)
    lists = [value for value in positional if isinstance(value, list | tuple)]
    count = len(lists[0])

    def pick(value: Any, k: int) -> Any:
        return value[k] if isinstance(value, list | tuple) and len(value) == count else value

    calls = []
    name = overload._schema.name.removeprefix("aten::_foreach_").removesuffix("_")
    for k in range(count):
        mine = [pick(value, k) for value in positional]
        extra = {key: pick(value, k) for key, value in named.items()}
        if name in ("addcdiv", "addcmul"):
            value = mine[3] if len(mine) > 3 else extra.get("value", extra.get("scalars", 1))
            mine, extra = mine[:3], {"value": value}
        elif name == "norm":
            order = mine[1] if len(mine) > 1 else extra.get("ord", 2)
            mine, extra = [mine[0], order, None, False], {"dtype": mine[2] if len(mine) > 2 else extra.get("dtype")}
        elif name in _BINARY and "alpha" in names and len(mine) > 2:
            mine, extra = mine[:2], {"alpha": mine[2]}
        extra = {key: value for key, value in extra.items() if key != "non_blocking"}
        calls.append((tuple(mine), extra))
    return calls
