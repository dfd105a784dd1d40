"""Mirrors tpdyn/recorder/live/storage.py: a write through any view reaches the base, and unread views leave no trace."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.live.storage import Storages, geometry_of
from tpdyn.recorder.live.tape import Ref

aten = torch.ops.aten


class Memory:
    """Storages whose tape computes: `values[ref.node]` is what a ref stands for."""

    def __init__(self) -> None:
        self.values: list[Tensor] = []
        self.emitted: list[str] = []
        self.storages = Storages(self.emit, self.enter)

    def put(self, value: Tensor) -> Ref:
        self.values.append(value.clone())
        return Ref(len(self.values) - 1)

    def enter(self, tensor: Tensor) -> Ref:
        return self.put(tensor)

    def emit(self, target: Any, args: Any, kwargs: Any, shape: Any, dtype: Any, origin: Any) -> Ref:
        self.emitted.append(target.overloadpacket.__name__)
        made = target(*(self.values[a.node] if isinstance(a, Ref) else a for a in args), **kwargs)
        assert tuple(made.shape) == tuple(shape) and made.dtype == dtype
        return self.put(made)

    def now(self, tensor: Tensor) -> Tensor:
        return self.values[self.storages.read(tensor).node]

    def view(self, parent: Tensor, target: Any, *args: Any) -> Tensor:
        child: Tensor = target(parent, *args)
        self.storages.view(parent, child, target, args, {})
        return child

    def fill(self, tensor: Tensor, number: float) -> None:
        """An in-place operation: the memory is written, and the tape is told."""
        tensor.fill_(number)
        self.storages.write(tensor, self.put(torch.full(tuple(tensor.shape), number, dtype=tensor.dtype)))


VIEWS: dict[str, tuple[Any, ...]] = {
    "view": (aten.view.default, [4, 6]),
    "transpose": (aten.transpose.int, 0, 2),
    "permute": (aten.permute.default, [1, 2, 0]),
    "slice": (aten.slice.Tensor, 1, 0, 3, 2),
    "select": (aten.select.int, 0, 1),
    "unsqueeze": (aten.unsqueeze.default, 1),
    "diagonal": (aten.diagonal.default, 0, 0, 1),
    "as_strided": (aten.as_strided.default, [2, 2], [12, 5], 1),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_write_through_a_view_reaches_the_base_and_a_write_to_the_base_the_view(name: str) -> None:
    memory, x = Memory(), torch.arange(24.0).reshape(2, 3, 4)
    memory.storages.read(x)
    child = memory.view(x, *VIEWS[name])
    assert memory.emitted == []  # a view that nobody reads
    assert torch.equal(memory.now(child), child)
    memory.fill(child, -1.0)
    assert torch.equal(memory.now(x), x)
    memory.fill(x, 7.0)
    assert torch.equal(memory.now(child), child)


def test_views_of_views_are_chains() -> None:
    memory, x = Memory(), torch.arange(24.0).reshape(2, 3, 4)
    memory.storages.read(x)
    row = memory.view(memory.view(x, aten.select.int, 0, 1), aten.transpose.int, 0, 1)
    part = memory.view(row, aten.slice.Tensor, 0, 1, 3)
    memory.fill(part, 5.0)
    assert torch.equal(memory.now(x), x) and torch.equal(memory.now(row), row)


def test_a_view_is_read_once_a_version() -> None:
    memory, x = Memory(), torch.arange(6.0)
    memory.storages.read(x)
    child = memory.view(x, aten.view.default, [2, 3])
    for _ in range(3):
        memory.now(child)
    assert memory.emitted == ["view"]
    memory.fill(x, 1.0)
    memory.now(child)
    assert memory.emitted == ["view", "view"]


def test_a_geometry_that_came_from_outside_is_found_in_a_dense_base() -> None:
    memory, x = Memory(), torch.arange(12.0).reshape(3, 4)
    memory.storages.read(x)
    assert torch.equal(memory.now(x.T), x.T)
    assert torch.equal(memory.now(x[1:, 2]), x[1:, 2])


def test_the_same_memory_is_known_through_any_tensor_object() -> None:
    memory, x = Memory(), torch.arange(3.0)
    assert not memory.storages.knows(x)
    memory.storages.read(x)
    assert memory.storages.knows(x.detach()) and memory.storages.read(x.detach()) == memory.storages.read(x)
    assert geometry_of(x) == geometry_of(x.detach()) != geometry_of(x[:2])


def test_a_write_through_a_view_without_inverse_is_refused() -> None:
    memory, x = Memory(), torch.arange(6.0)
    memory.storages.read(x)
    windows = memory.view(x, aten.unfold.default, 0, 2, 2)
    with pytest.raises(RecordingError, match="which has no inverse here"):
        memory.fill(windows, 0.0)


def test_a_write_to_memory_that_outside_tensors_share_is_refused() -> None:
    memory, x = Memory(), torch.arange(12.0)
    part = x[2:8]
    memory.storages.read(part)  # the base does not cover what is read next
    memory.storages.read(x)
    with pytest.raises(RecordingError, match="memory that two tensors from outside of the recording share"):
        memory.fill(x, 0.0)


def test_a_copied_storage_holds_the_same_values() -> None:
    """What `copy.deepcopy` does: the bytes are copied."""
    memory, x = Memory(), torch.arange(4.0)
    memory.storages.read(x)
    other = torch.empty(4)
    source, target = (torch.empty(0, dtype=torch.uint8).set_(t.untyped_storage()) for t in (x, other))
    assert memory.storages.copied(target, source)
    other.copy_(x)
    assert torch.equal(memory.now(other), x)
    assert not memory.storages.copied(target[:3], source)
