"""Which hyperparameters of a script can be multiplied without a change of its text?

* A number in the groups of its optimizers ("lr", "weight_decay", "momentum", "eps", ...). It is multiplied during each step only,
  so schedules and ratios between groups stay.
* "init": the initial entries of weights with two or more dims. They are multiplied when an optimizer is given them.
* "output": what the network returns. The network is the outermost module that has parameters.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from tpdyn.scripts.construction import is_number

INIT, OUTPUT = "init", "output"


class CannotMultiply(BaseException):
    """The script has no such hyperparameter. An `except Exception` in the script does not catch it."""


@final
@dataclass
class Multiplied:
    """What a script did meanwhile. touched: whether anything was multiplied. settings: the numbers in the optimizers' groups."""

    touched: bool = False
    settings: dict[str, float] = field(default_factory=dict)


@contextlib.contextmanager
def multiplied(hyperparameter: str, factor: float) -> Iterator[Multiplied]:
    """Multiply a hyperparameter of every script that runs inside this context.

    Raises CannotMultiply, inside the script, unless the network's output is one tensor.
    """
    met = Multiplied()
    how = {INIT: _initial_entries, OUTPUT: _outputs}.get(hyperparameter)
    with _settings(hyperparameter, factor, met) if how is None else how(factor, met):
        yield met


@contextlib.contextmanager
def _settings(key: str, factor: float, met: Multiplied) -> Iterator[None]:
    kept: dict[int, list[Any]] = {}

    def before(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        kept[id(optimizer)] = [group.get(key) for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            met.settings |= {name: float(value) for name, value in group.items() if is_number(value)}
            if is_number(group.get(key)):
                met.touched |= bool(group[key] != 0)
                group[key] = group[key] * factor

    def after(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for group, value in zip(optimizer.param_groups, kept.pop(id(optimizer)), strict=True):
            if key in group:
                group[key] = value

    with register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after):
        yield


@contextlib.contextmanager
def _initial_entries(factor: float, met: Multiplied) -> Iterator[None]:
    original = Optimizer.__init__
    done: dict[int, torch.Tensor] = {}  # keeps them alive, so that no id comes twice

    def __init__(self: Optimizer, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        for parameter in (p for group in self.param_groups for p in group["params"]):
            if parameter.ndim >= 2 and id(parameter) not in done:
                done[id(parameter)] = parameter
                met.touched = True
                with torch.no_grad():
                    parameter.mul_(factor)

    Optimizer.__init__ = __init__  # type: ignore[method-assign]
    try:
        yield
    finally:
        Optimizer.__init__ = original  # type: ignore[method-assign]


@contextlib.contextmanager
def _outputs(factor: float, met: Multiplied) -> Iterator[None]:
    running: list[nn.Module] = []
    networks: dict[int, nn.Module] = {}

    def before(module: nn.Module, args: Any) -> None:
        running.append(module)

    def after(module: nn.Module, args: Any, result: Any) -> Any:
        while running and running.pop() is not module:
            pass
        if running or next(module.parameters(), None) is None:
            return None
        networks[id(module)] = module
        if len(networks) > 1:
            names = ", ".join(type(each).__name__ for each in networks.values())
            raise CannotMultiply(
                f"the script calls several networks ({names}); expected one, so that its output can be multiplied"
            )
        if not isinstance(result, torch.Tensor):
            raise CannotMultiply(f"the network returns {type(result).__name__}; expected one tensor to multiply")
        met.touched = True
        return result * factor

    with register_module_forward_pre_hook(before), register_module_forward_hook(after, always_call=True):
        yield
