"""What does a training loop do, operation by operation? The recorder runs it and writes a `Tape`.

`Recorder` is a dispatch mode: every aten operation of the script passes through it, forward, backward, optimizer and
initialisation alike, while the script runs as always. In-place writes and views become values (`storage.py`), list and
fused kernels ordinary operations (`foreach.py`). Steps, modules and parameters come from `Watch`.

    tape = record_tape(train, width=16, steps=3, seed=0)
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from tpdyn.program.program import Origin, Phase, Source
from tpdyn.recording.errors import RecordingError
from tpdyn.recording.finish import finished_tape, refs_in
from tpdyn.recording.foreach import calls_of, fused_formulas, per_tensor
from tpdyn.recording.frames import called_by_user, is_user_file, source_at, user_frames, user_source
from tpdyn.recording.hooks import (
    StopRecording,
    Watch,
    _name_within,
    first_float_tensor,
    held_by_an_optimizer,
    trained_leaves,
)
from tpdyn.recording.schemas import Operation, operation
from tpdyn.recording.storage import Storages
from tpdyn.recording.tape import InputKind, Meta, Node, Ref, Tape, TapeMark, TapeParameter

__all__ = ["Recorder", "RecordingError", "StopRecording", "record_tape"]

aten = torch.ops.aten
_current_task = torch._C._current_graph_task_id
_current_node = torch._C._current_autograd_node
_next_sequence = torch._C._autograd._get_sequence_nr


@final
class Recorder(TorchDispatchMode):
    """Records the `with` block; afterwards `tape` holds the recording.

    width: the width at which the script runs (a label). steps: stop the script after that many optimizer steps (None:
    record to the end of the block). Parameters that existed before are inputs of kind "parameter".
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No wrapper around every operation: compiled code runs eagerly while recording."""
        return False

    def __init__(self, width: int = 0, steps: int | None = None) -> None:
        super().__init__()
        self.watch = Watch(
            limit=steps,
            on_module_enter=self._on_module_enter,
            on_module_exit=self._on_module_exit,
            on_step_begin=self._on_step_begin,
            on_step_end=self._on_step_end,
            on_other_step_begin=self._on_step_begin,
            on_other_step_end=self._on_step_end,
            on_backward=self._on_backward,
            on_backward_end=self._on_backward_end,
            on_output=self._on_output,
            on_boundary=self._complete_hand_written_step,
            detect_hand_written_steps=False,
        )
        self._tape = Tape(width)
        self._finished: Tape | None = None
        self._nodes = self._tape.nodes
        self._storages = Storages(self._emit_view, self._enter)
        self._origin = Origin(phase="initialization")
        self._origins: dict[tuple[int, str, str, Source], Origin] = {}
        self._by_sequence: dict[int, tuple[str, Source]] = {}
        self._started = False  # a forward or backward pass has begun
        self._after_backward = False  # since the last completed step
        self._backward_end = 0  # number of nodes when the last backward pass ended
        self._backwards_at_step_end = 0
        self._parameters: dict[int, tuple[Tensor, TapeParameter]] = {}
        self._inputs: list[tuple[int, Tensor]] = []
        self._leaves: dict[int, Tensor] = {}  # storage -> trained leaf, in loops without an optimizer so far
        self._functional_gradients: dict[int, Ref] = {}  # id(leaf) -> gradient that autograd.grad returned
        self._hand_written = False  # a step by hand has begun
        self._exempt: set[int] = set()  # storages that an optimizer steps
        self._losses: dict[int, int] = {}
        self._noted: set[str] = set()
        self._running: Any = None  # the overload that runs now
        self._sequence = -1  # its autograd sequence number
        self._backward_source = Source()  # the line that called backward
        self._stepping: list[Tensor] = []  # the parameters of the optimizer that steps now
        self._fused_kernels: tuple[bool, bool] | None = None  # mkldnn and cudnn as they were, while switched off
        self._late = False  # a further optimizer steps, after the one that counts the steps

    @property
    def tape(self) -> Tape:
        """The recording; raises RecordingError while it is still running."""
        if self._finished is None:
            raise RecordingError("the recording is not finished; expected to be asked after the `with` block")
        return self._finished

    # -- life -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Recorder:
        self.watch.__enter__()
        self._compile = torch.compile
        if "torch._dynamo" in sys.modules:
            torch.compiler.set_stance("force_eager")
        torch.compile = self._compile_eagerly  # type: ignore[assignment]
        super().__enter__()
        return self

    def _compile_eagerly(self, *args: Any, **kwargs: Any) -> Any:
        """Compiled code is opaque: it runs eagerly while recording."""
        torch.compiler.set_stance("force_eager")
        return self._compile(*args, **kwargs)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        super().__exit__(kind, error, trace)
        self._restore_fused_kernels()
        torch.compile = self._compile  # type: ignore[assignment]
        if "torch._dynamo" in sys.modules:
            torch.compiler.set_stance("default")
        swallowed = self.watch.__exit__(kind, error, trace)
        if kind is None or swallowed or issubclass(kind, SystemExit):
            self._finish()
        self._storages = Storages(self._emit_view, self._enter)  # let go of the script's tensors
        self._parameters, self._inputs, self._leaves = {}, [], {}
        return swallowed

    def _finish(self) -> None:
        """Close the tape: the last values, names, pruning."""
        for tensor, parameter in self._parameters.values():
            if self._storages.read(tensor) == parameter.versions[-1]:
                self._keep(parameter.versions[-1], tensor)
        known = {**self.watch.parameters(), **self.watch.buffers()}
        now = {name: self._storages.read(tensor) for name, tensor in known.items()}
        self._finished = finished_tape(self._tape, self.watch, list(self._parameters.values()), self._inputs, now)

    # -- operations -----------------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        facts = operation(func)
        kind = facts.kind
        if kind == "ignored":
            return func(*args, **kwargs)
        if self.watch.stopped:
            raise StopRecording
        self._running = func
        if types:
            self._refuse_subclasses(types)
        self._place(args, kind)
        try:
            if kind == "functional":
                values, options = self._values(args), self._options(kwargs)
                out = func(*args, **kwargs)
                self._record_functional(func, facts, args, values, options, out)
                return out
            if kind == "view":
                out = func(*args, **kwargs)
                self._storages.view(args[0], out, func, tuple(args[1:]), kwargs, self._origin)
                return out
            if kind == "in-place":
                return self._in_place(func, facts, args, kwargs)
            return getattr(self, "_" + kind)(func, facts, args, kwargs)
        except NotImplementedError as error:
            if "Cannot access storage" in str(error):
                raise RecordingError(
                    f"{func} makes or takes a tensor that is not dense (sparse or nested); expected dense tensors. "
                    "Try sparse=False in the embedding, or padding",
                    self._origin.source,
                ) from error
            raise

    def _record_functional(
        self, func: Any, facts: Operation, args: Any, values: tuple[Any, ...], options: dict[str, Any], out: Any
    ) -> None:
        results = out if isinstance(out, tuple | list) else (out,)
        tensors = [item if isinstance(item, Tensor) else None for item in results]
        if all(item is None for item in tensors):
            self._note_number(func, facts)
            return
        target = facts.functional
        random_now = facts.random
        if random_now and facts.attention:
            random_now = self._attention_is_random(func, args, options)
        metas = tuple(None if t is None else Meta(tuple(t.shape), t.dtype) for t in tensors)
        if facts.written:  # running statistics, written without saying so
            hidden = [args[position] for position, _ in facts.written]
            metas += tuple(Meta(tuple(t.shape), t.dtype) for t in hidden if t is not None)
        else:
            hidden = []
        value = None
        if random_now:
            value = tuple(None if t is None else t.detach().clone() for t in tensors)
            options.pop("generator", None)
        node = self._append(target, values, options, metas, value, random_now)
        result = self._storages.result
        for index, tensor in enumerate(tensors):
            if tensor is not None:
                result(tensor, Ref(node, index))
        for extra, tensor in enumerate(hidden):
            if tensor is not None:
                self._write(tensor, Ref(node, len(tensors) + extra))

    def _in_place(self, func: Any, facts: Operation, args: Any, kwargs: Any) -> Any:
        target = args[0]
        self._watch_write(target)
        if func is aten.copy_.default:
            new = self._copied(target, args[1])
            out = func(*args, **kwargs)
            self._write(target, new)
            return out
        if func is aten.fill_.Scalar or func is aten.zero_.default:
            out = func(*args, **kwargs)
            shape = tuple(target.shape)
            number = args[1] if len(args) > 1 else 0
            full = {"dtype": target.dtype, "device": target.device}
            node = self._append(aten.full.default, (list(shape), number), full, (Meta(shape, target.dtype),))
            self._write(target, Ref(node))
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
        metas = tuple(Meta(tuple(t.shape), t.dtype) for t in targets)
        value = None
        if facts.random:
            value = tuple(t.detach().clone() for t in targets)
            options.pop("generator", None)
        elif facts.kind == "in-place":
            # `x += y` keeps the type of x where `x + y` may not.
            others = {self._meta(v).dtype for v in (*values, *options.values()) if isinstance(v, Ref)}
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
        """The value of `target.copy_(source)`: broadcast, converted, laid out."""
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
        out = func(*args, **kwargs)
        dim = args[2] if len(args) > 2 else kwargs.get("dim", 0)
        dim %= max(args[0].dim(), 1)
        start = 0
        for piece in out:
            end = start + piece.shape[dim]
            self._storages.view(args[0], piece, aten.slice.Tensor, (dim, start, end), {}, self._origin)
            start = end
        return out

    def _unbind(self, func: Any, facts: Operation, args: Any, kwargs: Any) -> Any:
        out = func(*args, **kwargs)
        dim = args[1] if len(args) > 1 else kwargs.get("dim", 0)
        dim %= max(args[0].dim(), 1)
        for index, piece in enumerate(out):
            self._storages.view(args[0], piece, aten.select.int, (dim, index), {}, self._origin)
        return out

    def _geometry(self, func: Any, facts: Operation, args: Any, kwargs: Any) -> Any:
        """`transpose_`, `resize_` and the like: the tensor object gets another shape on its storage."""
        target = args[0]
        if facts.functional is None:
            if self._storages.knows(target) and func is aten.resize_.default:
                before = target.untyped_storage().nbytes()
                out = func(*args, **kwargs)
                if target.untyped_storage().nbytes() != before or target.numel() == 0:
                    self._storages.replace(target, self._garbage(target))
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
        in_place = bool(facts.written)
        if in_place:
            for tensor in args[0]:
                self._watch_write(tensor)
        refs = []
        if in_place:  # one after the other, as torch defines it
            for (mine, extra), tensor in zip(calls, args[0], strict=True):
                if each is aten.copy_.default:
                    new = self._copied(mine[0], mine[1])
                elif each is aten.zero_.default:
                    full = {"dtype": tensor.dtype, "device": tensor.device}
                    shape = tuple(tensor.shape)
                    new = Ref(self._append(aten.full.default, (list(shape), 0), full, (Meta(shape, tensor.dtype),)))
                else:
                    new = self._apply(each, mine, extra, Meta(tuple(tensor.shape), tensor.dtype))
                self._write(tensor, new)
            return func(*args, **kwargs)
        out = func(*args, **kwargs)
        for (mine, extra), tensor in zip(calls, out, strict=True):
            refs.append(self._apply(each, mine, extra, Meta(tuple(tensor.shape), tensor.dtype)))
        for tensor, ref in zip(out, refs, strict=True):
            self._storages.result(tensor, ref)
        return out

    def _fused(self, func: Any, facts: Operation, args: Any, kwargs: Any) -> Any:
        def apply(overload: Any, *values: Any, **extra: Any) -> Ref:
            meta = self._meta(values[0])
            return Ref(self._append(overload, values, extra, (meta,)))

        writes = fused_formulas(func, args, kwargs, apply, self._storages.read)
        out = func(*args, **kwargs)
        for tensor, ref in writes:
            self._write(tensor, ref)
        self._note(f"the fused kernel {facts.name} is recorded as its formulas: a replay agrees up to round-off")
        return out

    def _apply(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], meta: Meta) -> Ref:
        return Ref(self._append(target, self._values(args), self._options(kwargs), (meta,)))

    # -- values ---------------------------------------------------------------------------------------------------

    def _values(self, args: Any) -> tuple[Any, ...]:
        read = self._storages.read
        return tuple([
            read(a) if isinstance(a, Tensor) else self._list(a) if isinstance(a, (list, tuple)) else a for a in args
        ])  # fmt: skip

    def _options(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        if not kwargs:
            return {}
        read = self._storages.read
        return {
            k: read(a) if isinstance(a, Tensor) else self._list(a) if isinstance(a, list | tuple) else a
            for k, a in kwargs.items()
        }

    def _list(self, items: Any) -> list[Any]:
        read = self._storages.read
        return [read(a) if isinstance(a, Tensor) else a for a in items]

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
        """A view that is read now belongs to where it was made, if that was in this step."""
        ref = Ref(self._append(target, args, kwargs, (Meta(shape, dtype),)))
        if origin is not None and origin.step == self._origin.step:
            self._nodes[ref.node].origin = origin
        return ref

    def _write(self, tensor: Tensor, ref: Ref) -> None:
        self._storages.write(tensor, ref)

    def _enter(self, tensor: Tensor) -> Ref:
        """A tensor from outside of the recording."""
        if tensor.layout != torch.strided:
            raise RecordingError(
                f"a tensor of layout {tensor.layout}; expected dense tensors. Try sparse=False in the embedding",
                user_source(),
            )
        if tensor.is_nested:
            raise RecordingError("a nested tensor; expected ordinary tensors. Try padding", user_source())
        kind: InputKind = "data"
        if isinstance(tensor, nn.Parameter) or (tensor.requires_grad and tensor.is_leaf):
            kind = "parameter"
        elif tensor.dim() == 0 or (
            self._running is aten.lift_fresh.default and (tensor.numel() == 1 or self.watch.module_stack)
        ):
            kind = "constant"
        elif self.watch.in_optimizer:  # the state of an optimizer that was stepped before
            kind = "buffer"
        name = ""
        if kind == "data":
            for frame in user_frames():
                for variable, held in frame.f_locals.items():
                    found = _name_within(variable, held, tensor)
                    if found is not None:
                        name = found
                        break
                if name:
                    break
        node = Node(
            "input", None, (), {}, (Meta(tuple(tensor.shape), tensor.dtype),), self._origin, kind, name,
            tensor.detach().clone(),
        )  # fmt: skip
        self._nodes.append(node)
        self._inputs.append((len(self._nodes) - 1, tensor))
        return Ref(len(self._nodes) - 1)

    # -- places ---------------------------------------------------------------------------------------------------

    def _place(self, args: Any, kind: str) -> None:
        """Set the origin of what is appended next: step, phase, module, source line."""
        watch = self.watch
        stack = watch.module_stack
        self._sequence = -1
        if _current_task() != -1:
            node = _current_node()
            number = node._sequence_nr() if node is not None else -1
            variable = getattr(node, "variable", None)
            if variable is not None:
                name = watch._names.get(id(variable), "")
                module, source = name.rpartition(".")[0], self._backward_source
            else:
                module, source = self._by_sequence.get(number, ("", self._backward_source))
                self._sequence = number
            self._set_origin(watch.step, "backward", module, source)
            return
        source = user_source()
        if stack:
            module = _path(stack)
            phase: Phase = "forward"
            if not self._started:
                self._started = True
        else:
            module = ""
            differentiable = torch.is_grad_enabled() and _any_requires_grad(args)
            if watch.in_optimizer and not torch.is_grad_enabled():
                phase = "optimizer"
            elif differentiable and kind in ("functional", "in-place"):
                if self._hand_written:
                    self._complete_hand_written_step()
                phase = "forward"
                self._started = True
            elif not self._started:
                phase = "initialization"
            elif self._after_backward and not torch.is_grad_enabled():
                phase = "optimizer"
            else:
                phase = "data"
        step = watch.step
        if self._late and watch.in_optimizer:
            step -= 1
        number = _next_sequence() - 1
        if torch.is_grad_enabled() and number not in self._by_sequence:
            self._by_sequence[number] = (module, source)
            self._sequence = number
        self._set_origin(step, phase, module, source)

    def _set_origin(self, step: int, phase: Phase, module: str, source: Source) -> None:
        origin = self._origin
        if origin.source is source and origin.phase == phase and origin.module == module and origin.step == step:
            return
        key = (step, phase, module, source)
        found = self._origins.get(key)
        if found is None:
            found = self._origins[key] = Origin(step, phase, module, source)
        self._origin = found

    # -- events ---------------------------------------------------------------------------------------------------

    def _on_module_enter(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        if isinstance(module, nn.RNNBase):  # the fused kernels are opaque
            if self._fused_kernels is None:
                self._fused_kernels = torch._C._get_mkldnn_enabled(), torch._C._get_cudnn_enabled()
            torch._C._set_mkldnn_enabled(False)
            torch._C._set_cudnn_enabled(False)
            self._note(f"{type(module).__name__} is recorded without its fused kernels: the same up to round-off")

    def _restore_fused_kernels(self) -> None:
        if self._fused_kernels is not None:
            torch._C._set_mkldnn_enabled(self._fused_kernels[0])
            torch._C._set_cudnn_enabled(self._fused_kernels[1])
            self._fused_kernels = None

    def _on_module_exit(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if isinstance(module, nn.RNNBase):
            self._restore_fused_kernels()
        if name and not name.startswith("#"):
            self._mark("module", name, output)

    def _on_output(self, name: str, output: Any) -> None:
        self._mark("output", name, output)

    def _mark(self, kind: Literal["module", "output", "loss"], name: str, output: Any) -> None:
        tensor = first_float_tensor(output)
        if tensor is None or tensor.layout != torch.strided:
            return
        ref = self._storages.read(tensor)
        self._tape.marks.append(TapeMark(kind, name, self.watch.step, ref))
        self._keep(ref, tensor)

    def _keep(self, ref: Ref, tensor: Tensor) -> None:
        if ref not in self._tape.live:
            with _disable_current_modes(), torch.no_grad():
                self._tape.live[ref] = tensor.detach().clone()

    def _on_backward(self, losses: tuple[Tensor, ...], gradients: Any) -> None:
        self._backward_source = user_source()
        self._started = True
        step = self.watch.step
        for loss in losses:
            count = self._losses[step] = self._losses.get(step, 0) + 1
            self._mark("loss", "loss" if count == 1 else f"loss#{count}", loss)
        for gradient in gradients or ():
            if isinstance(gradient, Tensor) and self._storages.knows(gradient):
                node = self._nodes[self._storages.read(gradient).node]
                node.origin = replace(node.origin, phase="backward")
        if not self.watch.optimizers:
            new = {leaf.untyped_storage()._cdata: leaf for leaf in trained_leaves(losses)}
            new = {key: leaf for key, leaf in new.items() if key not in self._leaves and key not in self._exempt}
            held = held_by_an_optimizer(new.values()) if new else set()
            for key, leaf in new.items():
                if id(leaf) in held:
                    self._exempt.add(key)
                else:
                    self._leaves[key] = leaf
        elif self._leaves:
            self._leaves.clear()

    def _on_backward_end(self, losses: tuple[Tensor, ...], results: Any, inputs: Any) -> None:
        self._after_backward = True
        self._backward_end = len(self._nodes)
        if self.watch.in_optimizer:  # in a closure: these are the gradients that the step will use
            self._note_gradients([(p, p.grad) for p in self._stepping])
        if self._leaves and isinstance(results, tuple) and inputs:
            for leaf, gradient in zip(inputs, results, strict=False):
                if isinstance(leaf, Tensor) and isinstance(gradient, Tensor):
                    self._functional_gradients[id(leaf)] = self._storages.read(gradient)

    def _on_step_begin(self, optimizer: Optimizer | None) -> None:
        if optimizer is None:
            return
        if isinstance(optimizer, LBFGS):
            raise RecordingError(
                "LBFGS evaluates the loss an unknown number of times a step; expected an optimizer that steps once a "
                "gradient. Try SGD or Adam",
                user_source(),
            )
        self._hand_written = False
        self._leaves.clear()
        watch = self.watch
        self._late = (
            optimizer is not watch.optimizers[0] and watch.step > 0 and watch.backwards == self._backwards_at_step_end
        )
        self._set_origin(self.watch.step, "optimizer", "", user_source())
        self._stepping = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        self._note_gradients([(p, p.grad) for p in self._stepping])

    def _note_gradients(self, pairs: list[tuple[Tensor, Tensor | None]], refs: dict[int, Ref] | None = None) -> None:
        """versions and gradients of the tensors that are about to be stepped."""
        step = self.watch.step - self._late
        for tensor, gradient in pairs:
            entry = self._parameters.get(id(tensor))
            if entry is None:
                entry = self._parameters[id(tensor)] = (tensor, TapeParameter(""))
            parameter = entry[1]
            now = self._storages.read(tensor)
            while len(parameter.versions) <= step:
                parameter.versions.append(now)
            while len(parameter.gradients) < step:
                parameter.gradients.append(None)
            ref: Ref | None = None
            if gradient is not None:
                if gradient.layout != torch.strided:
                    raise RecordingError(
                        f"the gradient of {self.watch.name_of(tensor)} is sparse; expected dense gradients. "
                        "Try sparse=False in the embedding",
                        user_source(),
                    )
                ref = self._storages.read(gradient)
            elif refs:
                ref = refs.get(id(tensor))
            del parameter.gradients[step:]
            parameter.gradients.append(ref)

    def _on_step_end(self, optimizer: Optimizer | None) -> None:
        counted = optimizer is None or optimizer is self.watch.optimizers[0]
        step = self.watch.step
        for tensor, parameter in self._parameters.values():
            now = self._storages.read(tensor)
            while len(parameter.versions) < step:
                parameter.versions.append(parameter.versions[-1])
            del parameter.versions[step:]
            parameter.versions.append(now)
            while len(parameter.gradients) < step:
                parameter.gradients.append(None)
        if counted:
            self._backwards_at_step_end = self.watch.backwards
            self._after_backward = False
            self._functional_gradients.clear()
        self._late = False
        self._tape.steps = step

    # -- steps written by hand ------------------------------------------------------------------------------------

    def _watch_write(self, tensor: Tensor) -> None:
        """Is this write the beginning of an optimizer step written by hand?"""
        leaves = self._leaves
        if not leaves or _current_task() != -1 or self.watch.in_optimizer or self.watch.module_stack:
            return
        leaf = leaves.get(tensor.untyped_storage()._cdata)
        if leaf is None:
            return
        if not self._hand_written:
            if not self._after_backward:
                return
            self._hand_written = True
            self._note_gradients([(p, p.grad) for p in leaves.values()], self._functional_gradients)
            for p in leaves.values():
                self.watch.name_of(p)
        if self._origin.phase != "optimizer":
            self._set_origin(self.watch.step, "optimizer", self._origin.module, self._origin.source)

    def _complete_hand_written_step(self) -> None:
        if not self._hand_written:
            return
        self._hand_written = False
        self._relabel_ancestors()
        self.watch.complete_step(None)

    def _relabel_ancestors(self) -> None:
        """Operations since the backward pass on which the new parameters depend belong to the optimizer."""
        stack = [p.node for tensor, _ in self._parameters.values() if (p := self._storages.read(tensor))]
        seen: set[int] = set()
        while stack:
            index = stack.pop()
            if index < self._backward_end or index in seen:
                continue
            seen.add(index)
            node = self._nodes[index]
            if node.origin.phase != "optimizer":
                node.origin = replace(node.origin, phase="optimizer")
            stack.extend(ref.node for ref in refs_in((node.args, tuple(node.kwargs.values()))))

    # -- notes and refusals ---------------------------------------------------------------------------------------

    def _note(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self._tape.notes.append(text)

    def _note_number(self, func: Any, facts: Operation) -> None:
        if func is aten._local_scalar_dense.default and called_by_user():
            source = self._origin.source
            self._note(f"a number leaves the tensors through .item() at {source}: {source.text}")

    def _attention_is_random(self, func: Any, args: Any, options: dict[str, Any]) -> bool:
        probability = options.get("dropout_p", 0.0)
        for position, argument in enumerate(func._schema.arguments):
            if argument.name == "dropout_p" and position < len(args):
                probability = args[position]
        return bool(probability)

    def _refuse_subclasses(self, types: Any) -> None:
        for kind in types:
            if kind.__name__ in ("DTensor", "NestedTensor", "AsyncCollectiveTensor"):
                raise RecordingError(
                    f"a tensor of type {kind.__name__}; expected ordinary tensors. Try to record the unwrapped model in "
                    "one process",
                    user_source(),
                )


_names: dict[Any, str] = {}


def overload_name(overload: Any) -> str:
    """'aten.addmm.default'."""
    name = _names.get(overload)
    if name is None:
        name = _names[overload] = str(overload)
    return name


def _any_requires_grad(args: Any) -> bool:
    for a in args:
        if isinstance(a, Tensor):
            if a.requires_grad:
                return True
        elif isinstance(a, list | tuple) and _any_requires_grad(a):
            return True
    return False


def _path(stack: list[tuple[str, nn.Module]]) -> str:
    return stack[-1][0].partition("#")[0]


def record_tape(run: Callable[[int], object], width: int, steps: int, seed: int) -> Tape:
    """Run `run(width)` until `steps` optimizer steps are completed and return the recording.

    torch, numpy and random are seeded with `seed` first; nothing else is set, and the script computes what it would
    compute without the recording. Raises RecordingError if the script raises (chained), never steps an optimizer, or
    does what cannot be recorded. A script that ends after fewer steps is recorded as far as it goes (a note says so).
    """
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - scripts use the global generator
    random.seed(seed)
    recorder = Recorder(width, steps)
    try:
        with recorder:
            run(width)
    except RecordingError:
        raise
    except SystemExit as error:
        if error.code not in (None, 0):
            raise RecordingError(f"the script ended with exit status {error.code} at width {width}") from error
    except Exception as error:
        raise RecordingError(
            f"the script raised {type(error).__name__} at width {width}: {error}", _source_of(error)
        ) from error
    tape = recorder.tape
    if tape.steps == 0:
        what = (
            "ran no backward pass and completed no optimizer step"
            if recorder.watch.backwards == 0
            else f"ran {recorder.watch.backwards} backward passes and completed no optimizer step"
        )
        raise RecordingError(
            f"the script {what} at width {width}; expected a training loop with loss.backward() and optimizer.step() "
            "(or in-place updates of the parameters). Try a function that trains for at least one step"
        )
    if tape.steps < steps:
        tape.notes.append(f"the script ended after {tape.steps} optimizer steps; {steps} were wanted")
    return tape


def _source_of(error: BaseException) -> Source:
    """The user's innermost line in a traceback."""
    source = Source()
    trace = error.__traceback__
    while trace is not None:
        if is_user_file(trace.tb_frame.f_code.co_filename):
            source = source_at(trace.tb_frame.f_code, trace.tb_lineno)
        trace = trace.tb_next
    return source
