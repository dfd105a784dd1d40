"""What does a model do with one fixed batch, right now? One forward pass on the side, which leaves no trace in the run.

Modules are looked at with the names that predictions use: a path, `output` for the whole model, `fc#2` for a second call.
Everything is reduced where it lies and packed into one tensor, so that a look waits for the device once.

What is seen, by name (m: mean of absolute values over the entries)
* of a module's output h: `size` m(h), `largest` max |h|, `change` m(h - h at the first look);
* of a linear layer, an embedding or a convolution: `update` m(dW x), dW the last step's change of its weight; of a linear
  layer `alignment` |dW x| / (|dW| |x|) in Frobenius norms, which is 1 for the rank-one update that fits its input;
* of a softmax: `logits`, the largest one that enters; of an activation: the fractions `saturated` and `dead` (`flat`);
* of a parameter: `weight`, `gradient`, `step`: root mean squares of its entries, their gradients, their last change.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.autograd.grad_mode import _unsafe_preserve_version_counter
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from tpdyn.measuring.state import State, random_states, set_random_states
from tpdyn.monitoring.flat import flat_entries, flat_region
from tpdyn.program.program import Source
from tpdyn.recorder.live.frames import is_user_file, source_at
from tpdyn.recorder.live.hooks import first_float_tensor

OUTPUT = "output"
Key = tuple[str, str]
"""(what, name): ("size", "blocks.0.mlp")."""


@final
@dataclass(frozen=True)
class Look:
    """What one look saw: a number for each (what, name); the line and the dtype (as `bfloat16`) of each module's output."""

    values: Mapping[Key, float]
    sources: Mapping[str, Source]
    dtypes: Mapping[str, str]


@final
@dataclass
class Autocast:
    """The autocast under which the script calls its model; a probe runs under the same."""

    device: str = "cpu"
    dtype: torch.dtype | None = None

    def note(self, device: str) -> None:
        """Remember what is on now, for one kind of device."""
        self.device = device
        self.dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None

    @contextmanager
    def again(self) -> Iterator[None]:
        """Restore the noted state within, without the cache, which would hand out casts of other weights."""
        with torch.autocast(self.device, dtype=self.dtype, enabled=self.dtype is not None, cache_enabled=False):
            yield


@final
class Probe:
    """Looks at a model through one fixed batch: `Probe(model, call).look(updates)`, as often as wanted.

    call: runs the forward pass, given the model. The first look is what later ones are compared with; it is kept, as large
    as the outputs of all modules together.
    """

    def __init__(self, model: nn.Module, call: Callable[[nn.Module], object], autocast: Autocast) -> None:
        self._model = model
        self._call = call
        self._autocast = autocast
        self._first: dict[str, Tensor] | None = None

    def look(self, updates: Mapping[int, Tensor], parameters: Mapping[str, tuple[Tensor, Tensor | None]]) -> Look:
        """Run the pass once and pack what it shows.

        updates: by id of a parameter, its change in the last step. parameters: by name, the parameter and its gradient.
        """
        seen = _Seen(self._first, dict(updates))
        with torch.no_grad():
            for name, (parameter, gradient) in parameters.items():
                seen.dtypes[name] = str(parameter.dtype).removeprefix("torch.")
                seen.add("weight", name, _rms(parameter))
                if gradient is not None:
                    seen.add("gradient", name, _rms(gradient))
                if id(parameter) in updates:
                    seen.add("step", name, _rms(updates[id(parameter)]))
        with _no_trace(self._model), self._autocast.again(), torch.no_grad():
            handles = _hooks(self._model, seen)
            try:
                with _Operations(seen):
                    self._call(self._model)
            finally:
                for handle in handles:
                    handle.remove()
        if self._first is None:
            self._first = seen.outputs
        return seen.look()


@final
@dataclass
class _Seen:
    """What a running look has gathered."""

    first: Mapping[str, Tensor] | None
    updates: Mapping[int, Tensor]
    stack: list[str] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)
    packed: dict[Key, Tensor] = field(default_factory=dict)

    def add(self, what: str, name: str, value: Tensor) -> None:
        """Keep a number; a second one under the same key keeps the larger (two softmaxes in one module)."""
        before = self.packed.get((what, name))
        self.packed[what, name] = value if before is None else torch.maximum(before, value.to(before))

    def enter(self, path: str) -> None:
        """Note that a module begins: its second call in one pass is `path#2`."""
        count = self.calls[path] = self.calls.get(path, 0) + 1
        name = path or OUTPUT
        name = name if count == 1 else f"{name}#{count}"
        self.stack.append(name)
        self.sources[name] = _calling_line()

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Note a module's output, and what the last update of its weight does to its input."""
        name = self.stack.pop()
        value = first_float_tensor(output)
        if value is None or not value.numel():
            return
        self.dtypes[name] = str(value.dtype).removeprefix("torch.")
        if self.first is None:
            self.outputs[name] = value.clone()
        absolute = value.abs()
        self.add("size", name, _mean(absolute))
        self.add("largest", name, absolute.amax())
        before = None if self.first is None else self.first.get(name)
        if before is not None and before.shape == value.shape:
            self.add("change", name, _mean((value - before).abs()))
        weight = getattr(module, "weight", None)
        update = self.updates.get(id(weight))
        if update is not None and args and isinstance(args[0], Tensor):
            self._contribution(name, module, args[0], update)

    def _contribution(self, name: str, module: nn.Module, x: Tensor, update: Tensor) -> None:
        applied = _applied(module, x, update)
        if applied is None:
            return
        self.add("update", name, _mean(applied.abs()))
        if isinstance(module, nn.Linear):
            largest = _norm(update) * _norm(x)
            self.add("alignment", name, torch.where(largest > 0, _norm(applied) / largest, torch.zeros_like(largest)))

    def look(self) -> Look:
        """Fetch all numbers at once."""
        keys = list(self.packed)
        if not keys:
            return Look({}, self.sources, self.dtypes)
        device = next(iter(self.packed.values())).device
        numbers = torch.stack([value.to(device, torch.float32) for value in self.packed.values()]).tolist()
        return Look(dict(zip(keys, numbers, strict=True)), self.sources, self.dtypes)


