"""Does the tape say what the script did? Run it again, operation by operation, and compare.

A replay uses the recorded inputs and random draws, and must give every named value bit for bit. It is what catches
mutations that bypass the dispatcher, such as writes through `tensor.numpy()`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from tpdyn.program.lifetimes import dying
from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.live.tape import Ref, Tape, mapped

aten = torch.ops.aten


@contextmanager
def by_default(dtype: torch.dtype) -> Iterator[None]:
    """Set the type where a script names none: `torch.zeros(n)`, or a quotient of whole numbers."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(default)


def double_by_default() -> AbstractContextManager[None]:
    """Use float64 where a script leaves the type open."""
    return by_default(torch.float64)


def double_type(dtype: torch.dtype) -> torch.dtype:
    """Return the type of double precision in place of a real or complex one; others stay."""
    return torch.complex128 if dtype.is_complex else torch.float64 if dtype.is_floating_point else dtype


LAID_OUT: dict[Any, Callable[[Tensor], Tensor]] = {
    aten.as_strided.default: Tensor.contiguous,
    aten.as_strided_scatter.default: Tensor.contiguous,
    aten.view_as_complex.default: lambda pairs: pairs if pairs.stride(-1) == 1 else pairs.contiguous(),
    aten.view_as_real.default: Tensor.resolve_conj,
}
"""What is read by how it lies in memory, and how it lay where the script ran."""


def replay(tape: Tape, keep: Collection[Ref] | None = None) -> dict[Ref, Tensor]:
    """Compute every value of the tape from its inputs and random draws (detached tensors).

    keep: only these are wanted; the others are let go of once nothing reads them any more.
    """
    values: dict[Ref, Tensor] = {}
    reads = ([ref.node for ref in node.reads] for node in tape.nodes)
    freed = dying(reads, {ref.node for ref in keep}) if keep is not None else {}

    def value_of(item: Any) -> Any:
        if not isinstance(item, Ref):
            return item
        return values[item].item() if item.number else values[item]

    with torch.no_grad():
        for index, node in enumerate(tape.nodes):
            for dead in freed.get(index - 1, ()):
                for output in range(len(tape.nodes[dead].outputs)):
                    values.pop(Ref(dead, output), None)
            if node.op == "input":
                values[Ref(index)] = node.value
                continue
            if node.random:
                for output, value in enumerate(node.value):
                    if value is not None:
                        values[Ref(index, output)] = value
                continue
            args, kwargs = mapped(node.args, value_of), mapped(node.kwargs, value_of)
            assert node.target is not None
            if node.target in LAID_OUT:
                args = (LAID_OUT[node.target](args[0]), *args[1:])
            target = torch.reshape if node.target is aten.view.default else node.target
            result: Any = target(*args, **kwargs)
            for output, value in enumerate(result if isinstance(result, tuple | list) else (result,)):
                if isinstance(value, Tensor):
                    values[Ref(index, output)] = value
    return values if keep is None else {ref: values[ref] for ref in keep}


def same(left: Tensor, right: Tensor) -> bool:
    """Tell whether two tensors hold the same; NaN is NaN."""
    if left.shape != right.shape:
        return False
    return bool(((left == right) | ((left != left) & (right != right))).all())


UNSTEADY = frozenset({"aten.linalg_lstsq.default"})
"""Kernels whose bits depend on where in memory their arguments lie."""


def verify_tape(tape: Tape) -> None:
    """Raise RecordingError unless a replay gives every value in `tape.live` bit for bit.

    To 1e-4 relative where a kernel does not repeat its own bits.
    """
    with by_default(tape.default):
        values = replay(tape, tape.live)
    exact = not any(node.op in UNSTEADY for node in tape.nodes)
    for ref, name in _named(tape):
        if ref in tape.live and not _agree(tape.live[ref], values[ref], exact):
            node = tape.nodes[ref.node]
            gap = float((tape.live[ref].double() - values[ref].double()).abs().max())
            raise RecordingError(
                f"the recording does not reproduce the script: {name} differs by {gap:.3g} (operation {node.op}). "
                "Suspected cause: something changed a tensor behind torch's back, such as a write through .numpy() or "
                "an extension. Try the same operation with torch",
                node.origin.source,
            )


def _named(tape: Tape) -> list[tuple[Ref, str]]:
    """Return marks and last parameters, in the order of the tape."""
    named = [(m.ref, f"{m.kind} {m.name!r} at step {m.step}") for m in tape.marks]
    named += [(p.versions[-1], f"parameter {p.name!r} after step {tape.steps}") for p in tape.parameters]
    return sorted(named, key=lambda pair: pair[0].node)


def _agree(live: Tensor, value: Tensor, exact: bool) -> bool:
    if live.shape != value.shape or live.dtype != value.dtype:
        return False
    if exact or not live.is_floating_point():
        return same(live, value)
    return torch.allclose(live, value, rtol=1e-4, atol=1e-6 + 1e-4 * float(live.abs().mean()), equal_nan=True)
