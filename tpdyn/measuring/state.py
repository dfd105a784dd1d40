"""What of a script's own state may a forward pass change? Looked at before and after, so that a second pass leaves no trace.

Two kinds are reached. From the attributes of all modules: what they are bound to, and the contents of lists, dicts, sets
and deques. Also plain tensors, random generators, objects of the user's own classes. And the globals (numbers, containers,
generators) of the files in which `forward` is written. Not reached: what hides in closures, iterators or compiled code.
"""

from __future__ import annotations

import inspect
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from tpdyn.recorder.live.frames import is_user_file

LONGEST = 1000
"""Containers with more items are copied, but their items are not looked into."""

DEEPEST = 6

_OF_EVERY_MODULE = frozenset(nn.Module().__dict__) - {"training"}
_PLAIN = (int, float, bool, str, bytes, type(None), complex)


@final
class State:
    """The state of some modules at one moment: `State(model)`, later `put_back()`.

    copies: whether plain tensors come back with copies of their values. Else they come back with their storages, for a
    state that nobody overwrote. Storages are exchanged within
    `torch.autograd._unsafe_preserve_version_counter(tensors)`: a live backward pass that still needs them must not
    notice.
    """

    def __init__(self, root: nn.Module, *, copies: bool) -> None:
        self.tensors: list[Tensor] = []
        self._copies = copies
        self._actions: list[Callable[[], object]] = []
        self._seen: set[int] = set()
        files: set[int] = set()
        modules = list(root.modules())
        self._seen.update(id(module) for module in modules)
        self._seen.update(id(each) for each in (*root.parameters(), *root.buffers()))
        for module in modules:
            if any(is_lazy(each) for each in module._parameters.values() if each is not None):
                continue
            self._attributes(module.__dict__, _OF_EVERY_MODULE, 0)
            forward = getattr(type(module).forward, "__globals__", None)
            if forward is not None and id(forward) not in files:
                files.add(id(forward))
                if is_user_file(str(forward.get("__file__", "<"))):
                    self._globals(forward)

    def put_back(self) -> None:
        """Put everything back as it was when this was made."""
        for action in self._actions:
            action()

    def _attributes(self, values: dict[str, Any], without: frozenset[str], depth: int) -> None:
        before = {name: value for name, value in values.items() if name not in without}

        def put_back() -> None:
            for name in [name for name in values if name not in before and name not in without]:
                del values[name]
            values.update(before)

        self._actions.append(put_back)
        self._look_into(before.values(), depth)

    def _globals(self, values: dict[str, Any]) -> None:
        kept = {
            name: value
            for name, value in values.items()
            if not name.startswith("__") and isinstance(value, (*_PLAIN, list, dict, set, deque, *_GENERATORS))
        }
        self._actions.append(lambda: values.update(kept))
        self._look_into(kept.values(), DEEPEST - 1)

    def _look_into(self, values: Iterable[Any], depth: int) -> None:
        for value in values:
            if isinstance(value, _PLAIN) or id(value) in self._seen:
                continue
            self._seen.add(id(value))
            self._keep(value, depth + 1)

    def _keep(self, value: Any, depth: int) -> None:
        match value:
            case Tensor():
                self._keep_tensor(value)
            case list() | deque():
                items = list(value)
                self._actions.append(lambda: _refill(value, items))
                self._deeper(items, depth)
            case dict():
                pairs = dict(value)
                self._actions.append(lambda: _replace(value, pairs))
                self._deeper(list(pairs.values()), depth)
            case set():
                members = set(value)
                self._actions.append(lambda: _replace(value, members))
            case tuple():
                self._deeper(list(value), depth)
            case torch.Generator():
                state = value.get_state()
                self._actions.append(lambda: value.set_state(state))
            case np.random.Generator():
                numbers = value.bit_generator.state
                self._actions.append(lambda: setattr(value.bit_generator, "state", numbers))
            case np.random.RandomState():
                legacy = value.get_state()
                self._actions.append(lambda: value.set_state(legacy))
            case random.Random():
                python = value.getstate()
                self._actions.append(lambda: value.setstate(python))
            case _:  # any other object: its attributes, and what they hold
                self._keep_object(value, depth)

    def _keep_tensor(self, value: Tensor) -> None:
        if (
            isinstance(value, nn.Parameter)
            or value.grad_fn is not None
            or value.requires_grad
            or type(value) is not Tensor
        ):
            return
        kept = value.detach().clone() if self._copies else value.data
        self.tensors.append(value)
        self._actions.append(lambda: setattr(value, "data", kept))

    def _deeper(self, items: list[Any], depth: int) -> None:
        if depth < DEEPEST and len(items) <= LONGEST:
            self._look_into(items, depth)

    def _keep_object(self, value: Any, depth: int) -> None:
        attributes = getattr(value, "__dict__", None)
        if depth >= DEEPEST or not isinstance(attributes, dict) or isinstance(value, type) or inspect.isroutine(value):
            return
        module = inspect.getmodule(type(value))
        if is_user_file(str(getattr(module, "__file__", None) or "<")):
            self._attributes(attributes, frozenset(), depth)


_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


def _refill(container: list[Any] | deque[Any], items: list[Any]) -> None:
    if len(container) == len(items) and all(a is b for a, b in zip(container, items, strict=True)):
        return
    container.clear()
    container.extend(items)


def _replace(container: dict[Any, Any] | set[Any], content: Any) -> None:
    container.clear()
    container.update(content)


def _cuda_runs() -> bool:
    return torch.cuda.is_available() and bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def random_states() -> tuple[Any, ...]:
    """Return the states of the generators that everybody shares: torch's (CPU, CUDA), numpy's, Python's."""
    cuda = torch.cuda.get_rng_state_all() if _cuda_runs() else None
    return torch.get_rng_state(), cuda, np.random.get_state(), random.getstate()  # noqa: NPY002 (the script's own)


def set_random_states(states: tuple[Any, ...]) -> None:
    """Put back what `random_states` returned."""
    torch.set_rng_state(states[0])
    if states[1] is not None:
        torch.cuda.set_rng_state_all(states[1])
    np.random.set_state(states[2])  # noqa: NPY002
    random.setstate(states[3])
