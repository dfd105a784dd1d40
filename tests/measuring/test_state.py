"""Mirrors tpdyn/measuring/state.py: what a forward pass may change of a script's own comes back, whatever holds it."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tpdyn.measuring.state import LONGEST, State

COUNTS = {"global": 0}


class Holder:
    def __init__(self) -> None:
        self.inner = [1]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("running", torch.ones(2))
        self.count, self.cache = 0, torch.zeros(2)
        self.items, self.pairs, self.members, self.last = [1, 2], {"a": [1]}, {1}, deque([1], 3)
        self.holder, self.nested = Holder(), ([1], {"b": {"c": [1]}})
        self.torch_draws = torch.Generator().manual_seed(1)
        self.numpy_draws, self.legacy, self.python_draws = (
            np.random.default_rng(1),
            np.random.RandomState(1),
            random.Random(1),
        )

    def forward(self, x: Tensor) -> Tensor:
        COUNTS["global"] += 1
        return x


def drawn(net: Net) -> tuple[float, ...]:
    return (
        float(torch.rand((), generator=net.torch_draws)),
        net.numpy_draws.random(),
        net.legacy.rand(),
        net.python_draws.random(),
    )


CHANGES: dict[str, tuple[Callable[[Net], object], Callable[[Net], object]]] = {
    "a number": (lambda net: setattr(net, "count", 5), lambda net: net.count),
    "a new attribute": (lambda net: setattr(net, "new", 5), lambda net: hasattr(net, "new")),
    "a list": (lambda net: net.items.append(3), lambda net: list(net.items)),
    "a list within a dict": (lambda net: net.pairs["a"].append(2), lambda net: list(net.pairs["a"])),
    "a key": (lambda net: net.pairs.update(z=1), lambda net: sorted(net.pairs)),
    "a set": (lambda net: net.members.add(2), lambda net: set(net.members)),
    "a deque": (lambda net: net.last.extend([4, 5, 6]), lambda net: list(net.last)),
    "an object of the user's": (lambda net: net.holder.inner.clear(), lambda net: list(net.holder.inner)),
    "deep within a tuple": (lambda net: net.nested[1]["b"]["c"].append(1), lambda net: list(net.nested[1]["b"]["c"])),
    "a plain tensor, in place": (lambda net: net.cache.add_(1), lambda net: net.cache.tolist()),
    "another tensor": (lambda net: setattr(net, "cache", torch.ones(3)), lambda net: net.cache.tolist()),
    "generators": (drawn, lambda net: drawn(net)),
    "a global": (lambda net: net(torch.ones(2)), lambda net: COUNTS["global"]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_is_changed_comes_back(what: str) -> None:
    change, look = CHANGES[what]
    expected = look(Net())
    if what == "a global":
        expected = COUNTS["global"]
    net = Net()
    state = State(net, copies=True)
    change(net)
    state.put_back()
    assert look(net) == expected


def test_containers_stay_the_same_objects() -> None:
    net = Net()
    items, pairs = net.items, net.pairs
    state = State(net, copies=True)
    net.items, net.pairs = [], {}
    items.append(9)
    state.put_back()
    assert net.items is items and net.pairs is pairs and items == [1, 2]


def test_parameters_and_buffers_are_left_to_others() -> None:
    net = Net()
    state = State(net, copies=True)
    with torch.no_grad():
        net.weight.add_(1)
        net.running.add_(1)  # type: ignore[operator]
    state.put_back()
    assert net.weight.tolist() == [2, 2] and net.running.tolist() == [2, 2]  # type: ignore[operator]
    assert all(tensor is not net.running for tensor in state.tensors)


def test_without_copies_a_tensor_gets_its_storage_back() -> None:
    net = Net()
    memory = net.cache.data_ptr()
    state = State(net, copies=False)
    net.cache.data = torch.ones(2)
    state.put_back()
    assert net.cache.data_ptr() == memory


def test_a_long_list_is_copied_but_not_looked_into() -> None:
    net = Net()
    net.items = [[1] for _ in range(LONGEST + 1)]  # type: ignore[assignment]
    state = State(net, copies=True)
    net.items[0].append(2)  # type: ignore[attr-defined]
    net.items.pop()
    state.put_back()
    assert len(net.items) == LONGEST + 1 and net.items[0] == [1, 2]  # type: ignore[comparison-overlap]
