"""What does one operation of the script mean as a function of values? Every kind of aten operation, made functional.

`Operations` is the dispatch mode below the recorder. It reads the values of an operation's arguments, lets the operation
run, and appends functional nodes to the tape. In-place and out= operations become their functional overloads, views are
only registered, kernels of lists become ordinary operations. Where a node belongs (step, phase, module, source line)
is decided by the recorder above.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import PurePath
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from tpdyn.program.program import Origin, Source
from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.live.choices import Choices
from tpdyn.recorder.live.foreach import calls_of, per_tensor
from tpdyn.recorder.live.frames import called_by_user, user_frames, user_source
from tpdyn.recorder.live.hooks import StopRecording, Watch, name_within
from tpdyn.recorder.live.numbers import Numbers
from tpdyn.recorder.live.schemas import Operation, operation
from tpdyn.recorder.live.sparse import SparseTensors, dense, is_sparse, refused
from tpdyn.recorder.live.storage import Storages
from tpdyn.recorder.live.tape import InputKind, Meta, Node, Ref, Tape, behind, meta_of
from tpdyn.recorder.live.unrecorded import Unrecorded

aten = torch.ops.aten

BLANK = -(2.0**33)
"""What short new memory holds while it is recorded, to notice that torch itself fills it."""

SHORT, FLOATS = 4096, (torch.float32, torch.float64)

NAMELESS = 8
"""All variables are searched for a tensor from outside. After this many of one line that none holds, the search stops.
"""


class Operations(TorchDispatchMode, ABC):
    """Turns the operations that pass by into nodes of `_tape`."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Refuse a wrapper around every operation: compiled code runs eagerly while recording."""
        return False

    def __init__(self, width: int, watch: Watch, choices: Choices | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.watch = watch
        self._tape = Tape(width)
        self._nodes = self._tape.nodes
        self._storages = Storages(self._emit_view, self._enter)
        self._origin = Origin(phase="initialization")
        self._inputs: list[tuple[int, Tensor]] = []
        self._running: Any = None  # the overload that runs now
        self._sequence = -1  # its autograd sequence number
        self._noted: set[str] = set()
        self._numbers = Numbers(self._compute)
        self._sparse = SparseTensors(self._value, self._append, self._enter, self._storages.result, self._are_given)
        self._unrecorded = Unrecorded()
        self._blank: tuple[Node, Tensor] | None = None
        self._nameless: Counter[Source] = Counter()
        self._choices = choices or Choices()
        self._choices.begin()

    @abstractmethod
    def _note_origin(self, args: Any, kind: str) -> None:
        """Set `_origin` and `_sequence` of what is appended next."""

    @abstractmethod
    def _record_in_full(self) -> NoReturn:
        """End this recording: what ran unrecorded matters."""

    @abstractmethod
    def _watch_write(self, tensor: Tensor) -> None:
        """Note that a tensor is about to be written in place."""

    # -- operations -----------------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        facts = operation(func)
        kind = facts.kind
        if kind == "ignored" or self.watch.asleep:
            return func(*args, **kwargs)
        if kind == "composite":
            return self._decomposed(func, args, kwargs)
        if self.watch.stopped:
            raise StopRecording
        if self._unrecorded.active:
            out, kept_to_itself = self._unrecorded.run(func, facts, args, kwargs)
            if not kept_to_itself:
                self._record_in_full()
            self._choices.shared(func, args, out)
            return out
        self._running = func
        if self._blank is not None:
            self._filled()
        if types:
            self._refuse_subclasses(types)
        self._note_origin(args, kind)
        try:
            if kind == "view" and not isinstance(args[0], Tensor):  # a conjugated number: there is nothing to view
                kind, facts = "functional", replace(facts, functional=func)
            if kind == "functional":
                values, options = self._values(args), self._options(kwargs)
                for position, _ in facts.written:
                    if args[position] is not None:
                        self._watch_write(args[position])
                out = func(*args, **kwargs)
                if facts.random:
                    self._choices.shared(func, args, out)
                self._record_functional(func, facts, args, values, options, out)
                return out
            if kind == "view":
                out = func(*args, **kwargs)
                if isinstance(args[0], UninitializedTensorMixin):  # a lazy layer's parameter: no memory yet
                    return out
                self._storages.view(args[0], out, func, tuple(args[1:]), kwargs, self._origin)
                return out
            if kind == "in-place":
                return self._in_place(func, facts, args, kwargs)
            return getattr(self, "_" + kind)(func, facts, args, kwargs)
        except NotImplementedError as error:
            if "Cannot access storage" in str(error):
                if kind in ("functional", "view"):
                    return self._sparse.run(func, args, kwargs)
                raise refused(func) from error
            raise

    def _decomposed(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Let pass, one by one, the operations that torch makes of one. In inference mode it does not do so itself."""
        TorchDispatchMode.__enter__(self)  # type: ignore[no-untyped-call]
        try:
            return func.decompose(*args, **kwargs)
        finally:
            TorchDispatchMode.__exit__(self, None, None, None)  # type: ignore[no-untyped-call]

    def _record_functional(
        self, func: Any, facts: Operation, args: Any, values: tuple[Any, ...], options: dict[str, Any], out: Any
    ) -> None:
        results = out if isinstance(out, tuple | list) else (out,)
        tensors = [item if isinstance(item, Tensor) else None for item in results]
        if all(item is None for item in tensors):
            if func is aten._local_scalar_dense.default:
                self._note_number(values[0], out)
            return
        target = facts.functional
        hidden = [args[position] for position, _ in facts.written]  # running statistics, written without saying so
        if any(each is None for each in hidden):
            target, hidden = func, []  # batch normalisation without running statistics writes nothing
        value = None
        random_now = facts.random and not (facts.attention and self._draws_nothing(func, args, options))
        if random_now:
            value = tuple(None if t is None else t.detach().clone() for t in tensors)
            options.pop("generator", None)
        metas = tuple(None if t is None else meta_of(t) for t in (*tensors, *hidden))
        node = self._append(target, values, options, metas, value, random_now)
        for index, tensor in enumerate(tensors):
            if tensor is not None:
                self._storages.result(tensor, Ref(node, index))
        if func is aten.empty.memory_format and _is_short(out):
            self._blank = (self._nodes[node], out.fill_(BLANK))
        for index, tensor in enumerate(hidden, len(tensors)):
            self._write(tensor, Ref(node, index))

    def _filled(self) -> None:
        """Keep numbers that torch itself has put into new memory, as `ctc_loss` does with lengths that are a tuple."""
        assert self._blank is not None
        (node, tensor), self._blank = self._blank, None
        if bool((tensor != BLANK).any()):
            constant = tensor.numel() == 1 or bool(self.watch.module_stack)
            node.op, node.target, node.args, node.kwargs = "input", None, (), {}
            node.input_kind, node.value = "constant" if constant else "data", tensor.clone()

    def _in_place(self, func: Any, facts: Operation, args: Any, kwargs: Any) -> Any:
        target = args[0]
        self._watch_write(target)
        if func is aten.copy_.default:
            if target.dtype == torch.uint8 and self._storages.copied(target, args[1]):
                return func(*args, **kwargs)
            new = self._copied(target, args[1])
            out = func(*args, **kwargs)
            self._write(target, new)
            return out
        if func is aten.fill_.Scalar or func is aten.zero_.default:
            out = func(*args, **kwargs)
            self._write(target, self._full(target, args[1] if len(args) > 1 else 0))
            return out
        values, options = self._values(args), self._options(kwargs)
        out = func(*args, **kwargs)
        self._finish_writes(func, facts, [target], values, options)
        return out

    def _out(self, func: Any, facts: Operation, args: Any, kwargs: Any) -> Any:
        names = {name for _, name in facts.written}
        targets = [kwargs[name] if name in kwargs else args[position] for position, name in facts.written]
        for target in targets:
            self._watch_write(target)
        positions = {position for position, _ in facts.written}
        values = self._values(tuple(a for k, a in enumerate(args) if k not in positions))
        options = self._options({k: v for k, v in kwargs.items() if k not in names})
        out = func(*args, **kwargs)
        self._finish_writes(func, facts, targets, values, options)
        return out

    def _finish_writes(
        self, func: Any, facts: Operation, targets: list[Tensor], values: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        if facts.functional is None:
            raise RecordingError(
                f"{func} writes in place and has no functional overload; it cannot be recorded. "
                "Try the operation without the trailing underscore or out=",
                user_source(),
            )
        metas = tuple(meta_of(t) for t in targets)
        value = None
        if facts.random:
            value = tuple(t.detach().clone() for t in targets)
            options.pop("generator", None)
        elif facts.kind == "in-place":
            # `x += y` keeps the type of x where `x + y` may not.
            others = {self._meta(v).dtype for v in (*values, *options.values()) if isinstance(v, Ref) and not v.number}
            if others - {targets[0].dtype} or targets[0].dtype in (torch.bool, torch.int64, torch.int32):
                self._write_converted(facts, targets[0], values, options)
                return
        node = self._append(facts.functional, values, options, metas, value, facts.random)
        for index, target in enumerate(targets):
            self._write(target, Ref(node, index))

    def _write_converted(
        self, facts: Operation, target: Tensor, values: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        def stand_in(value: Any) -> Any:
            if isinstance(value, Ref):
                meta = self._meta(value)
                if value.number:
                    return 1.0
                return torch.empty(meta.shape, dtype=meta.dtype, device="meta")
            return [stand_in(item) for item in value] if isinstance(value, list) else value

        made = facts.functional(*map(stand_in, values), **{k: stand_in(v) for k, v in options.items()}).dtype
        shape = tuple(target.shape)
        ref = Ref(self._append(facts.functional, values, options, (Meta(shape, made),)))
        if made != target.dtype:
            ref = Ref(
                self._append(aten._to_copy.default, (ref,), {"dtype": target.dtype}, (Meta(shape, target.dtype),))
            )
        self._write(target, ref)

    def _copied(self, target: Tensor, source: Tensor) -> Ref:
        """Return the value of `target.copy_(source)`: broadcast, converted, laid out."""
        ref = self._storages.read(source)
        shape, dtype = tuple(target.shape), target.dtype
        if tuple(source.shape) != shape:
            ref = Ref(self._append(aten.expand.default, (ref, list(shape)), {}, (Meta(shape, source.dtype),)))
        if source.dtype != dtype:
            ref = Ref(self._append(aten._to_copy.default, (ref,), {"dtype": dtype}, (Meta(shape, dtype),)))
        elif source.stride() != target.stride():
            layout = {"memory_format": torch.contiguous_format} if target.is_contiguous() else {}
            ref = Ref(self._append(aten.clone.default, (ref,), layout, (Meta(shape, dtype),)))
        return ref

    def _split(self, func: Any, facts: Operation, args: Any, kwargs: Any) -> Any:
        """Register each piece as the view that it is: a slice, or one entry of a dim."""
        out = func(*args, **kwargs)
        unbinds = func is aten.unbind.int
        target = aten.select.int if unbinds else aten.slice.Tensor
        given = args[1:] if unbinds else args[2:]
        dim = (given[0] if given else kwargs.get("dim", 0)) % max(args[0].dim(), 1)
        start = 0
        for piece in out:
            end = start + (1 if unbinds else piece.shape[dim])
            where = (dim, start) if unbinds else (dim, start, end)
            self._storages.view(args[0], piece, target, where, {}, self._origin)
            start = end
        return out

    def _geometry(self, func: Any, facts: Operation, args: Any, kwargs: Any) -> Any:
        """Follow `transpose_`, `resize_` and the like: the tensor object gets another shape on its storage."""
        target = args[0]
        if facts.functional is None:
            if self._storages.knows(target) and func in (aten.resize_.default, aten.resize_as_.default):
                self._watch_write(target)
                before = target.untyped_storage().nbytes()
                out = func(*args, **kwargs)
                if target.untyped_storage().nbytes() != before or target.numel() == 0:
                    self._storages.create(target, self._garbage(target))
                return out
            return func(*args, **kwargs)  # set_: another storage, whose state is known or enters when read
        before = target.detach()
        out = func(*args, **kwargs)
        self._storages.view(before, target, facts.functional, tuple(args[1:]), kwargs, self._origin)
        return out

    def _garbage(self, tensor: Tensor) -> Ref:
        shape = tuple(tensor.shape)
        return Ref(self._append(aten.empty.memory_format, (list(shape),), {"dtype": tensor.dtype},
                                (Meta(shape, tensor.dtype),)))  # fmt: skip

    def _foreach(self, func: Any, facts: Operation, args: Any, kwargs: Any) -> Any:
        each = per_tensor(func)
        if each is None:
            raise RecordingError(
                f"{func} has no rule; expected an elementwise foreach operation. Try foreach=False", user_source()
            )
        calls = calls_of(func, args, kwargs)
        if not facts.written:
            out = func(*args, **kwargs)
            refs = [self._apply(each, *call, meta_of(tensor)) for call, tensor in zip(calls, out, strict=True)]
            for tensor, ref in zip(out, refs, strict=True):
                self._storages.result(tensor, ref)
            return out
        for tensor in args[0]:
            self._watch_write(tensor)
        for (mine, extra), tensor in zip(calls, args[0], strict=True):  # one after the other, as torch defines it
            if each is aten.copy_.default:
                new = self._copied(mine[0], mine[1])
            elif each is aten.zero_.default:
                new = self._full(tensor, 0)
            else:
                new = self._apply(each, mine, extra, meta_of(tensor))
            self._write(tensor, new)
        return func(*args, **kwargs)

    def _fused(self, func: Any, facts: Operation, args: Any, kwargs: Any) -> Any:
        raise RecordingError(
            f"the fused kernel {facts.name} outside of an optimizer of torch.optim; expected the plain one. Try fused=False",
            user_source(),
        )

    def _scaler(self, func: Any, facts: Operation, args: Any, kwargs: Any) -> Any:
        """Follow GradScaler: gradients times the inverse of the scale. Whether one is infinite, and the next scale, are numbers
        that the run gives."""
        if func is aten._amp_foreach_non_finite_check_and_unscale_.default:
            gradients, numbers, inverse = args[0], [args[1]], self._storages.read(args[2])
        elif func is aten._amp_update_scale_.default:
            gradients, numbers, inverse = [], [args[0], args[1]], None
        else:
            return self._in_place(func, facts, args, kwargs)
        for tensor in (*gradients, *numbers):
            self._watch_write(tensor)
        refs = [self._apply(aten.mul.Tensor, (g, inverse), {}, meta_of(g)) for g in gradients]
        out = func(*args, **kwargs)
        for tensor, ref in zip(gradients, refs, strict=True):
            self._write(tensor, ref)
        for tensor in numbers:
            self._write(tensor, self._full(tensor, tensor.item()))
        self._note("the scale of GradScaler is recorded as the numbers that it had")
        return out

    def _full(self, like: Tensor, number: Any) -> Ref:
        shape, options = tuple(like.shape), {"dtype": like.dtype, "device": like.device}
        return Ref(self._append(aten.full.default, (list(shape), number), options, (Meta(shape, like.dtype),)))

    def _apply(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], meta: Meta) -> Ref:
        return Ref(self._append(target, self._values(args), self._options(kwargs), (meta,)))

    # -- values ---------------------------------------------------------------------------------------------------

    def _values(self, args: Any) -> tuple[Any, ...]:
        if self._numbers:
            return tuple(map(self._value, args))
        read = self._storages.read
        return tuple([
            read(a) if isinstance(a, Tensor) else self._list(a) if isinstance(a, (list, tuple)) else a for a in args
        ])  # fmt: skip

    def _options(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        if not kwargs:
            return {}
        return {key: self._value(value) for key, value in kwargs.items()}

    def _value(self, argument: Any) -> Any:
        if isinstance(argument, Tensor):
            return self._storages.read(argument)
        return self._list(argument) if isinstance(argument, (list, tuple)) else self._numbers.find(argument)

    def _list(self, items: Any) -> list[Any]:
        read, find = self._storages.read, self._numbers.find
        return [read(a) if isinstance(a, Tensor) else find(a) for a in items]

    def _meta(self, ref: Ref) -> Meta:
        meta = self._nodes[ref.node].outputs[ref.output]
        assert meta is not None
        return meta

    def _append(
        self,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: tuple[Meta | None, ...],
        value: Any = None,
        random_now: bool = False,
    ) -> int:
        nodes = self._nodes
        nodes.append(Node(
            overload_name(target), target, args, kwargs, outputs, self._origin, None, "", value, random_now, self._sequence,
        ))  # fmt: skip
        return len(nodes) - 1

    def _emit_view(
        self,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        shape: tuple[int, ...],
        dtype: torch.dtype,
        origin: Origin | None,
    ) -> Ref:
        """Return a view that is read now: it belongs to where it was made, if that was in this step."""
        ref = Ref(self._append(target, args, kwargs, (Meta(shape, dtype),)))
        reader = self._origin
        if origin is not None and origin.step == reader.step:
            early = origin.phase == "forward" and reader.phase in ("initialization", "data")
            self._nodes[ref.node].origin = replace(origin, phase=reader.phase) if early else origin
        return ref

    def _write(self, tensor: Tensor, ref: Ref) -> None:
        self._storages.write(tensor, ref)

    def _enter(self, tensor: Tensor) -> Ref:
        """Return a tensor from outside of the recording."""
        if tensor.is_nested:
            raise RecordingError("a nested tensor; expected ordinary tensors. Try padding", user_source())
        if self._unrecorded.made(tensor):
            return self._enter_unrecorded(tensor)
        kind: InputKind = "data"
        if isinstance(tensor, nn.Parameter) or (tensor.requires_grad and tensor.is_leaf):
            kind = "parameter"
        elif tensor.dim() == 0 or (
            self._running is aten.lift_fresh.default and (tensor.numel() == 1 or self.watch.module_stack)
        ):
            kind = "constant"
        elif self.watch.in_optimizer:  # the state of an optimizer that was stepped before
            kind = "buffer"
        name = self._variable_of(tensor) if kind == "data" else ""
        node = Node(
            "input", None, (), {}, (meta_of(tensor),), self._origin, kind, name,
            dense(tensor) if is_sparse(tensor) else tensor.detach().clone(),
        )  # fmt: skip
        self._nodes.append(node)
        if not is_sparse(tensor):
            self._inputs.append((len(self._nodes) - 1, tensor))
        return Ref(len(self._nodes) - 1)

    def _variable_of(self, tensor: Tensor) -> str:
        """Name the variable that holds a tensor; '' if none does, as at this line several times before."""
        source = self._origin.source
        if self._nameless[source] >= NAMELESS:
            return ""
        for frame in user_frames():
            for variable, held in frame.f_locals.items():
                found = name_within(variable, held, tensor)
                if found is not None:
                    return found
        self._nameless[source] += 1
        return ""

    def _enter_unrecorded(self, tensor: Tensor) -> Ref:
        self._nodes.append(Node("input", None, (), {}, (meta_of(tensor),), self._origin, "data"))
        self._unrecorded.nodes.append(len(self._nodes) - 1)
        return Ref(len(self._nodes) - 1)

    # -- notes and refusals ---------------------------------------------------------------------------------------

    def _note(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self._tape.notes.append(text)

    def _note_number(self, ref: Ref, number: Any) -> None:
        if isinstance(number, float) and self._varies(ref):
            self._numbers.take(number, ref)
        if called_by_user():
            source = self._origin.source
            place = f"{PurePath(source.file).name}:{source.line}"
            self._note(f"a number leaves the tensors through .item() at {place}: {source.text}")

    def _are_given(self, arguments: Any) -> bool:
        """Whether nothing in some arguments needs a gradient, was drawn (but whole numbers), or depends on a parameter."""
        for tensor in pytree.tree_leaves(arguments):
            if not isinstance(tensor, Tensor):
                continue
            if tensor.requires_grad or tensor.is_nested:
                return False
            if is_sparse(tensor):
                held = self._sparse.known(tensor)
                kinds = iter(()) if held is None else self._behind(held)
            else:
                kinds = self._behind(self._storages.read(tensor))
            if any(_draws_numbers(node) or node.input_kind == "parameter" for node in kinds):
                return False
        return True

    def _behind(self, ref: Ref) -> Iterator[Node]:
        """List the nodes on which a value depends."""
        return (self._nodes[index] for index in behind(self._nodes, [ref]))

    def _varies(self, ref: Ref) -> bool:
        """Tell whether a value depends on parameters, data or draws: the counters of an optimizer do not."""
        return any(node.random or (node.op == "input" and node.input_kind != "constant") for node in self._behind(ref))

    def _compute(self, overload: Any, operands: tuple[Any, ...]) -> Ref:
        """Record one operation of Python's on numbers, as one on tensors without dims in float64."""
        self._note_origin((), "functional")
        meta, double = Meta((), torch.float64), {"dtype": torch.float64}
        if overload is aten._to_copy.default:
            return Ref(self._append(overload, operands, double, (meta,)))
        written = (
            x if isinstance(x, Ref) else Ref(self._append(aten.full.default, ([], x), double, (meta,)))
            for x in operands
        )
        return Ref(self._append(overload, tuple(written), {}, (meta,)))

    def _draws_nothing(self, func: Any, args: Any, options: dict[str, Any]) -> bool:
        """Whether an attention kernel drops nothing."""
        given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False))
        return not (given | options).get("dropout_p", 0.0)

    def _refuse_subclasses(self, types: Any) -> None:
        for kind in types:
            if kind.__name__ in ("DTensor", "NestedTensor", "AsyncCollectiveTensor"):
                raise RecordingError(
                    f"a tensor of type {kind.__name__}; expected ordinary tensors. Try to record the unwrapped model in "
                    "one process",
                    user_source(),
                )


def _is_short(tensor: Tensor) -> bool:
    """Tell whether torch itself may have made it of a list of numbers: a vector of few, with values."""
    ordinary = type(tensor) is Tensor and tensor.device.type != "meta"
    return ordinary and tensor.dim() == 1 and tensor.numel() <= SHORT and tensor.dtype in (torch.int64, *FLOATS)


def _draws_numbers(node: Node) -> bool:
    """Whether a node draws real numbers. Of whole ones (edges of a random graph), only which are drawn can matter."""
    return node.random and any(meta is not None and meta.dtype.is_floating_point for meta in node.outputs)


overload_name: Callable[[Any], str] = cache(str)
"""A name such as 'aten.addmm.default'; asked for each operation."""
