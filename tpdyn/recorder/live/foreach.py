"""What does an operation on lists of tensors do to each tensor of the list?

`_foreach_*` operations become one ordinary operation a tensor (which is how torch itself defines them). The fused kernels of
SGD, Adam, AdamW and Adagrad become the plain formulas of torch.optim's single-tensor code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tpdyn.recorder.errors import RecordingError

aten = torch.ops.aten

_BINARY = {"add", "sub", "mul", "div"}
_OVERLOADS: dict[tuple[str, str], Any] = {
    ("addcdiv", "Scalar"): aten.addcdiv.default,
    ("addcdiv", "ScalarList"): aten.addcdiv.default,
    ("addcmul", "Scalar"): aten.addcmul.default,
    ("addcmul", "ScalarList"): aten.addcmul.default,
    ("lerp", "List"): aten.lerp.Tensor,
    ("lerp", "Scalar"): aten.lerp.Scalar,
    ("lerp", "ScalarList"): aten.lerp.Scalar,
    ("maximum", "List"): aten.maximum.default,
    ("minimum", "List"): aten.minimum.default,
    ("maximum", "Scalar"): aten.clamp_min.default,
    ("maximum", "ScalarList"): aten.clamp_min.default,
    ("minimum", "Scalar"): aten.clamp_max.default,
    ("minimum", "ScalarList"): aten.clamp_max.default,
    ("clamp_min", "List"): aten.clamp_min.Tensor,
    ("clamp_max", "List"): aten.clamp_max.Tensor,
    ("clamp_min", "Scalar"): aten.clamp_min.default,
    ("clamp_max", "Scalar"): aten.clamp_max.default,
    ("clamp_min", "ScalarList"): aten.clamp_min.default,
    ("clamp_max", "ScalarList"): aten.clamp_max.default,
    ("pow", "List"): aten.pow.Tensor_Tensor,
    ("pow", "Scalar"): aten.pow.Tensor_Scalar,
    ("pow", "ScalarList"): aten.pow.Tensor_Scalar,
    ("pow", "ScalarAndTensor"): aten.pow.Scalar,
}


def per_tensor(overload: Any) -> Any:
    """Return the overload that a foreach overload applies to each tensor; None if there is none here. `copy_` and `zero_` are
    answered by their in-place overloads."""
    name = overload._schema.name.removeprefix("aten::_foreach_")
    variant = overload._overloadname
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


Apply = Callable[..., Any]


def fused_formulas(
    overload: Any, args: Sequence[Any], kwargs: dict[str, Any], apply: Apply, read: Apply
) -> list[tuple[Tensor, Any]]:
    """Return the plain formulas of a fused optimizer kernel: (tensor, its new value) for all that the kernel writes.

    apply(overload, *args, **kwargs) appends one operation and returns its value; read(tensor) is a tensor's value now.
    The state steps are counted up by torch.optim beforehand. Source: torch/optim/{sgd,adam,adagrad}.py, `_single_tensor_*`.
    """
    name = overload._schema.name.removeprefix("aten::")
    if kwargs.get("grad_scale") is not None:
        raise RecordingError(
            f"{name} with a gradient scaler; expected none. Try to record in float32 without GradScaler"
        )
    lr = kwargs["lr"]
    lr = lr.item() if isinstance(lr, Tensor) else lr
    maximize = kwargs["maximize"]
    writes: list[tuple[Tensor, Any]] = []
    if name == "_fused_sgd_":
        parameters, gradients, buffers = args[0], args[1], args[2]
        momentum, decay = kwargs["momentum"], kwargs["weight_decay"]
        for k, parameter in enumerate(parameters):
            value, gradient = read(parameter), read(gradients[k])
            if maximize:
                gradient = apply(aten.neg.default, gradient)
            if decay != 0:
                gradient = apply(aten.add.Tensor, gradient, value, alpha=decay)
            if momentum != 0:
                if kwargs["is_first_step"]:
                    buffer = gradient
                else:
                    buffer = apply(aten.mul.Tensor, read(buffers[k]), momentum)
                    buffer = apply(aten.add.Tensor, buffer, gradient, alpha=1 - kwargs["dampening"])
                writes.append((buffers[k], buffer))
                gradient = apply(aten.add.Tensor, gradient, buffer, alpha=momentum) if kwargs["nesterov"] else buffer
            writes.append((parameter, apply(aten.add.Tensor, value, gradient, alpha=-lr)))
        return writes
    if name == "_fused_adagrad_":
        parameters, gradients, sums, steps = args[:4]
        for k, parameter in enumerate(parameters):
            value, gradient = read(parameter), read(gradients[k])
            if maximize:
                gradient = apply(aten.neg.default, gradient)
            if kwargs["weight_decay"] != 0:
                gradient = apply(aten.add.Tensor, gradient, value, alpha=kwargs["weight_decay"])
            total = apply(aten.addcmul.default, read(sums[k]), gradient, gradient, value=1)
            root = apply(aten.add.Tensor, apply(aten.sqrt.default, total), kwargs["eps"])
            rate = lr / (1 + (float(steps[k].item()) - 1) * kwargs["lr_decay"])
            writes.append((sums[k], total))
            writes.append((parameter, apply(aten.addcdiv.default, value, gradient, root, value=-rate)))
        return writes
    if name not in ("_fused_adam_", "_fused_adamw_"):
        raise RecordingError(
            f"no formulas for the fused optimizer {name}; expected SGD, Adam, AdamW or Adagrad. Try fused=False"
        )
    parameters, gradients, firsts, seconds, largest, steps = args[:6]
    beta1, beta2, eps, decay = kwargs["beta1"], kwargs["beta2"], kwargs["eps"], kwargs["weight_decay"]
    for k, parameter in enumerate(parameters):
        value, gradient = read(parameter), read(gradients[k])
        step = float(steps[k].item())
        if maximize:
            gradient = apply(aten.neg.default, gradient)
        if decay != 0:
            if name == "_fused_adamw_":
                value = apply(aten.mul.Tensor, value, 1 - lr * decay)
            else:
                gradient = apply(aten.add.Tensor, gradient, value, alpha=decay)
        first = apply(aten.lerp.Scalar, read(firsts[k]), gradient, 1 - beta1)
        second = apply(aten.mul.Tensor, read(seconds[k]), beta2)
        second = apply(aten.addcmul.default, second, gradient, gradient, value=1 - beta2)
        writes += [(firsts[k], first), (seconds[k], second)]
        root = second
        if kwargs["amsgrad"]:
            root = apply(aten.maximum.default, read(largest[k]), second)
            writes.append((largest[k], root))
        root = apply(aten.div.Tensor, apply(aten.sqrt.default, root), (1 - beta2**step) ** 0.5)
        root = apply(aten.add.Tensor, root, eps)
        writes.append((parameter, apply(aten.addcdiv.default, value, first, root, value=-lr / (1 - beta1**step))))
    return writes
