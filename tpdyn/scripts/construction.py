"""Where does a script make its optimizer, of which model? Watched while its first run is recorded.

The location is exact: the interpreter knows which call of a line is running. Identity tells parameters apart. So the
program's name of each is known beside the name that the script's own variable gives it.
"""

from __future__ import annotations

import ast
import linecache
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, final

import torch
from torch import nn
from torch.optim import Optimizer

from tpdyn.recorder.live.frames import is_ours, is_user_file
from tpdyn.recorder.live.hooks import StopRecording, Watch


@final
@dataclass(frozen=True)
class Construction:
    """One optimizer that the script makes.

    file: absolute path. line: where the call begins. end: where it ends, as (line, column in UTF-8 bytes). It is None where
    the call is not written in the user's script (a framework makes the optimizer). model: an expression, valid at the call,
    for a module that holds all its parameters; "" where there is none. identity: tells two models apart. names: in the
    optimizer's order, what the program and the model call a parameter. Without a model its number stands there. settings:
    the names of what the optimizer keeps as numbers ("lr", "weight_decay", "eps", ...), "param_names" among them if it
    keeps those.
    """

    file: str
    line: int
    end: tuple[int, int] | None
    model: str
    identity: int
    names: tuple[tuple[str, str], ...]
    settings: frozenset[str]


@final
class Constructions:
    """A script whose first run is watched: `found` lists the optimizers that it made and stepped.

    To be recorded instead of `train`: it gives every name that the recording gives.
    """

    def __init__(self, train: Callable[[int], object]) -> None:
        self._train = self.__wrapped__ = train
        self._width: int | None = None
        self.found: tuple[Construction, ...] = ()

    def __call__(self, width: int) -> None:
        """Run the script; its runs at the first width are watched. One that is given up and begun again finds nothing."""
        self._width = width if self._width is None else self._width
        if width != self._width:
            self._train(width)
            return
        calls: list[tuple[_Call, Optimizer]] = []
        watch = Watch(detect_hand_written_steps=False)
        watch.__enter__()
        try:
            with _each_construction(lambda call, optimizer: calls.append((call, optimizer))):
                self._train(width)
        finally:
            watch.__exit__(StopRecording, None, None)
            known = {id(tensor): name for name, tensor in watch.parameters().items()}
            found = (_described(call, optimizer, known) for call, optimizer in calls)
            self.found = tuple(each for each in found if each is not None) or self.found


def call_ending_at(tree: ast.AST, end: tuple[int, int]) -> ast.Call | None:
    """Find the call whose last character is there: each call ends at its own position."""
    return next(
        (
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and (node.end_lineno, node.end_col_offset) == end
        ),
        None,
    )


@final
@dataclass(frozen=True)
class _Call:
    file: str
    line: int
    end: tuple[int, int] | None
    modules: tuple[tuple[str, nn.Module], ...]  # expressions for modules, those to be preferred first


@contextmanager
def _each_construction(tell: Callable[[_Call, Optimizer], object]) -> Iterator[None]:
    """Tell of each optimizer as it is made: `tell` gets the source location and the optimizer."""
    original = Optimizer.__init__

    def __init__(self: Optimizer, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and (_belongs_to(frame, self) or is_ours(frame.f_code.co_filename)):
            frame = frame.f_back
        if frame is not None:
            tell(_called_in(frame), self)

    Optimizer.__init__ = __init__  # type: ignore[method-assign]
    try:
        yield
    finally:
        Optimizer.__init__ = original  # type: ignore[method-assign]


def _belongs_to(frame: FrameType, optimizer: Optimizer) -> bool:
    """Tell whether a frame is one of the optimizer's own methods."""
    names = frame.f_code.co_varnames
    return bool(names) and frame.f_locals.get(names[0]) is optimizer


def _called_in(frame: FrameType) -> _Call:
    file = frame.f_code.co_filename
    if not is_user_file(file) or file.startswith("<"):
        while frame.f_back is not None and not is_user_file(frame.f_code.co_filename):
            frame = frame.f_back
        return _Call(os.path.abspath(frame.f_code.co_filename), frame.f_lineno or 0, None, ())
    positions = list(frame.f_code.co_positions())[frame.f_lasti // 2]
    line, end_line, _, end_column = positions
    end = (end_line, end_column) if end_line is not None and end_column is not None else None
    try:
        call = call_ending_at(ast.parse("".join(linecache.getlines(file))), end) if end is not None else None
    except SyntaxError:
        call = None
    modules = tuple(_modules_within(frame, call)) if call is not None else ()
    return _Call(os.path.abspath(file), line or 0, end if call is not None else None, modules)


def _modules_within(frame: FrameType, call: ast.Call) -> Iterator[tuple[str, nn.Module]]:
    """Yield modules that can be named where the call stands: in the call itself, variables, attributes of variables."""
    for node in ast.walk(call):
        value = _value_of(node, frame)
        if isinstance(value, nn.Module):
            yield ast.unparse(node), value
    for name, value in frame.f_locals.items():
        if isinstance(value, nn.Module) and name.isidentifier():
            yield name, value
    for name, value in frame.f_locals.items():
        held = getattr(value, "__dict__", None)
        if isinstance(held, dict) and not isinstance(value, nn.Module | type) and name.isidentifier():
            for attribute, module in held.items():
                if isinstance(module, nn.Module) and str(attribute).isidentifier():
                    yield f"{name}.{attribute}", module
    for name in frame.f_code.co_names:
        if isinstance(frame.f_globals.get(name), nn.Module):
            yield name, frame.f_globals[name]


def _value_of(node: ast.AST, frame: FrameType) -> Any:
    """Look up what a name, or an attribute of one, stands for; None for anything else. The script's code is not called."""
    if isinstance(node, ast.Name):
        return frame.f_locals.get(node.id, frame.f_globals.get(node.id))
    if isinstance(node, ast.Attribute):
        value = _value_of(node.value, frame)
        if isinstance(value, nn.Module):
            return value._modules.get(node.attr)
        held = getattr(value, "__dict__", None)
        return held.get(node.attr) if isinstance(held, dict) else None
    return None


def _described(call: _Call, optimizer: Optimizer, known: Mapping[int, str]) -> Construction | None:
    """Describe the construction, once the program's names are known; None for an optimizer that was never stepped."""
    groups = optimizer.param_groups
    parameters = [parameter for group in groups for parameter in group["params"]]
    if not any(id(parameter) in known for parameter in parameters):
        return None
    expression, identity, inner = "", 0, {}
    for text, module in call.modules:
        names = {id(parameter): name for name, parameter in _unwrapped(module).named_parameters()}
        if all(id(parameter) in names for parameter in parameters):
            expression, identity, inner = text, id(_unwrapped(module)), names
            break
    settings = {key for group in groups for key in group if is_number(group[key]) or key == "param_names"}
    pairs = [(known.get(id(p), ""), inner.get(id(p), str(number))) for number, p in enumerate(parameters)]
    return Construction(call.file, call.line, call.end, expression, identity, tuple(pairs), frozenset(settings))


def _unwrapped(module: nn.Module) -> nn.Module:
    """Unwrap the model that DataParallel, DistributedDataParallel or `torch.compile` holds."""
    while type(module).__name__ in ("DataParallel", "DistributedDataParallel", "OptimizedModule"):
        inner = module._modules.get("module", module._modules.get("_orig_mod"))
        if inner is None:
            break
        module = inner
    return module


def is_number(value: object) -> bool:
    """Tell whether a setting of an optimizer is one number."""
    if isinstance(value, torch.Tensor):
        return value.numel() == 1
    return isinstance(value, int | float) and not isinstance(value, bool)
