"""When does a training step begin and end, and which module runs? Events of a live training loop.

`Watch` is what the recorder and the measurements share. So both give the same names to modules and parameters and agree on
what a step is. It changes nothing in the script. It uses global module hooks, global optimizer hooks, and a wrapper around
the one function of every backward pass.

Conventions
* `step` counts completed optimizer steps. With several optimizers those of the first one to step are counted.
* A loop without torch.optim (`p -= lr * p.grad` under no_grad, or through `p.data`) steps by hand. It completes a step
  when, after a backward pass, tensors that received gradients have new values. This is noticed at the entry of the next
  outermost module, at the next backward pass, or at the end.
* Module paths are relative to the outermost module that holds parameters; that module itself is "". A second call in
  one step is "fc2#2". Forward passes under no_grad (evaluation) are not events, nor are those that a backward pass repeats
  (activation checkpointing).
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, NoReturn, final

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.nn.utils.parametrize import ParametrizationList
from torch.optim import optimizer as optimizer_hooks
from torch.optim.optimizer import Optimizer
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

from tpdyn.recorder.live.frames import user_frames
from tpdyn.recorder.live.replay import same

ModuleEnter = Callable[[str, nn.Module, tuple[Any, ...], dict[str, Any]], None]
ModuleExit = Callable[[str, nn.Module, tuple[Any, ...], dict[str, Any], Any], None]
StepEvent = Callable[[Optimizer | None], None]


def _nothing(*_: Any) -> None:
    """Nobody wants to be told."""


@final
class StopRecording(BaseException):
    """Ends a script once enough steps were seen; `Watch` swallows it at its exit."""


def first_float_tensor(output: Any) -> Tensor | None:
    """Return the first floating-point tensor of a module's output (a tensor, or tuples, lists, mappings and objects of them).

    A single number beside tensors (the loss, which models of Hugging Face return before their logits) is not meant.
    """
    if isinstance(output, Tensor):
        return output if output.is_floating_point() else None
    if isinstance(output, Mapping):
        items: Iterable[Any] = output.values()
    elif isinstance(output, tuple | list):
        items = output
    elif hasattr(output, "__dict__") and not isinstance(output, nn.Module):
        items = vars(output).values()
    else:
        return None
    found = [tensor for item in items if (tensor := first_float_tensor(item)) is not None]
    return next((tensor for tensor in found if tensor.dim()), found[0] if found else None)


def unwrapped(tensor: Tensor) -> Tensor:
    """Return the tensor that the wrappers of torch.func hold: under vmap it has the batch as a further dim."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        tensor = functorch.get_unwrapped(tensor)
    return tensor


