"""What does a sparse tensor hold? The entries of a dense one: the recording reads it as that.

A graph's adjacency matrix is a leaf, however it is stored. `to_sparse` of a known matrix is that matrix itself. Products
with it are computed with the dense matrix while recording, so that a replay gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.live.frames import user_source
from tpdyn.recorder.live.tape import Meta, Ref, base_name, meta_of

aten = torch.ops.aten

LARGEST = 10**8
"""How many entries the dense form of a sparse tensor may have: 0.4 GB in single precision."""

STORED_ELSE = frozenset(
    "_to_sparse _to_sparse_csr _to_sparse_csc _to_sparse_bsr _to_sparse_bsc _to_dense _coalesce _coalesced detach alias "
    "clone lift_fresh".split()
)
"""Operations that change how a tensor is stored, not its entries."""
DENSE_TOO = frozenset("t transpose unsqueeze mul div neg add sub _to_copy mm mv bmm addmm sum".split())
"""Operations that do the same to dense tensors."""
ON_DENSE = {
    aten._sparse_addmm.default: aten.addmm.default,
    aten._sparse_sum.default: aten.sum.default, aten._sparse_sum.dim: aten.sum.dim_IntList,
}  # fmt: skip
"""Operations on sparse tensors that have another name for dense ones."""

Key = tuple[Any, ...]


def is_sparse(item: Any) -> bool:
    """Tell whether something is a sparse tensor, in coordinates or in compressed rows or columns."""
    return isinstance(item, Tensor) and item.layout != torch.strided and not item.is_nested


def refused(func: Any) -> RecordingError:
    """Return the refusal of an operation on tensors that are not dense."""
    return RecordingError(
        f"{func} makes or takes a tensor that is not dense: nested, or sparse with entries that are trained. Expected "
        "dense tensors, or sparse ones that are data. Try sparse=False in the embedding, padding, or .to_dense()",
        user_source(),
    )


@final
class SparseTensors:
    """Remembers which value each sparse tensor holds: by its memory, which other tensor objects share."""

    def __init__(
        self,
        value: Callable[[Any], Any],
        append: Callable[..., int],
        enter: Callable[[Tensor], Ref],
        result: Callable[[Tensor, Ref], None],
        given: Callable[[Any], bool],
    ) -> None:
        """Callbacks of the recording: dense values, further operations, outside tensors, results, whether arguments are data."""
        self._value, self._append, self._enter, self._result, self._given = value, append, enter, result, given
        self._known: dict[Key, tuple[Tensor, Ref, Tensor]] = {}

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run and record an operation that reads or makes sparse tensors as the same on dense ones."""
        name = base_name(str(func))
        leaves = pytree.tree_leaves((args, kwargs))
        if not any(map(is_sparse, leaves)) and name not in STORED_ELSE:  # made of what is dense, or nested
            if self._given((args, kwargs)):
                return func(*args, **kwargs)  # a graph's matrix: enters as data where it is read
            if func is aten._sparse_coo_tensor_with_dims_and_tensors.default and not args[1]:
                return self._from_coordinates(func, args, kwargs)
            raise refused(func)
        trained = torch.is_grad_enabled() and any(
            each.requires_grad
            for each in leaves
            if is_sparse(each) or (name in STORED_ELSE and isinstance(each, Tensor))
        )
        if trained:
            raise refused(func)
        if name in STORED_ELSE and not any(kwargs.get(key) for key in ("dtype", "masked_grad")):
            ref, entries = self._ref(args[0]), self.entries(args[0]).clone()
            return self._hold(func(*args, **kwargs), ref, entries)
        target = ON_DENSE.get(func, func)
        if base_name(str(target)) not in DENSE_TOO:
            if self._given((args, kwargs)):
                return func(*args, **kwargs)
            raise refused(func)
        options = {key: each for key, each in kwargs.items() if key != "layout"}
        values, extra = tuple(map(self._ref, args)), {key: self._ref(each) for key, each in options.items()}
        result = target(*map(self.entries, args), **{key: self.entries(each) for key, each in options.items()})
        out = func(*args, **kwargs)
        return self._hold(out, Ref(self._append(target, values, extra, (meta_of(out),))), result)

    def _from_coordinates(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Record a sparse tensor of drawn entries as zeros with these put in."""
        _, _, size, indices, entries = args
        if torch.is_grad_enabled() and entries.requires_grad:
            raise refused(func)
        out: Tensor = func(*args, **kwargs)
        row, meta = Meta((indices.shape[1],), indices.dtype), Meta(tuple(size), entries.dtype)
        ref = self._value(indices)
        at = [Ref(self._append(aten.select.int, (ref, 0, axis), {}, (row,))) for axis in range(len(size))]
        zeros = Ref(self._append(aten.full.default, (list(size), 0), {"dtype": entries.dtype}, (meta,)))
        filled = Ref(self._append(aten.index_put.default, (zeros, at, self._value(entries), True), {}, (meta,)))
        return self._hold(out, filled, dense(out))

    def _ref(self, argument: Any) -> Any:
        if not is_sparse(argument):
            return self._value(argument)
        ref = self.known(argument)
        if ref is None:
            ref = self._enter(argument)
            self._known[_key(argument)] = (argument, ref, dense(argument))
        return ref

    def _hold(self, out: Tensor, ref: Ref, entries: Tensor) -> Tensor:
        """Return what an operation made, if that is sparse, else its entries as the dense operation makes them.

        A sparse tensor is kept, so that its memory stays its own.
        """
        if is_sparse(out):
            self._known[_key(out)] = (out, ref, entries)
            return out
        self._result(entries, ref)
        return entries

    def known(self, tensor: Tensor) -> Ref | None:
        """Return what a sparse tensor holds; None if it was not met, or has been written since."""
        held = self._known.get(_key(tensor))
        return None if held is None else held[1]

    def entries(self, item: Any) -> Any:
        """Return the entries of a sparse tensor, laid out as a replay lays them; what is not sparse stays.

        Raises RecordingError if they were written since.
        """
        if not is_sparse(item):
            return item
        now, held = dense(item), self._known.get(_key(item))
        if held is None:
            return now
        if now.numel() and not torch.allclose(
            now.double(), held[2].double(), rtol=1e-4, atol=1e-6 * float(now.double().abs().max())
        ):
            raise RecordingError(
                "the entries of a sparse tensor were written in place; expected sparse tensors that stay as they were made. "
                "Try to make a new one",
                user_source(),
            )
        return held[2]


def dense(tensor: Tensor) -> Tensor:
    """Return a sparse tensor's entries. Raises RecordingError if they would be too many."""
    if tensor.numel() > LARGEST:
        raise RecordingError(
            f"a sparse tensor of shape {tuple(tensor.shape)}; expected at most {LARGEST} entries, as it is read as a dense one. "
            "Orders do not depend on how many nodes a graph has: try a smaller graph"
        )
    with _disable_current_modes(), torch.no_grad():
        return tensor.detach().to_dense()


def _key(tensor: Tensor) -> Key:
    with _disable_current_modes(), torch.no_grad():
        if tensor.layout == torch.sparse_coo:
            parts = tensor._indices(), tensor._values()
        elif tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
            parts = tensor.crow_indices(), tensor.values()
        else:
            parts = tensor.ccol_indices(), tensor.values()
        memory = tuple((part.untyped_storage()._cdata, part._version) for part in parts)
    return (tensor.layout, tuple(tensor.shape), tensor.dtype, *memory)
