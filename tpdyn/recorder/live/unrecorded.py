"""Must an evaluation be recorded? Only if something that it made is used in training: so it runs as it is, and that is watched.

Operations pass by unrecorded while an outermost module runs without gradients. That is a loss estimated before the first
step, a validation set, but also a target network or a teacher. What they make is remembered by its memory. Suppose that an
update, a gradient or the output of a training pass turns out to depend on it. Or it writes to memory that it did not make
itself (running statistics, a cache). Then the recording is worth nothing, and the script is run again, recorded in full.
"""

from __future__ import annotations

from typing import Any, final

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree as pytree

from tpdyn.recorder.live.schemas import Operation

Memory = int
"""The identity of a storage; it is not used again while a StorageWeakRef to it lives."""

WRITING = frozenset({"in-place", "out", "geometry", "foreach", "fused", "scaler"})


@final
class Unrecorded:
    """What runs unrecorded, and what it made. active: whether operations pass by now. nodes: where it was read later."""

    def __init__(self) -> None:
        self.active = False
        self.nodes: list[int] = []
        self._made: dict[Memory, StorageWeakRef] = {}

    def made(self, tensor: Tensor) -> bool:
        """Whether a tensor lies in memory that an unrecorded operation made."""
        return bool(self._made) and tensor.untyped_storage()._cdata in self._made

    def run(self, func: Any, facts: Operation, args: Any, kwargs: Any) -> tuple[Any, bool]:
        """Run an operation; also whether it kept to itself: it wrote to nothing but what such operations made."""
        try:
            itself = all(self.made(tensor) for tensor in _written(facts, args, kwargs))
            out = func(*args, **kwargs)
            if facts.kind in ("functional", "foreach"):
                given = [tensor.untyped_storage()._cdata for tensor in args if isinstance(tensor, Tensor)]
                for tensor in out if isinstance(out, tuple | list) else (out,):
                    if isinstance(tensor, Tensor):
                        memory = tensor.untyped_storage()
                        if memory._cdata not in given and memory._cdata not in self._made:
                            self._made[memory._cdata] = StorageWeakRef(memory)  # type: ignore[no-untyped-call]
        except NotImplementedError:  # a sparse or nested tensor has no memory of its own
            return None, False
        return out, itself and not isinstance(out, float)  # a number that leaves the tensors here would not be followed


def _written(facts: Operation, args: Any, kwargs: Any) -> list[Tensor]:
    if facts.kind not in WRITING and not facts.written:
        return []
    if facts.kind in ("fused", "scaler"):
        return [each for each in pytree.tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    parameters = facts.written or ((0, "self"),)
    tensors = [args[number] if number < len(args) else kwargs.get(name) for number, name in parameters]
    return [each for each in pytree.tree_leaves(tensors) if isinstance(each, Tensor)]
