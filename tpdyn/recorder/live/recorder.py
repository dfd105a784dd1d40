"""What does a training loop do, operation by operation? The recorder runs it and writes a `Tape`.

`Recorder` is a dispatch mode: every aten operation of the script passes through it, while the script runs as always. That
covers forward, backward, optimizer and initialisation alike. In-place writes and views become values (`storage.py`), list
kernels ordinary operations (`operations.py`). Steps, modules and parameters come from `Watch`.

    tape = record_tape(train, width=16, steps=3, seed=0)
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal, NoReturn, final

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer
from torch.utils._python_dispatch import _disable_current_modes

from tpdyn.program.program import Origin, Phase, Source
from tpdyn.recorder.errors import RecordingError, Told
from tpdyn.recorder.fitting.declared import numbers_named
from tpdyn.recorder.live.beginnings import told
from tpdyn.recorder.live.choices import Choices
from tpdyn.recorder.live.finish import finished_tape, returned, used
from tpdyn.recorder.live.frames import source_of, user_source
from tpdyn.recorder.live.hooks import (
    StopRecording,
    Watch,
    aside,
    first_float_tensor,
    held_by_an_optimizer,
    trained_leaves,
    unwrapped,
)
from tpdyn.recorder.live.operations import Operations
from tpdyn.recorder.live.plain import PlainTorch
from tpdyn.recorder.live.storage import Geometry, Storages, geometry_of
from tpdyn.recorder.live.surroundings import foreseeable, seed_everything, undisturbed
from tpdyn.recorder.live.tape import Ref, Tape, TapeMark, TapeParameter, behind

__all__ = ["Recorder", "RecordingError", "StopRecording", "record_tape"]

_current_task = torch._C._current_graph_task_id
_current_node = torch._C._current_autograd_node
_next_sequence = torch._C._autograd._get_sequence_nr


@final
class Recorder(Operations):
    """Records the `with` block; afterwards `tape` holds the recording.

    width: the width at which the script runs (a label). steps: stop the script after that many optimizer steps (None:
    record to the end of the block). Parameters that existed before are inputs of kind "parameter". evaluations: record also
    what outermost modules compute without gradients; if not, `escaped` tells afterwards whether that would have mattered.
    unused: record also passes on which steps do not depend. choices: draws that are shared with other recordings.
    """

    def __init__(
        self,
        width: int = 0,
        steps: int | None = None,
        *,
        evaluations: bool = True,
        unused: bool = True,
        choices: Choices | None = None,
    ) -> None:
        plain = PlainTorch(self._note)
        watch = Watch(
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
            on_recomputed=plain.run,
            detect_hand_written_steps=False,
        )
        if not evaluations:
            watch.on_evaluation = self._evaluating
        super().__init__(width, watch, choices)
        self._plain = plain
        self._finished: Tape | None = None
        self._origins: dict[tuple[int, str, str, Source], Origin] = {}
        self._by_sequence: dict[int, tuple[str, Source]] = {}
        self._kept: dict[int, list[Ref]] = {}  # by storage: whose live value still lies in the script's memory
        self._started = False  # a forward or backward pass has begun
        self._after_backward = False  # since the last completed step
        self._backward_end = 0  # number of nodes when the last backward pass ended
        self._backwards_at_step_end = 0
        self._parameters: dict[int, tuple[Tensor, TapeParameter]] = {}
        self._leaves: dict[int, Tensor] = {}  # storage -> trained leaf, in loops without an optimizer so far
        self._before: dict[int, tuple[Geometry, Ref]] = {}  # storage -> what it held before the first step wrote to it
        self._functional_gradients: dict[int, Ref] = {}  # id(leaf) -> gradient that autograd.grad returned
        self._hand_written = False  # a step by hand has begun
        self._by_hand: set[int] = set()  # storages of leaves that were written, and that no optimizer steps
        self._exempt: set[int] = set()  # storages that an optimizer steps
        self._losses: dict[int, int] = {}
        self._outermost: dict[str, nn.Module] = {}  # those that the script calls itself, by path
        self._backward_source = Source()  # the line that called backward
        self._stepping: list[Tensor] = []  # the parameters of the optimizer that steps now
        self._unused = unused
        self.escaped = False  # what ran unrecorded matters: all of it has to be recorded
        self.elsewhere: RecordingError | None = None  # an optimizer stepped in another thread
        self._thread = 0  # in which it records
        self._late = False  # a further optimizer steps, after the one that counts the steps

    @property
    def tape(self) -> Tape:
        """The recording; raises RecordingError while it is still running."""
        if self._finished is None:
            raise RecordingError("the recording is not finished; expected to be asked after the `with` block")
        return self._finished

    # -- life -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Recorder:
        me = threading.get_ident()
        if any(other._thread != me for other in _RECORDING):
            raise RecordingError(
                "another thread is recording; expected one recording at a time, since all of them see what any thread computes. "
                "Record one after the other, or in processes of their own"
            )
        self._thread = me
        _RECORDING.append(self)
        self.watch.__enter__()
        self._plain.__enter__()
        self._numbers.__enter__()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not any(each is self for each in _RECORDING):
            return False  # it ended with one around it
        while (inner := _RECORDING.pop()) is not self:
            _RECORDING.append(inner)
            inner._note("this recording ended with one around it, which began before: its block went on unrecorded")
            inner.__exit__(None, None, None)
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        self._numbers.__exit__()
        self._plain.__exit__()
        self._tape.default = torch.get_default_dtype()
        swallowed = self.watch.__exit__(kind, error, trace)
        if kind is None or swallowed or issubclass(kind, SystemExit):
            self._finish()
        self._storages = Storages(self._emit_view, self._enter)  # let go of the script's tensors
        self._parameters, self._inputs, self._leaves, self._kept, self._before = {}, [], {}, {}, {}
        return swallowed

    def _finish(self) -> None:
        """Close the tape: the last values, names, pruning."""
        for tensor, parameter in self._parameters.values():
            if self._storages.read(tensor) == parameter.versions[-1]:
                self._keep(parameter.versions[-1], tensor)
        for storage in list(self._kept):
            if torch._C._storage_Use_Count(storage) > len(self._kept[storage]):  # the script holds it, too
                self._copy_kept(storage)
        if self.escaped or self._reads_unrecorded():
            self.escaped = True
            return
        known = {**self.watch.parameters(), **self.watch.buffers()}
        now = {name: self._storages.read(tensor) for name, tensor in known.items()}
        parameters = list(self._parameters.values())
        if not self._unused:
            self._tape.marks = used(self._tape.marks, self._nodes, [parameter for _, parameter in parameters])
        stepped = {id(tensor) for tensor, _ in parameters}
        trained = {
            path: any(id(parameter) in stepped for parameter in module.parameters())
            for path, module in self._outermost.items()
        }
        self._tape.marks = returned(self._tape.marks, trained)
        self._finished = finished_tape(self._tape, self.watch, parameters, self._inputs, now)

    # -- evaluations ----------------------------------------------------------------------------------------------

    def _evaluating(self, enters: bool) -> None:
        """Let pass what an outermost module computes without gradients."""
        self._started = self._started or enters
        self._unrecorded.active = enters and not self.watch.in_optimizer

    def _record_in_full(self) -> NoReturn:
        self.escaped = True
        self.watch.stop()

    def _reads_unrecorded(self) -> bool:
        """Whether a parameter, a gradient or a named value depends on what was not recorded."""
        if not self._unrecorded.nodes:
            return False
        roots = [mark.ref for mark in self._tape.marks]
        roots += [ref for _, parameter in self._parameters.values() for ref in parameter.refs]
        return not set(behind(self._nodes, roots)).isdisjoint(self._unrecorded.nodes)

    # -- origins --------------------------------------------------------------------------------------------------

    def _note_origin(self, args: Any, kind: str) -> None:
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
            elif differentiable and kind in ("view", "split"):
                phase = "forward"  # a view of what is trained: it belongs to the pass that reads it
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
        noted = self._origins.get(key)
        if noted is None:
            noted = self._origins[key] = Origin(step, phase, module, source)
        self._origin = noted

    # -- events ---------------------------------------------------------------------------------------------------

    def _on_module_enter(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._plain.enter(module)

    def _on_module_exit(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        self._plain.run(module, False)
        if not self.watch.module_stack:
            self._outermost[name.partition("#")[0]] = module
        if name and not name.startswith("#"):
            self._mark("module", name, output)

    def _on_output(self, name: str, output: Any) -> None:
        self._mark("output", name, output)

    def _mark(self, kind: Literal["module", "output", "loss"], name: str, output: Any) -> None:
        tensor = first_float_tensor(output)
        if tensor is None or tensor.layout != torch.strided:
            return
        if tensor.is_meta:
            raise RecordingError(
                "a tensor on the device meta, which has no values; expected tensors on a device that computes. To look at a "
                "large width without its memory, try tpdyn check --at WIDTH",
                user_source(),
            )
        with torch._C._DisableFuncTorch():
            tensor = unwrapped(tensor)
            ref = self._storages.read(tensor)
            self._tape.marks.append(TapeMark(kind, name, self.watch.step, ref, self.watch.passes))
            self._keep(ref, tensor)

    def _keep(self, ref: Ref, tensor: Tensor) -> None:
        """Note the live value of `ref`: the tensor itself, which is copied only when its memory is about to change."""
        if ref not in self._tape.live:
            with _disable_current_modes(), torch.no_grad():
                self._tape.live[ref] = tensor.detach()
            self._kept.setdefault(tensor.untyped_storage()._cdata, []).append(ref)

    def _copy_kept(self, storage: int) -> None:
        live = self._tape.live
        with _disable_current_modes(), torch.no_grad():
            for ref in self._kept.pop(storage):
                live[ref] = live[ref].clone()

    def _on_backward(self, losses: tuple[Tensor, ...], gradients: Any) -> None:
        self._backward_source = user_source()
        self._started = True
        step = self.watch.step
        for loss in losses:
            count = self._losses[step] = self._losses.get(step, 0) + 1
            self._mark("loss", "loss" if count == 1 else f"loss#{count}", loss)
        for gradient in gradients or ():
            if isinstance(gradient, Tensor) and self._storages.knows(unwrapped(gradient)):
                node = self._nodes[self._storages.read(unwrapped(gradient)).node]
                node.origin = replace(node.origin, phase="backward")
        if not self.watch.optimizers:
            new = {leaf.untyped_storage()._cdata: leaf for leaf in map(unwrapped, trained_leaves(losses))}
            known = self._leaves.keys() | self._exempt
            self._leaves |= {key: leaf for key, leaf in new.items() if key not in known}
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
                    self._functional_gradients[id(unwrapped(leaf))] = self._storages.read(unwrapped(gradient))

    def _on_step_begin(self, optimizer: Optimizer | None) -> None:
        if optimizer is None:
            return
        if threading.get_ident() != self._thread:
            self.elsewhere = RecordingError(
                "an optimizer steps in another thread than the one that is recorded, where nothing is seen. Train in the "
                "thread that calls the script, or run its other threads without training",
                user_source(),
            )
            raise self.elsewhere
        if isinstance(optimizer, LBFGS):
            raise RecordingError(
                "LBFGS evaluates the loss an unknown number of times a step; expected an optimizer that steps once a "
                "gradient. Try SGD or Adam",
                user_source(),
            )
        self._plain.step(optimizer)
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
        """Note versions and gradients of the tensors that are about to be stepped."""
        step = self.watch.step - self._late
        for tensor, gradient in pairs:
            entry = self._parameters.get(id(tensor))
            now = self._storages.read(tensor)
            if entry is None:
                entry = self._parameters[id(tensor)] = (tensor, TapeParameter(""))
                geometry, before = self._before.get(tensor.untyped_storage()._cdata, (None, now))
                if geometry == geometry_of(tensor):  # perturbed after a first backward pass, and restored
                    entry[1].versions.append(before)
            parameter = entry[1]
            parameter.versions += [now] * (step + 1 - len(parameter.versions))
            parameter.gradients += [None] * (step - len(parameter.gradients))
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
            parameter.gradients[step:] = [ref]

    def _on_step_end(self, optimizer: Optimizer | None) -> None:
        counted = optimizer is None or optimizer is self.watch.optimizers[0]
        step = self.watch.step
        for tensor, parameter in self._parameters.values():
            now = self._storages.read(tensor)
            parameter.versions += parameter.versions[-1:] * (step - len(parameter.versions))
            parameter.versions[step:] = [now]
            parameter.gradients += [None] * (step - len(parameter.gradients))
        if counted:
            self._backwards_at_step_end = self.watch.backwards
            self._after_backward = False
            self._functional_gradients.clear()
        self._late = False
        self._tape.steps = step
        if self._reads_unrecorded():
            self._record_in_full()

    # -- steps written by hand ------------------------------------------------------------------------------------

    def _watch_write(self, tensor: Tensor) -> None:
        """Save what the write would spoil. Is it the beginning of an optimizer step written by hand?"""
        storage = tensor.untyped_storage()._cdata
        if storage in self._kept:
            self._copy_kept(storage)
        if self._after_backward and not self.watch.step and storage not in self._before:
            held = self._storages.held(storage)
            if held is not None:
                self._before[storage] = held
        leaves = self._leaves
        if not leaves or _current_task() != -1 or self.watch.in_optimizer or self.watch.module_stack:
            return
        leaf = leaves.get(storage)
        if leaf is None:
            return
        if not self._hand_written:
            if not self._after_backward:
                return
            self._exempt_what_optimizers_hold()
            if storage in self._exempt:
                return
            self._hand_written = True
            self._note_gradients([(p, p.grad) for p in leaves.values()], self._functional_gradients)
            for p in leaves.values():
                self.watch.name_of(p)
        if self._origin.phase != "optimizer":
            self._set_origin(self.watch.step, "optimizer", self._origin.module, self._origin.source)

    def _exempt_what_optimizers_hold(self) -> None:
        """Exempt what optimizers hold, at the first write only: this looks at every living object, and most scripts have one."""
        unknown = {key: leaf for key, leaf in self._leaves.items() if key not in self._by_hand}
        held = held_by_an_optimizer(unknown.values()) if unknown else set()
        for key, leaf in unknown.items():
            if id(leaf) in held:
                self._exempt.add(key)
                del self._leaves[key]
            else:
                self._by_hand.add(key)

    def _complete_hand_written_step(self) -> None:
        if not self._hand_written:
            return
        self._hand_written = False
        self._relabel_ancestors()
        self.watch.complete_step(None)

    def _relabel_ancestors(self) -> None:
        """Relabel operations since the backward pass on which the new parameters depend: they belong to the optimizer."""
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
            stack += [ref.node for ref in node.reads]


_RECORDING: list[Recorder] = []
"""Those under way, all in one thread. The one that began last ends first, since they patch the same things."""


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


def record_tape(
    run: Callable[[int], object],
    width: int,
    steps: int,
    seed: int,
    numbers: Sequence[str] = (),
    *,
    evaluations: bool | None = None,
    unused: bool = True,
    choices: Choices | None = None,
) -> Tape:
    """Run `run(width)` until `steps` optimizer steps are completed and return the recording.

    numbers: names of whole numbers that modules may keep, to be noted in the tape. evaluations: record forward passes without
    gradients; None: only if training depends on them, which one run without them tells (`Tape.evaluations`). unused: keep
    named values of passes on which steps do not depend. choices: draws of whole numbers that recordings share.

    torch, numpy and random are seeded with `seed` first. Nothing else is set, and the script computes what it would compute
    without the recording. Afterwards all three draw on from where they were. What the script switched in torch for all
    (default dtype, threads, determinism) is as before. Raises RecordingError if the script raises (chained), never steps an
    optimizer, or does what cannot be recorded. A script that ends after fewer steps is recorded as far as it goes (a note
    says so).
    """
    recorder = Recorder(width, steps, evaluations=bool(evaluations), unused=unused, choices=choices)
    try:
        with aside(), undisturbed(), foreseeable(seed):
            seed_everything(seed)
            with recorder:
                _expect_run(run(width), width)
    except RecordingError as error:
        raise recorder.elsewhere or error from None
    except Told as error:
        raise RecordingError(str(error)) from error
    except SystemExit as error:
        if error.code not in (None, 0):
            raise RecordingError(f"the script ended with exit status {error.code} at width {width}") from error
    except Exception as error:
        raise RecordingError(
            f"the script raised {type(error).__name__} at width {width}: {error}", source_of(error)
        ) from error
    if recorder.elsewhere is not None:
        raise recorder.elsewhere
    if recorder.escaped:
        return record_tape(run, width, steps, seed, numbers, evaluations=True, unused=unused, choices=choices)
    tape = recorder.tape
    tape.evaluations = bool(evaluations)
    tape.numbers = {name: numbers_named(recorder.watch.modules(), name) for name in numbers}
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
    tape.notes += [note for optimizer in recorder.watch.optimizers if (note := told(optimizer, tape.steps))]
    return tape


def _expect_run(returned: object, width: int) -> None:
    """Refuse a function that returns its loop in place of running it."""
    if inspect.isgenerator(returned) or inspect.iscoroutine(returned):
        returned.close()
        what = "generator" if inspect.isgenerator(returned) else "coroutine"
        raise RecordingError(
            f"the script returned a {what} at width {width}, of which nothing has run; expected a function that trains. Try "
            + (
                "one that goes through it: for _ in train(width): pass"
                if what == "generator"
                else "asyncio.run(train(width))"
            )
        )
