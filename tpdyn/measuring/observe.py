"""What does one run do, step by step? Sizes, changes and losses of a live training script, which stays undisturbed.

Each forward pass of an outermost module is repeated at its end; this is the *base*. It has the initial parameters and
buffers, the same inputs and the same random draws. Whatever the repetition touches (parameters, buffers, attributes of
modules and what they hold, random states: `tpdyn.measuring.state`) is put back, so that the run is bitwise what it
would have been. It starts from the state in which the live pass started.

The repetition exchanges the storage of the parameters (`p.data`) instead of calling `torch.func.functional_call`. So tied
weights stay tied, and modules that keep further references to their weights (nn.LSTM) see the exchange too.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.grad_mode import _unsafe_preserve_version_counter
from torch.nn.modules import module as module_hooks
from torch.nn.parameter import is_lazy
from torch.optim.optimizer import Optimizer
from torch.utils import _pytree as pytree

from tpdyn.measuring.measurement import SPLIT
from tpdyn.measuring.state import State, random_states, set_random_states
from tpdyn.recorder.live.hooks import Watch, first_float_tensor, trained_leaves

FIELDS = ("size", "rms", "change", "change_rms", "nonfinite", "new_nonfinite", "epsilon")
PARTS = tuple(f"change by {part}" for part in SPLIT)
OF_OUTPUTS = (*FIELDS, *PARTS)
OF_PARAMETERS = ("parameter size", "parameter change", "gradient size")


@final
@dataclass
class Observation:
    """What one run gave, as the store keeps it: a number for each (step, name, what).

    name: of a module's output, with all of `FIELDS` and the `PARTS` that there are. Or of a parameter, with some of
    `OF_PARAMETERS`. The loss has none. steps: those completed. simulated: without a dense matrix. key: of the finished run in the
    store.
    """

    values: dict[tuple[int, str, str], float] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    steps: int = 0
    unknown_base: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    simulated: bool = False
    key: str = field(default="", compare=False)

    def same_as(self, other: Observation) -> bool:
        """Tell whether everything that was measured is the same, bit for bit (NaN is the same as NaN)."""
        mine, its = self.values, other.values
        return mine.keys() == its.keys() and np.array_equal(
            list(mine.values()), [its[key] for key in mine], equal_nan=True
        )

    def broken_by(self, step: int) -> bool:
        """Tell whether the loss, an output or a parameter was NaN or Inf in `step` or before."""
        return any(
            value > 0 if what == "new_nonfinite" else not np.isfinite(value)
            for (t, _, what), value in self.values.items()
            if t <= step and what in ("new_nonfinite", "loss", "parameter change")
        )


@dataclass
class _Exit:
    """A module call of the live forward pass, as far as the base needs it."""

    name: str
    step: int
    module: nn.Module
    output: Tensor | None
    linear: tuple[Tensor, Tensor, Tensor | None] | None  # input, weight, bias


@dataclass
class _Call:
    """A running forward pass of an outermost module."""

    root: nn.Module
    random_states: tuple[Any, ...]
    args: tuple[Any, ...]
    versions: list[int]
    state: State
    exits: list[_Exit] = field(default_factory=list)


@final
class Observer:
    """Observes one run: `with observer.watch: train(width)`, then `observer.finish()`."""

    def __init__(self, steps: int) -> None:
        self.watch = Watch(
            limit=steps,
            on_module_enter=self._enter,
            on_module_exit=self._exit,
            on_step_begin=self._step_begin,
            on_step_end=self._step_end,
            on_other_step_begin=self._step_begin,
            on_backward=self._backward,
            on_backward_end=self._backward_end,
            on_output=self._output,
        )
        self._observation = Observation()
        self._stats: dict[tuple[int, str], Tensor] = {}
        self._losses: dict[int, Tensor] = {}
        self._parameters: dict[tuple[int, int], Tensor] = {}
        self._gradients: dict[tuple[int, int], Tensor] = {}
        self._initial: dict[int, tuple[Tensor, Tensor]] = {}  # id(parameter) -> (parameter, initial value)
        self._named: dict[tuple[int, str], Tensor] = {}  # (id(root), parameter) -> initial value
        self._buffers: dict[tuple[int, str], Tensor] = {}  # (id(module), buffer) -> initial value
        self._known_roots: dict[int, nn.Module] = {}
        self._call: _Call | None = None
        self._bases: dict[int, tuple[weakref.ref[Tensor], Tensor]] = {}  # id(live output) -> (live, base)
        self._last_names: dict[int, str] = {}  # id(live output of an outermost module) -> its name

    # -- events ---------------------------------------------------------------------------------------------------

    def _enter(self, path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if len(self.watch.module_stack) != 1:
            return
        with torch.no_grad():
            self._remember(module, anew=not self.watch.backwards and not self.watch.step)
            kept = pytree.tree_map_only(Tensor, lambda t: t.detach().clone() if _is_data(t) else t, args)
        versions = [t._version for t in pytree.tree_leaves(args) if isinstance(t, Tensor) and not t.is_inference()]
        state = State(module, copies=True)
        self._call = _Call(module, random_states(), kept, versions, state)

    def _exit(self, path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        call = self._call
        if call is None:
            return
        name = path if path and not path.startswith("#") else "output" + path
        value = first_float_tensor(output)
        kept = None if value is None else value.detach().clone()
        linear = None
        if isinstance(module, nn.Linear) and _is_plain(module) and args and isinstance(args[0], Tensor):
            bias = module.bias
            linear = (
                args[0].detach().clone(),
                module.weight.detach(),
                None if bias is None else bias.detach(),
            )
        call.exits.append(_Exit(name, self.watch.step, module, kept, linear))
        if self.watch.module_stack:
            return
        self._call = None
        if value is not None:
            self._last_names[id(value)] = name
        self._repeat(call, args, kwargs, output)

    def _output(self, name: str, output: Any) -> None:
        value = first_float_tensor(output)
        made_by = None if value is None else self._last_names.get(id(value))
        key = (self.watch.step, made_by or "")
        if name != made_by and key in self._stats:
            self._stats.setdefault((self.watch.step, name), self._stats[key])

    def _backward(self, losses: tuple[Tensor, ...], gradients: Any) -> None:
        step = self.watch.step
        with torch.no_grad():
            for loss in losses:
                value = _double(loss).mean()
                self._losses[step] = self._losses[step] + value if step in self._losses else value
            known = list(self.watch.parameters().values())
            for parameter in [*known, *(trained_leaves(losses) if step == 0 or not self.watch.optimizers else [])]:
                if id(parameter) not in self._initial and not is_lazy(parameter):
                    self._initial[id(parameter)] = (parameter, parameter.detach().clone())
            for key, (parameter, initial) in self._initial.items():
                if (step, key) not in self._parameters:
                    self._parameters[step, key] = _parameter_sizes(parameter, initial)

    def _backward_end(self, losses: tuple[Tensor, ...], results: Any, inputs: Any) -> None:
        if inputs and isinstance(results, tuple):  # torch.autograd.grad
            with torch.no_grad():
                for parameter, gradient in zip(inputs, results, strict=False):
                    if isinstance(parameter, Tensor) and isinstance(gradient, Tensor):
                        self._gradients[self.watch.step, id(parameter)] = _double(gradient).abs().mean()
        if not self.watch.optimizers:
            self._note_gradients(parameter for parameter, _ in self._initial.values())

    def _step_begin(self, optimizer: Optimizer | None) -> None:
        if optimizer is not None:
            self._note_gradients(parameter for group in optimizer.param_groups for parameter in group["params"])

    def _step_end(self, optimizer: Optimizer | None) -> None:
        self._bases.clear()
        self._last_names.clear()

    def _note_gradients(self, parameters: Iterator[Tensor] | Any) -> None:
        with torch.no_grad():
            for parameter in parameters:
                gradient = parameter.grad
                if gradient is not None and not gradient.is_sparse:
                    self._gradients[self.watch.step, id(parameter)] = _double(gradient).abs().mean()

    # -- the base -------------------------------------------------------------------------------------------------

    def _remember(self, root: nn.Module, anew: bool = False) -> None:
        """Keep the initial values of a module that is called for the first time. anew: the run before was dry, it may be."""
        if id(root) in self._known_roots and not anew:
            return
        parameters = dict(root.named_parameters())
        if any(is_lazy(parameter) for parameter in parameters.values()):
            return  # they have no value before the first forward pass; `_repeat` comes back
        self._known_roots[id(root)] = root
        for name, parameter in parameters.items():
            if anew or id(parameter) not in self._initial:
                self._initial[id(parameter)] = (parameter, parameter.detach().clone())
            self._named[id(root), name] = self._initial[id(parameter)][1]
        for module in root.modules():
            for name, buffer in module._buffers.items():
                if buffer is not None and (id(module), name) not in self._buffers:
                    self._buffers[id(module), name] = buffer.detach().clone()

    def _repeat(self, call: _Call, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        now = [t._version for t in pytree.tree_leaves(args) if isinstance(t, Tensor) and not t.is_inference()]
        base_args, base_kwargs = (call.args if now != call.versions else args), kwargs
        base_args, args_known = self._base_of(base_args)
        base_kwargs, kwargs_known = self._base_of(base_kwargs)
        if not (args_known and kwargs_known):
            if any(True for _ in call.root.parameters()):
                self._observation.unknown_base.append(call.exits[-1].name)
            for each in call.exits:
                self._note(each, None, None)
            return
        with torch.no_grad():
            self._remember(call.root)
        position = 0
        pending = {id(each.module): each for each in call.exits}

        def follow(module: nn.Module, inputs: tuple[Any, ...], result: Any) -> None:
            nonlocal position
            if result is None or position >= len(call.exits):
                return
            live = call.exits[position]
            position += 1
            if live.module is not module and (type(live.module) is not type(module) or id(module) in pending):
                position = len(call.exits)  # the base took another path: the rest has no base
                return
            linear = None
            if live.linear is not None and isinstance(module, nn.Linear) and inputs:
                linear = (inputs[0].detach(), module.weight.detach(), module.bias)
            self._note(live, first_float_tensor(result), linear)

        states, state = random_states(), State(call.root, copies=False)
        tensors = tuple({id(tensor): tensor for tensor in (*call.state.tensors, *state.tensors)}.values())
        cached = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)  # it would hand out casts of the trained weights
        try:
            with torch.no_grad(), warnings.catch_warnings(), _unsafe_preserve_version_counter(tensors):
                warnings.simplefilter("ignore")
                call.state.put_back()
                try:
                    with self._initial_state(call.root), module_hooks.register_module_forward_hook(follow):
                        set_random_states(call.random_states)
                        base = _Again()(call.root, base_args, base_kwargs)
                finally:
                    state.put_back()
        finally:
            torch.set_autocast_cache_enabled(cached)
            set_random_states(states)
        for each in call.exits:
            if (each.step, each.name) not in self._stats:
                self._note(each, None, None)
        for live_leaf, base_leaf in zip(pytree.tree_leaves(output), pytree.tree_leaves(base), strict=False):
            if isinstance(live_leaf, Tensor) and isinstance(base_leaf, Tensor):
                self._bases[id(live_leaf)] = (weakref.ref(live_leaf), base_leaf.detach())

    def _base_of(self, inputs: Any) -> tuple[Any, bool]:
        """Replace each output of an earlier module in the inputs by its base; tell whether all of them are known."""
        known = True

        def base(tensor: Tensor) -> Tensor:
            nonlocal known
            held = self._bases.get(id(tensor))
            if held is not None and held[0]() is tensor:
                return held[1]
            known = known and tensor.grad_fn is None
            return tensor

        return pytree.tree_map_only(Tensor, base, inputs), known

    @contextmanager
    def _initial_state(self, root: nn.Module) -> Iterator[None]:
        """Give all parameters and buffers their initial values within; afterwards put back those of before."""
        swaps: dict[int, tuple[Tensor, Tensor]] = dict(self._initial)
        for name, parameter in root.named_parameters():  # a parameter that was replaced by a new one of the same name
            if id(parameter) not in swaps and (initial := self._named.get((id(root), name))) is not None:
                swaps[id(parameter)] = (parameter, initial)
        current: list[tuple[Tensor, Tensor]] = [(parameter, parameter.data) for parameter, _ in swaps.values()]
        modules = list(root.modules())
        buffers = [(module, dict(module._buffers)) for module in modules]
        try:
            for tensor, initial in swaps.values():
                tensor.data = initial
            for module in modules:
                for name in module._buffers:
                    if (buffer := self._buffers.get((id(module), name))) is not None:
                        module._buffers[name] = buffer.clone()
            yield
        finally:
            for tensor, value in current:
                tensor.data = value
            for module, before in buffers:
                module._buffers.clear()
                module._buffers.update(before)

    def _note(self, live: _Exit, base: Tensor | None, linear: tuple[Tensor, Tensor, Tensor | None] | None) -> None:
        if live.output is None:
            return
        with torch.no_grad():
            self._stats[live.step, live.name] = _sizes(live, base, linear)

    # -- the result -----------------------------------------------------------------------------------------------

    def finish(self) -> Observation:
        """Return everything that was seen, as plain numbers."""
        seen = self._observation
        names = {id(parameter): name for name, parameter in self.watch.parameters().items()}
        seen.steps = self.watch.step
        seen.values = {
            (*key, what): value
            for key, values in self._stats.items()
            for what, value in zip(OF_OUTPUTS, values.cpu().tolist(), strict=True)
            if what in FIELDS or not np.isnan(value)
        }
        for (step, key), sizes in self._parameters.items():
            if key in names:
                for what, value in zip(OF_PARAMETERS[:2], sizes.cpu().tolist(), strict=True):
                    seen.values[step, names[key], what] = value
        for (step, key), size in self._gradients.items():
            if key in names:
                seen.values[step, names[key], "gradient size"] = float(size)
        seen.values |= {(step, "", "loss"): float(loss) for step, loss in self._losses.items()}
        seen.shapes = {name: tuple(tensor.shape) for name, tensor in self.watch.parameters().items()}
        seen.notes = list(self.watch.notes)
        return seen


class _Again(nn.Module):
    """Calls a module once more, with gradients as in the live pass: some kernels (LSTM, attention) differ without them.

    It is itself called without gradients, which tells `Watch` that the script does not call it.
    """

    def forward(self, root: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with torch.enable_grad():
            return root(*args, **kwargs)


def _sizes(live: _Exit, base: Tensor | None, linear: tuple[Tensor, Tensor, Tensor | None] | None) -> Tensor:
    """Compute `OF_OUTPUTS`."""
    assert live.output is not None
    value = _double(live.output)
    nan = value.new_full((), float("nan"))
    bad = (~torch.isfinite(value)).double().mean()
    new_bad, change, change_rms = bad, nan, nan
    start = value
    if base is not None and base.shape == live.output.shape:
        start = _double(base)
        difference = value - start
        # inf - inf: entries that the base has too (a mask of -inf) do not change
        difference = torch.where(value == start, torch.zeros_like(difference), difference)
        change, change_rms = difference.abs().mean(), difference.square().mean().sqrt()
        new_bad = (~torch.isfinite(value) & torch.isfinite(start)).double().mean()
    parts = [nan] * len(PARTS)
    if linear is not None and live.linear is not None and linear[0].shape == live.linear[0].shape:
        (x, w, b), (x0, w0, b0) = live.linear, linear
        dx, dw = x - x0, w - w0
        parts = [
            _double(nn.functional.linear(dx, w0)).abs().mean(),
            _double(nn.functional.linear(x0, dw)).abs().mean(),
            _double(nn.functional.linear(dx, dw)).abs().mean(),
            nan if b is None or b0 is None else (_double(b) - _double(b0)).abs().mean(),
        ]
    epsilon = value.new_full((), torch.finfo(live.output.dtype).eps)
    size, rms = start.abs().mean(), start.square().mean().sqrt()
    return torch.stack([size, rms, change, change_rms, bad, new_bad, epsilon, *parts])


def _parameter_sizes(parameter: Tensor, initial: Tensor) -> Tensor:
    start = _double(initial)
    return torch.stack([start.abs().mean(), (_double(parameter) - start).abs().mean()])


def _double(tensor: Tensor) -> Tensor:
    """Return it in double precision; complex numbers as pairs, whose parts are entries as others are."""
    tensor = tensor.detach()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    return tensor.cpu().double() if tensor.device.type == "mps" else tensor.double()


def _is_plain(linear: nn.Linear) -> bool:
    """Tell whether the module computes W x + b with weights of its own (subclasses that scale the result do not)."""
    return type(linear).forward is nn.Linear.forward and "weight" in linear._parameters


def _is_data(tensor: Tensor) -> bool:
    return tensor.grad_fn is None and not isinstance(tensor, nn.Parameter) and type(tensor) is Tensor
