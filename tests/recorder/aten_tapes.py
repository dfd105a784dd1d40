"""Does a rule of the lowering give what the aten operation gives? `check` records a function, lowers it, and compares.

Tapes are made here without the recorder: a dispatch mode for functional code, every tensor its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from tpdyn.program.program import Origin, Source
from tpdyn.recorder.live.schemas import operation
from tpdyn.recorder.live.tape import Meta, Node, Ref, Tape, TapeMark, TapeParameter
from tpdyn.recorder.lowered import Lowered
from tpdyn.recorder.lowering import lower
from tpdyn.recorder.lowering.evaluate import evaluate


class TinyRecorder(TorchDispatchMode):
    """Appends a node an operation; tensors are known by identity and kept alive."""

    def __init__(self) -> None:
        super().__init__()
        self.tape = Tape(width=1)
        self.refs: dict[int, Ref] = {}
        self.kept: list[Any] = []
        self.origin = Origin(source=Source("tiny.py", 1, "y = f(x)"))

    def outputs_of(self, result: Any) -> tuple[Any, ...]:
        return tuple(result) if isinstance(result, (tuple, list)) else (result,)

    def add(self, node: Node, outputs: tuple[Any, ...]) -> None:
        for number, output in enumerate(outputs):
            if isinstance(output, torch.Tensor):
                self.refs[id(output)] = Ref(len(self.tape.nodes), number)
                self.kept.append(output)
        self.tape.nodes.append(node)

    def input(self, tensor: torch.Tensor, kind: Any, name: str) -> Ref:
        self.add(
            Node(
                "input",
                None,
                (),
                {},
                (Meta(tuple(tensor.shape), tensor.dtype),),
                self.origin,
                kind,
                name,
                tensor.detach().clone(),
            ),
            (tensor,),
        )
        return self.refs[id(tensor)]

    def ref(self, tensor: torch.Tensor) -> Ref:
        if id(tensor) not in self.refs:
            self.input(tensor, "constant", f"c{len(self.tape.nodes)}")
        return self.refs[id(tensor)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func.overloadpacket._qualified_op_name == "aten::detach":  # an alias: the same tensor
            self.refs[id(result)] = self.ref(args[0])
            self.kept.append(result)
            return result
        as_ref = lambda x: self.ref(x) if isinstance(x, torch.Tensor) else x  # noqa: E731
        outputs = self.outputs_of(result)
        facts = operation(func)
        func = facts.functional if facts.kind == "in-place" else func
        random = torch.Tag.nondeterministic_seeded in func.tags
        node = Node(
            f"aten.{func.overloadpacket.__name__}.{func._overloadname}",
            func,
            tree_map(as_ref, args),
            tree_map(as_ref, kwargs),
            tuple(Meta(tuple(o.shape), o.dtype) if isinstance(o, torch.Tensor) else None for o in outputs),
            self.origin,
            value=tuple(o.clone() if isinstance(o, torch.Tensor) else o for o in outputs) if random else None,
            random=random,
        )
        self.add(node, outputs)
        return result


def lowered_outputs(
    function: Callable[..., Any], parameters: list[torch.Tensor], data: list[torch.Tensor] | None = None
) -> tuple[Lowered, list[torch.Tensor], list[torch.Tensor]]:
    """Record function(*parameters, *data), lower it, evaluate it: (lowered, its outputs, torch's outputs)."""
    data = data or []
    recorder = TinyRecorder()
    refs = [recorder.input(x, "parameter", f"w{k}") for k, x in enumerate(parameters)]
    for k, x in enumerate(data):
        recorder.input(x, "data", f"x{k}")
    with recorder:
        result = function(*parameters, *data)
    expected = [x for x in recorder.outputs_of(result) if x is not None]
    tape = recorder.tape
    tape.parameters = [TapeParameter(f"w{k}", [ref], []) for k, ref in enumerate(refs)]
    tape.marks = [TapeMark("output", f"out{k}", 0, recorder.ref(x)) for k, x in enumerate(expected)]
    lowered = lower(tape)
    values = evaluate(lowered)
    return lowered, [values[mark.var] for mark in lowered.marks], [x.detach() for x in expected]


def check(
    function: Callable[..., Any],
    parameters: list[torch.Tensor],
    data: list[torch.Tensor] | None = None,
    tolerance: float = 1e-12,
) -> Lowered:
    """Assert that the lowered program gives torch's outputs, entry by entry, to `tolerance` of their size."""
    lowered, found, expected = lowered_outputs(function, parameters, data)
    assert len(found) == len(expected) > 0
    for got, want in zip(found, expected):
        assert got.shape == want.shape
        size = max(1.0, float(want.abs().max())) if want.numel() else 1.0
        assert float((got - want).abs().max()) <= tolerance * size if want.numel() else True
    return lowered


def with_gradients(function: Callable[..., torch.Tensor], count: int) -> Callable[..., Any]:
    """function's output, and the gradients of a generic linear form of it with respect to its first `count` arguments."""

    def both(*tensors: torch.Tensor) -> Any:
        inputs = [x.detach().requires_grad_() for x in tensors[:count]]
        out = function(*inputs, *tensors[count:])
        weights = torch.linspace(-1.0, 1.3, out.numel(), dtype=out.dtype).reshape(out.shape)
        gradients = torch.autograd.grad((out * weights).sum(), inputs, allow_unused=True)
        return (out, *gradients)

    return both


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)), dtype=torch.float64)


def positive(*shape: int, seed: int = 0) -> torch.Tensor:
    return draw(*shape, seed=seed).abs() + 0.3
