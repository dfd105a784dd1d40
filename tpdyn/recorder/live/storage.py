"""Which value does a tensor hold right now? State is kept per storage, with versions and views.

Tensors come and go (`.data`, `nn.Parameter(t)`, saved variables are new objects on old memory), but the memory stays. Each
storage has one *base* geometry whose value is a `Ref`. Other geometries are *views*, each derived from a parent by a
functional view operation. Reading a view emits its chain of operations once per version. Writing to it pushes the new value
through the inverse chain into the base. A view that is never read is forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from tpdyn.program.program import Origin
from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.live.tape import Ref

aten = torch.ops.aten

Geometry = tuple[torch.dtype, tuple[int, ...], tuple[int, ...], int, bool]
"""dtype, size, stride, offset, and whether entries are conjugated or negated when read."""
Emit = Callable[[Any, tuple[Any, ...], dict[str, Any], tuple[int, ...], torch.dtype, Origin | None], Ref]

RESHAPES = frozenset({
    aten.view.default, aten._unsafe_view.default, aten._reshape_alias.default, aten.unsqueeze.default,
    aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims,
})  # fmt: skip
INVERSES = {
    aten.t.default: aten.t.default, aten._conj.default: aten._conj.default, aten._neg_view.default: aten._neg_view.default,
    aten.view_as_real.default: aten.view_as_complex.default, aten.view_as_complex.default: aten.view_as_real.default,
}  # fmt: skip
CUTS = {
    aten.slice.Tensor: aten.slice_scatter.default, aten.select.int: aten.select_scatter.default,
    aten.diagonal.default: aten.diagonal_scatter.default, aten.as_strided.default: aten.as_strided_scatter.default,
}  # fmt: skip
"""Views of a part, and what writes it back."""


@final
@dataclass(slots=True)
class _View:
    """`value = target(parent's value, *args, **kwargs)`."""

    parent: Geometry
    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    origin: Origin | None = None


@final
@dataclass(slots=True)
class Cell:
    """The state of one storage."""

    alive: StorageWeakRef
    geometry: Geometry
    ref: Ref
    views: dict[Geometry, _View] = field(default_factory=dict)
    cache: dict[Geometry, Ref] = field(default_factory=dict)
    islands: dict[Geometry, Ref] = field(default_factory=dict)


def geometry_of(tensor: Tensor) -> Geometry:
    """Return how a tensor lies in its storage."""
    dtype = tensor.dtype
    lazy = tensor.is_neg() or (dtype.is_complex and tensor.is_conj())
    return (dtype, tensor.shape, tensor.stride(), tensor.storage_offset(), lazy)  # type: ignore[return-value]


@final
class Storages:
    """The state of all storages met. `emit` appends an operation to the tape; `enter` a tensor from outside."""

    def __init__(self, emit: Emit, enter: Callable[[Tensor], Ref]) -> None:
        self._emit = emit
        self._enter = enter
        self._cells: dict[int, Cell] = {}

    def knows(self, tensor: Tensor) -> bool:
        """Tell whether the tensor's storage was met before."""
        return tensor.untyped_storage()._cdata in self._cells

    def held(self, storage: int) -> tuple[Geometry, Ref] | None:
        """Return the base geometry of a storage and its current value; None if it was never met."""
        cell = self._cells.get(storage)
        return None if cell is None else (cell.geometry, cell.ref)

    def read(self, tensor: Tensor) -> Ref:
        """Return the current value; a tensor never met before enters as an input."""
        storage = tensor.untyped_storage()
        cell = self._cells.get(storage._cdata)
        if cell is None:
            return self.create(tensor, self._enter(tensor))
        geometry = geometry_of(tensor)
        if geometry == cell.geometry:
            return cell.ref
        cached = cell.cache.get(geometry)
        return self._read(cell, geometry, tensor) if cached is None else cached

    def create(self, tensor: Tensor, ref: Ref) -> Ref:
        """Give a whole storage a base geometry and value: a new one, or one that was resized (`resize_`, out=)."""
        storage = tensor.untyped_storage()
        self._cells[storage._cdata] = Cell(_alive(storage), geometry_of(tensor), ref)
        return ref

    def result(self, tensor: Tensor, ref: Ref) -> None:
        """Note the value of an operation's output: a new storage, or an alias of a known one (nothing is written)."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._cells:
            self.create(tensor, ref)

    def copied(self, target: Tensor, source: Tensor) -> bool:
        """Tell whether the bytes of a whole storage are copied (`copy.deepcopy` of a tensor): then the target holds its values."""
        cell = self._cells.get(source.untyped_storage()._cdata)
        memory = target.untyped_storage()
        if cell is None or cell.geometry[0] == torch.uint8 or not target.numel() == source.numel() == memory.nbytes():
            return False
        self._cells[memory._cdata] = Cell(
            _alive(memory), cell.geometry, cell.ref, dict(cell.views), dict(cell.cache), dict(cell.islands)
        )
        return True

    def write(self, tensor: Tensor, ref: Ref) -> None:
        """Note that the tensor was written in place and now holds `ref`."""
        cell = self._cells.get(tensor.untyped_storage()._cdata)
        if cell is None:
            self.create(tensor, ref)
            return
        geometry = geometry_of(tensor)
        if cell.islands:
            self._refuse_overlap(cell, geometry)
            if geometry in cell.islands:
                cell.islands[geometry] = ref
                cell.cache.clear()
                return
        self._write(cell, geometry, ref, tensor)

    def view(
        self,
        parent: Tensor,
        child: Tensor,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        origin: Origin | None = None,
    ) -> None:
        """Register that `child = target(parent, *args, **kwargs)` is a view, made at `origin`. Emits nothing (but enters an unknown
        parent)."""
        key = parent.untyped_storage()._cdata
        cell = self._cells.get(key)
        if cell is None:
            self.read(parent)
            cell = self._cells[key]
        mine, theirs = geometry_of(child), geometry_of(parent)
        if mine == theirs or mine == cell.geometry or mine in cell.islands:
            return
        known = cell.views.get(mine)
        if known is not None:
            known.origin = origin
            return
        if theirs != cell.geometry and theirs not in cell.views and theirs not in cell.islands:
            self.read(parent)  # registers a geometry that came from outside
        if target is aten.as_strided.default and self._found_view(cell, mine, None, origin) is not None:
            return  # strides address the memory: the view is one of the base, whatever its parent
        if target in RESHAPES or (target is aten.expand.default and child.numel() == parent.numel()):
            # (an expansion that repeats nothing only adds dims of size 1)
            target, args, kwargs = aten.view.default, (list(child.shape),), {}
        elif target is aten.expand.default:
            args, kwargs = (list(child.shape),), {}
        cell.views[mine] = _View(theirs, target, args, kwargs, origin)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _read(self, cell: Cell, geometry: Geometry, tensor: Tensor | None = None) -> Ref:
        if geometry == cell.geometry:
            return cell.ref
        cached = cell.cache.get(geometry)
        if cached is not None:
            return cached
        if geometry in cell.islands:
            return cell.islands[geometry]
        view = cell.views.get(geometry) or self._found_view(cell, geometry, tensor)
        if view is None:
            assert tensor is not None
            ref = cell.islands[geometry] = self._enter(tensor)
            return ref
        parent = self._read(cell, view.parent)
        ref = self._emit(view.target, (parent, *view.args), view.kwargs, tuple(geometry[1]), geometry[0], view.origin)
        cell.cache[geometry] = ref
        return ref

    def _found_view(
        self, cell: Cell, geometry: Geometry, tensor: Tensor | None, origin: Origin | None = None
    ) -> _View | None:
        """Find how an unregistered geometry comes from the base, if the base is dense and covers it."""
        dtype, size, stride, offset, lazy = geometry
        base = self._in_memory_order(cell)
        if base is None:
            return None
        base_dtype, base_size, _, base_offset, base_lazy = base
        if dtype != base_dtype or lazy or base_lazy:
            return None
        last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        if 0 in size or offset < base_offset or last >= base_offset + math.prod(base_size):
            return None
        if geometry == base and geometry in cell.views:
            return cell.views[geometry]
        if math.prod(size) == math.prod(base_size) and _is_contiguous(size, stride):
            view = _View(base, aten.view.default, (list(size),), {}, origin)
        else:
            view = _View(base, aten.as_strided.default, (list(size), list(stride), offset - base_offset), {}, origin)
        cell.views[geometry] = view
        return view

    def _in_memory_order(self, cell: Cell) -> Geometry | None:
        """Return the base with its dims as they lie in memory; None where it does not fill its memory."""
        dtype, size, stride, offset, lazy = cell.geometry
        if _is_contiguous(size, stride):
            return cell.geometry
        order = sorted(range(len(size)), key=lambda d: -stride[d])
        dense = tuple(size[d] for d in order), tuple(stride[d] for d in order)
        if not _is_contiguous(*dense):
            return None
        geometry: Geometry = (dtype, *dense, offset, lazy)
        cell.views.setdefault(geometry, _View(cell.geometry, aten.permute.default, (order,), {}))
        return geometry

    def _write(self, cell: Cell, geometry: Geometry, ref: Ref, tensor: Tensor | None) -> None:
        if geometry == cell.geometry:
            cell.ref = ref
            cell.cache.clear()
            return
        view = cell.views.get(geometry) or self._found_view(cell, geometry, tensor)
        if view is None:
            raise RecordingError(
                f"a write through a view of size {tuple(geometry[1])} that was made outside of the recording. "
                "Expected views made inside of it. Try to build the tensor inside of the recorded function"
            )
        parent = self._read(cell, view.parent)
        new = self._inverse(view, parent, ref, view.parent)
        self._write(cell, view.parent, new, None)
        if view.target not in CUTS or _is_contiguous(geometry[1], geometry[2]):
            cell.cache[geometry] = ref  # else read it through the view: kernels round by how their arguments lie

    def _inverse(self, view: _View, parent: Ref, ref: Ref, geometry: Geometry) -> Ref:
        dtype, size = geometry[0], tuple(geometry[1])
        target, args = view.target, view.args
        if target is aten.view.default:
            args = (ref, list(size))
        elif target is aten.transpose.int:
            args = (ref, *args)
        elif target is aten.permute.default:
            dims = [d % len(size) for d in args[0]]
            args = (ref, [dims.index(k) for k in range(len(dims))])
        elif target in INVERSES:
            target, args = INVERSES[target], (ref,)
        elif target in CUTS:
            target, args = CUTS[target], (parent, ref, *args)
        else:
            raise RecordingError(
                f"an in-place write through {target}, which has no inverse here. Expected a write through views made by "
                "view, transpose, permute, slice, select, diagonal, as_strided, view_as_real or view_as_complex. Try to write "
                "to the tensor itself"
            )
        return self._emit(target, args, dict(view.kwargs), size, dtype, None)

    def _refuse_overlap(self, cell: Cell, geometry: Geometry) -> None:
        others = [cell.geometry, *cell.islands]
        start, end = _span(geometry)
        for other in others:
            low, high = _span(other)
            if other != geometry and start < high and low < end:
                raise RecordingError(
                    "an in-place write to memory that two tensors from outside of the recording share. "
                    "Expected them to be views made inside of it. Try to clone one of them"
                )


def _alive(storage: torch.UntypedStorage) -> StorageWeakRef:
    """Keep the storage's address from being used again (not its memory)."""
    return StorageWeakRef(storage)  # type: ignore[no-untyped-call]


def _is_contiguous(size: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    expected = 1
    for n, s in zip(reversed(size), reversed(stride), strict=True):
        if n != 1 and s != expected:
            return False
        expected *= n
    return True


def _span(geometry: Geometry) -> tuple[int, int]:
    dtype, size, stride, offset, _ = geometry
    if 0 in size:
        return (0, 0)
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    return (offset * dtype.itemsize, (last + 1) * dtype.itemsize)