def _applied(module: nn.Module, x: Tensor, update: Tensor) -> Tensor | None:
    """Return dW x as the module would compute W x; None for modules that compute something else with their weight."""
    forward = type(module).forward
    if isinstance(module, nn.Linear) and forward is nn.Linear.forward:
        return F.linear(x, update)
    if isinstance(module, nn.Embedding) and forward is nn.Embedding.forward and module.max_norm is None:
        return F.embedding(x, update)
    plain = (nn.Conv1d.forward, nn.Conv2d.forward, nn.Conv3d.forward)
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and forward in plain:
        result: Tensor = module._conv_forward(x, update, None)
        return result
    return None


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees the softmaxes, attentions and activations of a pass, however the script writes them."""

    def __init__(self, seen: _Seen) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seen = seen

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        operation = func._schema.name.removeprefix("aten::")
        name = self._seen.stack[-1] if self._seen.stack else OUTPUT
        if operation in ("_softmax", "_safe_softmax"):
            self._seen.add("logits", name, args[0].amax())
        elif operation.startswith("_scaled_dot_product"):
            self._seen.add("logits", name, _largest_logit(args, kwargs))
        elif (region := flat_region(operation, args)) is not None and args[0].numel():
            saturated, dead = flat_entries(args[0], region)
            self._seen.add("saturated", name, saturated)
            self._seen.add("dead", name, dead)
        return func(*args, **kwargs)


def _largest_logit(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """Return max q.k * scale over the pairs that the mask admits, of a fused attention."""
    query, key = args[0], args[1]
    scale = kwargs.get("scale")
    if key.shape[1] != query.shape[1]:  # grouped queries share keys
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    logits: Tensor = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    mask = kwargs.get("attn_mask", next((each for each in args[3:] if isinstance(each, Tensor)), None))
    if isinstance(mask, Tensor):
        logits = logits.masked_fill(~mask, -math.inf) if mask.dtype is torch.bool else logits + mask
    causal = kwargs.get("is_causal", any(each is True for each in args[3:]))
    if causal:
        logits = logits.masked_fill(~torch.ones_like(logits, dtype=torch.bool).tril(), -math.inf)
    return logits.amax()


def _hooks(model: nn.Module, seen: _Seen) -> list[Any]:
    """Register hooks on every module, under its first name."""
    handles = []
    for path, module in model.named_modules():

        def before(_: nn.Module, args: tuple[Any, ...], path: str = path) -> None:
            seen.enter(path)

        def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            with _disable_current_modes():  # our own arithmetic is none of the model's
                seen.leave(module, args, output)

        handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    return handles


@contextmanager
def _no_trace(model: nn.Module) -> Iterator[None]:
    """Leave no trace. Within: evaluation mode, eager, no fused fast path. After: modes, buffers, random states as before."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    states, state = random_states(), State(model, copies=True)
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(_unsafe_preserve_version_counter(tuple(state.tensors)))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        torch.backends.mha.set_fastpath_enabled(False)
        for module, _ in modes:
            module.training = False
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            torch.backends.mha.set_fastpath_enabled(fast)
            state.put_back()
            with torch.no_grad():
                for buffer, value in buffers:
                    if buffer.shape == value.shape:
                        buffer.data.copy_(value)
            set_random_states(states)


def _calling_line() -> Source:
    """Return the line of the user's code that calls the module, within the pass; `Source()` if there is none."""
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code is Probe.look.__code__:
            return Source()
        if is_user_file(code.co_filename):
            return source_at(code, frame.f_lineno or 0)
        frame = frame.f_back  # type: ignore[assignment]
    return Source()


def _mean(value: Tensor) -> Tensor:
    return value.to(torch.float32).mean()


def _norm(value: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(value.to(torch.float32))
    return norm


def _rms(value: Tensor) -> Tensor:
    value = value.detach()
    return (value.coalesce().values() if value.is_sparse else value).to(torch.float32).square().mean().sqrt()