@final
@dataclass(kw_only=True, eq=False)
class Watch:
    """Follows a training loop while the `with` block runs.

    step: completed optimizer steps. in_optimizer: whether an optimizer is stepping. module_stack: the modules that are
    running, outermost first, as (path, module). passes: outermost modules entered so far.
    limit: stop the script when that many steps are completed, by `StopRecording`, swallowed at the exit. `stopped` says
    whether it was. notes: what a reader of the results should know.

    Callbacks, all optional. Modules: on_module_enter(path, module, args, kwargs) and on_module_exit(path, module, args,
    kwargs, output). On entering, kwargs are empty: torch does not hand them to a global pre-hook. Steps:
    on_step_begin(optimizer) and on_step_end(optimizer), with None for a step written by hand. In on_step_end, `step` is
    already counted up. An optimizer that is not the counted one calls `on_other_step_begin/end`. Backward passes:
    on_backward(losses, gradients) and on_backward_end(losses, results, inputs). The output: on_output(name, tensor) once
    per forward pass, "output", "output#2" and so on. It is that of the root module. If the root is never called, it is that
    of the last outermost module with parameters. All others have to act on the losses through it alone, or there is none.
    Wherever a step written by hand would be noticed, on_boundary() is called.
    Modules that are no events: on_recomputed(module, enters). Outermost ones without gradients: on_evaluation(enters).
    """

    limit: int | None = None
    on_module_enter: ModuleEnter = _nothing
    on_module_exit: ModuleExit = _nothing
    on_step_begin: StepEvent = _nothing
    on_step_end: StepEvent = _nothing
    on_other_step_begin: StepEvent = _nothing
    on_other_step_end: StepEvent = _nothing
    on_backward: Callable[[tuple[Tensor, ...], Any], None] = _nothing
    on_backward_end: Callable[[tuple[Tensor, ...], Any, Any], None] = _nothing
    on_output: Callable[[str, Any], None] = _nothing
    on_boundary: Callable[[], None] = _nothing
    on_recomputed: Callable[[nn.Module, bool], None] = _nothing
    on_evaluation: Callable[[bool], None] = _nothing
    detect_hand_written_steps: bool = True

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"steps is {self.limit}; expected at least 1 optimizer step")
        self.step = 0
        self.in_optimizer = False
        self.module_stack: list[tuple[str, nn.Module]] = []
        self.stopped = False
        self.asleep = False  # within `aside`
        self.backwards = 0
        self.passes = 0  # outermost modules that were entered
        self.optimizers: list[Optimizer] = []
        self.notes: list[str] = []
        self._roots: dict[int, str] = {}  # id(root) -> prefix
        self._frozen: set[str] = set()  # prefixes of roots without a parameter that is trained
        self._kept: list[Any] = []  # roots, kept alive so that ids stay theirs
        self._paths: dict[int, str] = {}  # id(module) -> path
        self._parameters: dict[str, Tensor] = {}
        self._names: dict[int, str] = {}  # id(parameter) -> name
        self._calls: dict[str, int] = {}
        self._silent = 0  # depth inside a forward pass that is not an event
        self._outermost: list[
            tuple[nn.Module, Any]
        ] = []  # those with parameters, and outputs since the last backward pass
        self._root_called = False
        self._depth_in_optimizer = 0
        self._others_after = 0  # steps of other optimizers since the counted one
        self._others_wanted = 0
        self._before: dict[int, tuple[Tensor, Tensor]] = {}
        self._handles: list[Any] = []
        self._engine: Callable[..., Any] | None = None

    # -- life -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Watch:
        _WATCHING.append(self)
        self._handles = [
            module_hooks.register_module_forward_pre_hook(self._module_enter),
            module_hooks.register_module_forward_hook(self._module_exit, with_kwargs=True, always_call=True),
            optimizer_hooks.register_optimizer_step_pre_hook(self._optimizer_enter),
            optimizer_hooks.register_optimizer_step_post_hook(self._optimizer_exit),
        ]
        self._engine = torch.autograd._engine_run_backward  # type: ignore[attr-defined]
        torch.autograd._engine_run_backward = self._run_backward  # type: ignore[attr-defined, assignment]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        _WATCHING.remove(self)
        for handle in self._handles:
            handle.remove()
            # torch forgets this one: compiled modules would warn of global hooks from then on.
            module_hooks._global_forward_hooks_with_kwargs.pop(handle.id, None)
        self._let_go_of_backward()
        if kind is None:
            try:
                self._look_for_hand_written_step()
            except StopRecording:
                kind = StopRecording
        self._before.clear()
        return self.stopped and kind is not None and issubclass(kind, StopRecording)  # not that of one around it

    def _let_go_of_backward(self) -> None:
        """Put the backward pass back, or let it pass if somebody who began later wraps it still."""
        own: Any = self._run_backward
        later = next((watch for watch in _WATCHING if watch._engine == own), None)
        if later is not None:
            later._engine = self._engine
        elif torch.autograd._engine_run_backward == own:  # type: ignore[attr-defined]
            torch.autograd._engine_run_backward = self._engine  # type: ignore[attr-defined, assignment]
        else:
            self.asleep = True

    # -- names ----------------------------------------------------------------------------------------------------

    def parameters(self) -> dict[str, Tensor]:
        """Return every parameter met so far by name: those of the root modules called, and tensors that were stepped."""
        return dict(self._parameters)

    def name_of(self, tensor: Tensor) -> str:
        """Return the name of a parameter: its path in the root module, else the script's variable, else
        'parameter_<k>'."""
        name = self._names.get(id(tensor))
        if name is None:
            self._name_by_variable(tensor)
            name = self._names[id(tensor)]
        return name

    def buffers(self) -> dict[str, Tensor]:
        """Return the buffers of the root modules by name."""
        return {
            _joined(self._roots[id(root)], path): buffer
            for root in self._kept
            if id(root) in self._roots
            for path, buffer in root.named_buffers()
        }

    def modules(self) -> list[nn.Module]:
        """List every module of the root modules called."""
        return [module for root in self._kept if id(root) in self._roots for module in root.modules()]

    def _name_parameter(self, name: str, tensor: Tensor) -> None:
        if id(tensor) in self._names or unwrapped(tensor) is not tensor:
            return
        unique = _free(name, self._parameters)
        self._parameters[unique] = tensor
        self._names[id(tensor)] = unique

    def _name_by_variable(self, tensor: Tensor) -> None:
        for frame in user_frames():
            for module in _modules_of(frame):
                if any(p is tensor for p in module.parameters()):
                    self._register_root(module)
                    if id(tensor) not in self._names and id(module) in self._roots:
                        self._name_parameters(module)  # they were replaced when it was called (functional_call)
                    if id(tensor) in self._names:
                        return
        for frame in user_frames():
            for variable, value in frame.f_locals.items():
                name = name_within(variable, value, tensor)
                if name is not None:
                    self._name_parameter(name, tensor)
                    return
        self._name_parameter(f"parameter_{sum(n.startswith('parameter_') for n in self._parameters)}", tensor)

    def _register_root(self, root: nn.Module) -> None:
        if id(root) in self._roots:
            return
        taken = set(self._roots.values())
        frozen = not any(parameter.requires_grad for parameter in root.parameters())  # a teacher is not the network
        kind = _variable_of_layer(root) or (type(root).__name__ if frozen or taken - self._frozen else "")
        prefix = _free(kind, taken)
        if taken and any(True for _ in root.children()):
            self.notes.append(f"several root modules: names of {type(root).__name__} start with {prefix!r}")
        self._roots[id(root)] = prefix
        if frozen:
            self._frozen.add(prefix)
        self._kept.append(root)
        for path, module in root.named_modules():
            self._paths.setdefault(id(module), _joined(prefix, path))
        self._name_parameters(root)

    def _name_parameters(self, root: nn.Module) -> None:
        for path, parameter in root.named_parameters():
            self._name_parameter(_joined(self._roots[id(root)], path), parameter)

    def _path_of(self, module: nn.Module) -> str:
        path = self._paths.get(id(module))
        if path is not None:
            return path
        if not self.module_stack and any(True for _ in module.parameters()):
            self._register_root(_outermost_module_around(module))
        path = self._paths.get(id(module))
        if path is None:
            outer = self.module_stack[-1][0] if self.module_stack else ""
            path = self._paths[id(module)] = _joined(outer.partition("#")[0], type(module).__name__)
            self._kept.append(module)
        return path

    # -- modules --------------------------------------------------------------------------------------------------

    def _module_enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if self.asleep:
            return
        if not self.module_stack:
            self._silent = 0
            self._look_for_hand_written_step()
        outermost = not self.module_stack
        hidden = self._silent or torch._C._current_graph_task_id() != -1 or torch.compiler.is_compiling()
        asked = outermost and isinstance(module, ParametrizationList)  # for a weight: this is not the network
        evaluates = not hidden and outermost and not asked and not torch.is_grad_enabled()
        if hidden or asked or evaluates:
            self._silent += 1
            self.module_stack.append(("", module))
            if evaluates:
                self.on_evaluation(True)
            self.on_recomputed(module, True)
            return
        self.passes += outermost
        path = self._path_of(module)
        count = self._calls[path] = self._calls.get(path, 0) + 1
        name = path if count == 1 else f"{path}#{count}"
        self.module_stack.append((name, module))
        self.on_module_enter(name, module, args, {})

    def _module_exit(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None, output: Any = None
    ) -> None:
        if self.asleep:
            return
        while self.module_stack and self.module_stack[-1][1] is not module:  # an exception left a module early
            self.module_stack.pop()
        if not self.module_stack:
            return
        name, _ = self.module_stack.pop()
        if self._silent:
            self._silent -= 1
            self.on_recomputed(module, False)
            if not self._silent:
                self.on_evaluation(False)
            return
        if output is None:  # nothing came out, or the module raised
            return
        self.on_module_exit(name, module, args, kwargs or {}, output)
        if not self.module_stack:
            if id(module) in self._roots and self._roots[id(module)] == "":
                self._root_called = True
                self.on_output("output" + name, output)
            elif any(True for _ in module.parameters()):
                self._outermost.append((module, output))

    # -- optimizers -----------------------------------------------------------------------------------------------

    def _optimizer_enter(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.asleep:
            return
        self._depth_in_optimizer += 1
        if self._depth_in_optimizer > 1:
            return
        self._before.clear()
        if not any(known is optimizer for known in self.optimizers):
            self.optimizers.append(optimizer)
            if len(self.optimizers) == 2:
                self.notes.append(
                    f"several optimizers: steps are counted by the first one, {type(self.optimizers[0]).__name__}"
                )
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                self.name_of(parameter)
        self.in_optimizer = True
        event = self.on_step_begin if optimizer is self.optimizers[0] else self.on_other_step_begin
        event(optimizer)

    def _optimizer_exit(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.asleep:
            return
        self._depth_in_optimizer = max(0, self._depth_in_optimizer - 1)
        if self._depth_in_optimizer:
            return
        self.in_optimizer = False
        if optimizer is self.optimizers[0]:
            self._others_wanted, self._others_after = max(self._others_wanted, self._others_after), 0
            self.complete_step(optimizer)
        else:
            self._others_after += 1
            self.on_other_step_end(optimizer)
            self._stop_if_done()

    def complete_step(self, optimizer: Optimizer | None) -> None:
        """Count one completed step (None: written by hand); stops the script if it was the last one wanted."""
        self.step += 1
        self._calls.clear()
        self._before.clear()
        self._root_called = False
        self._outermost.clear()
        self.on_step_end(optimizer)
        self._stop_if_done()

    def _stop_if_done(self) -> None:
        if self.limit is not None and self.step >= self.limit and self._others_after >= self._others_wanted:
            self.stop()

    def stop(self) -> NoReturn:
        """End the script here."""
        self.stopped = True
        raise StopRecording

    # -- backward and steps written by hand -----------------------------------------------------------------------

    def _run_backward(self, outputs: Any, *args: Any, **kwargs: Any) -> Any:
        assert self._engine is not None
        if self.asleep or torch._C._current_graph_task_id() != -1:
            return self._engine(outputs, *args, **kwargs)
        self._look_for_hand_written_step()
        if self.limit is not None and self.step >= self.limit:
            self.stop()
        losses = tuple(output for output in outputs if isinstance(output, Tensor))
        self.backwards += 1
        if self._outermost and not self._root_called and _last_is_between(losses, self._outermost):
            count = self._calls["output"] = self._calls.get("output", 0) + 1
            self.on_output("output" if count == 1 else f"output#{count}", self._outermost[-1][1])
        self._outermost.clear()
        if self.detect_hand_written_steps and not self.optimizers and not self._before:
            with _disable_current_modes(), torch.no_grad():
                self._before = {id(leaf): (leaf, leaf.detach().clone()) for leaf in trained_leaves(losses)}
        self.on_backward(losses, args[0] if args else None)
        results = self._engine(outputs, *args, **kwargs)
        self.on_backward_end(losses, results, args[3] if len(args) > 3 else None)
        return results

    def _look_for_hand_written_step(self) -> None:
        if not self.in_optimizer:
            self.on_boundary()
        if not self._before or self.in_optimizer:
            return
        with _disable_current_modes(), torch.no_grad():
            changed = [leaf for leaf, value in self._before.values() if not same(leaf, value)]
        if changed and not held_by_an_optimizer(changed):
            for leaf, _ in list(self._before.values()):
                self.name_of(leaf)
            self.on_step_begin(None)
            self.complete_step(None)


_WATCHING: list[Watch] = []


@contextmanager
def aside() -> Iterator[None]:
    """Let whoever watches now look away: what runs within does not belong to the script. It may be a recording that it
    makes.
    """
    before = [(watch, watch.asleep) for watch in _WATCHING]
    for watch, _ in before:
        watch.asleep = True
    try:
        yield
    finally:
        for watch, asleep in before:
            watch.asleep = asleep


def _last_is_between(losses: Iterable[Tensor], calls: Sequence[tuple[nn.Module, Any]]) -> bool:
    """Tell whether all other modules act on the losses through the last one alone. A bias beside a product is no output."""
    last = calls[-1][0]
    through = {made for module, output in calls if module is last for made in _makers(output)}
    beside = {made for module, output in calls if module is not last for made in _makers(output)} - through
    seen = set(through)
    stack = [loss.grad_fn for loss in losses if loss.grad_fn is not None]
    while stack:
        node = stack.pop()
        if node in beside:
            return False
        if node not in seen:
            seen.add(node)
            stack.extend(parent for parent, _ in node.next_functions if parent is not None)
    return True


def _makers(output: Any) -> list[Any]:
    """Return what autograd notes of the tensors in a module's output."""
    leaves = [*pytree.tree_leaves(output), first_float_tensor(output)]
    return [each.grad_fn for each in leaves if isinstance(each, Tensor) and each.grad_fn is not None]


def trained_leaves(outputs: Iterable[Tensor]) -> list[Tensor]:
    """Return the leaf tensors that a backward pass from `outputs` reaches, in the order of the forward pass."""
    found: dict[int, tuple[int, Tensor]] = {}
    seen: set[Any] = set()
    stack = [output.grad_fn for output in outputs if output.grad_fn is not None]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if isinstance(variable, Tensor):
            found[id(variable)] = (len(found), variable)
        stack.extend(parent for parent, _ in node.next_functions if parent is not None)
    return [variable for _, variable in sorted(found.values(), key=lambda pair: -pair[0])]


def held_by_an_optimizer(tensors: Iterable[Tensor]) -> set[int]:
    """Return the ids of those tensors that some living torch.optim optimizer steps."""
    wanted = {id(tensor) for tensor in tensors}
    return {
        id(parameter)
        for thing in gc.get_objects()
        if issubclass(type(thing), Optimizer)
        for group in getattr(thing, "param_groups", ())
        for parameter in group["params"]
        if id(parameter) in wanted
    }


def _free(name: str, taken: Container[str]) -> str:
    """Return the name, or the first of name_2, name_3, ... that is not taken."""
    return next(new for k in itertools.count(1) if (new := name if k == 1 else f"{name}_{k}") not in taken)


def _joined(prefix: str, path: str) -> str:
    path = path.removeprefix("_orig_mod.").removeprefix("_orig_mod")
    return f"{prefix}.{path}" if prefix and path else prefix or path


def _modules_of(frame: FrameType) -> list[nn.Module]:
    return [value for value in frame.f_locals.values() if isinstance(value, nn.Module)]


def _outermost_module_around(module: nn.Module) -> nn.Module:
    """Return the largest module in the user's variables that contains `module`; `module` itself if there is none."""
    best, size = module, 0
    for frame in user_frames():
        for candidate in _modules_of(frame):
            if candidate is module or candidate is best:
                continue
            members = list(candidate.modules())
            if len(members) > size and any(member is module for member in members):
                best, size = candidate, len(members)
    return best


def _variable_of_layer(layer: nn.Module) -> str:
    """Return the variable that holds a bare layer, if the script calls several bare layers of its own; '' otherwise."""
    if any(True for _ in layer.children()):
        return ""
    for frame in user_frames():
        layers = {
            id(value): name
            for name, value in frame.f_locals.items()
            if isinstance(value, nn.Module) and any(True for _ in value.parameters())
        }
        if id(layer) in layers and len(layers) > 1:
            return layers[id(layer)]
    return ""


def name_within(name: str, value: Any, tensor: Tensor) -> str | None:
    """Name a value `name`, `name[0]`, `name['key']` or `name.attribute` if it is, or directly holds, the tensor."""
    if value is tensor:
        return name
    if isinstance(value, list | tuple) and len(value) <= 10_000:
        return next((f"{name}[{i}]" for i, item in enumerate(value) if item is tensor), None)
    if isinstance(value, dict) and len(value) <= 10_000 and not name.startswith("__"):
        return next((f"{name}[{key!r}]" for key, item in value.items() if item is tensor), None)
    if isinstance(getattr(value, "__dict__", None), dict) and not isinstance(value, type | nn.Module):
        return next((f"{name}.{key}" for key, item in vars(value).items() if item is tensor), None)
    return None
