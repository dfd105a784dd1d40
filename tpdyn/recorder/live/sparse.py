"""What does a sparse tensor hold? The entries of a dense one: the recording reads it as that.

A graph's adjacency matrix is a leaf, however it is stored, and `to_sparse` of a known matrix is that matrix itself. Products
with it are computed with the dense matrix while recording, so that a replay gives the same bits.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.live.frames import user_source
from tpdyn.recorder.live.tape import Ref

aten = torch.ops.aten

LARGEST = 10**8
"""How many entries the dense form of a sparse tensor may have: 0.4 GB in single precision."""

STORED_ELSE = frozenset(
    "_to_sparse _to_sparse_csr _to_sparse_csc _to_sparse_bsr _to_sparse_bsc _to_dense _coalesce _coalesced detach alias "
    "clone lift_fresh".split()
)
"""Operations that change how a tensor is stored, and no entry."""
DENSE_TOO = frozenset("t transpose unsqueeze mul div neg add sub _to_copy mm mv bmm addmm sum".split())
"""Operations that do the same to dense tensors."""
ON_DENSE = {
    aten._sparse_addmm.default: aten.addmm.default, aten._sparse_mm.default: aten.mm.default,
    aten._sparse_sum.default: aten.sum.default, aten._sparse_sum.dim: aten.sum.dim_IntList,
}  # fmt: skip
"""Operations on sparse tensors that have another name for dense ones."""

Key = tuple[Any, ...]


def is_sparse(item: Any) -> bool:
    """Tell whether something is a sparse tensor, in coordinates or in compressed rows or columns."""
    return isinstance(item, Tensor) and item.layout != torch.strided and not item.is_nested


def any_sparse(items: Any) -> bool:
    """Tell whether nested arguments hold a sparse tensor."""
    return any(is_sparse(item) for item in pytree.tree_leaves(items))


@final
class SparseTensors:
    """Remembers which value each sparse tensor holds: by its memory, which other tensor objects share."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[Tensor, Ref, Tensor]] = {}

    def known(self, tensor: Tensor) -> Ref | None:
        """Return what a sparse tensor holds; None if it was not met, or has been written since."""
        found = self._known.get(_key(tensor))
        return None if found is None else found[1]

    def entries(self, item: Any) -> Any:
        """Return the entries of a sparse tensor, laid out as a replay lays them; what is not sparse stays.

        Raises RecordingError if they were written since.
        """
        if not is_sparse(item):
            return item
        now, found = dense(item), self._known.get(_key(item))
        if found is None:
            return now
        if now.numel() and not torch.allclose(
            now.double(), found[2].double(), rtol=1e-4, atol=1e-6 * float(now.double().abs().max())
        ):
            raise RecordingError(
                "the entries of a sparse tensor were written in place; expected sparse tensors that stay as they were made. "
                "Try to make a new one",
                user_source(),
            )
        return found[2]

    def hold(self, tensor: Tensor, ref: Ref, entries: Tensor) -> None:
        """Note what a sparse tensor holds. The tensor is kept, so that its memory stays its own."""
        self._known[_key(tensor)] = (tensor, ref, entries)


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
