"""What does a model do with one fixed batch, right now? One forward pass on the side, which leaves no trace in the run.

Modules are looked at with the names that predictions use: a path, `output` for the whole model, `fc#2` for a second call.
Everything is reduced where it lies and packed into one tensor, so that a look waits for the device once.

What is seen, by name (m: mean of absolute values over the entries)
* of a module's output h: `size` m(h), `largest` max |h|, `change` m(h - h at the first look);
* of a linear layer, an embedding or a convolution: `update` m(dW x), dW the last step's change of its weight, on at most `ROWS`
  rows; of a linear layer `alignment` |dW x| / (|dW| |x|) in Frobenius norms: 1 for the rank-one update that fits its input;
* of a softmax: `logits`, the largest one that enters; of an activation: the fractions `saturated` and `dead` (`flat`);
* of a parameter: `weight`, `gradient`, `step`: root mean squares of its entries, their gradients, their last change; and `ratio`,
  the last change against the weight.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.autograd.grad_mode import _unsafe_preserve_version_counter
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tpdyn.measuring.state import State, random_states, set_random_states
from tpdyn.monitoring.flat import FLAT, flat_entries, flat_region
from tpdyn.program.program import Source
from tpdyn.recorder.live.frames import is_user_file, source_at
from tpdyn.recorder.live.hooks import first_float_tensor

OUTPUT = "output"
ROWS = 256
"""The contribution of an update is looked at on so many rows (examples, tokens) of a linear layer's input."""

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
        self._sources: dict[str, Source] = {}
        self._scratch = _Scratch()

    def look(self, updates: Mapping[int, Tensor], gradients: Mapping[str, Tensor]) -> Look:
        """Run the pass once and pack what it shows.

        updates: by id of a parameter, its change in the last step. gradients: by name of a parameter, the Frobenius norm of its
        gradient (see `norms`).
        """
        seen = _Seen(self._first, updates, self._sources, self._scratch)
        with torch.no_grad():
            self._parameters(seen, gradients)
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

    def _parameters(self, seen: _Seen, gradients: Mapping[str, Tensor]) -> None:
        """Take the sizes of weights, gradients and updates."""
        named = [(name, each) for name, each in self._model.named_parameters() if each.requires_grad]
        changed = [(name, each) for name, each in named if id(each) in seen.updates]
        seen.norms = dict(
            zip((id(each) for _, each in changed), norms([seen.updates[id(each)] for _, each in changed]), strict=True)
        )
        for (name, each), weight in zip(named, norms([each for _, each in named]), strict=True):
            seen.dtypes[name] = str(each.dtype).removeprefix("torch.")
            root = max(1, each.numel()) ** -0.5
            seen.add("weight", name, weight, root)
            if name in gradients:
                seen.add("gradient", name, gradients[name], root)
            if id(each) in seen.norms:
                seen.add("step", name, seen.norms[id(each)], root)


def norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the Frobenius norm of each tensor, in float32 at least, in as few calls as there are dtypes and devices."""
    kinds: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    found: list[Tensor] = [torch.empty(0)] * len(tensors)
    dense = [(each.coalesce().values() if each.is_sparse else each).detach() for each in tensors]
    for k, each in enumerate(dense):
        kinds.setdefault((each.device, each.dtype), []).append(k)
    for (_, dtype), places in kinds.items():
        wider = None if dtype in (torch.float32, torch.float64) else torch.float32
        for k, norm in zip(places, torch._foreach_norm([dense[k] for k in places], 2, wider), strict=True):
            found[k] = norm
    return found


@final
@dataclass
class _Seen:
    """What a running look has gathered. packed, scales: each number is a tensor's entry times its scale, once it was fetched."""

    first: Mapping[str, Tensor] | None
    updates: Mapping[int, Tensor]
    sources: dict[str, Source]
    scratch: _Scratch
    norms: Mapping[int, Tensor] = field(default_factory=dict)
    stack: list[str] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)
    packed: dict[Key, Tensor] = field(default_factory=dict)
    scales: dict[Key, float] = field(default_factory=dict)
    last: tuple[Tensor, int, str] | None = None

    def add(self, what: str, name: str, value: Tensor, scale: float = 1.0) -> None:
        """Keep a number; a second one under the same key keeps the larger (two softmaxes in one module)."""
        before = self.packed.get((what, name))
        self.packed[what, name] = value if before is None else torch.maximum(before, value.to(before))
        self.scales[what, name] = scale

    def enter(self, path: str) -> None:
        """Note that a module begins: its second call in one pass is `path#2`."""
        count = self.calls[path] = self.calls.get(path, 0) + 1
        name = path or OUTPUT
        name = name if count == 1 else f"{name}#{count}"
        self.stack.append(name)
        if name not in self.sources:
            self.sources[name] = _calling_line()

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Note a module's output, and what the last update of its weight does to its input."""
        name = self.stack.pop()
        value = first_float_tensor(output)
        if value is None or not value.numel():
            return
        self.dtypes[name] = str(value.dtype).removeprefix("torch.")
        if not self._is_as_before(name, value):
            self._sizes(name, value)
        weight = getattr(module, "weight", None)
        update = self.updates.get(id(weight))
        if update is not None and args and isinstance(args[0], Tensor):
            self._contribution(name, module, args[0], update, self.norms[id(weight)])

    def _sizes(self, name: str, value: Tensor) -> None:
        share = 1 / value.numel()
        if self.first is None:
            self.outputs[name] = value.clone()
        absolute = torch.abs(value, out=self.scratch.like(value))
        self.add("size", name, _sum(absolute), share)
        self.add("largest", name, absolute.amax())
        before = None if self.first is None else self.first.get(name)
        if before is not None and before.shape == value.shape:
            self.add("change", name, _sum(torch.sub(value, before, out=self.scratch.like(value)).abs_()), share)

    def _is_as_before(self, name: str, value: Tensor) -> bool:
        """Take the numbers of the module that returned last, if this one hands its very output on."""
        last, self.last = self.last, None
        if value.is_inference():
            return False
        self.last = (value, value._version, name)
        if last is None or last[0] is not value or last[1] != value._version:
            return False
        if self.first is None:
            self.outputs[name] = self.outputs[last[2]]
        elif self.first.get(name) is not self.first.get(last[2]):
            return False
        for what in ("size", "largest", "change"):
            if (what, last[2]) in self.packed:
                self.add(what, name, self.packed[what, last[2]], self.scales[what, last[2]])
        return True

    def _contribution(self, name: str, module: nn.Module, x: Tensor, update: Tensor, norm: Tensor) -> None:
        x = _spread(module, x)
        applied = _applied(module, x, update)
        if applied is None:
            return
        if isinstance(module, nn.Linear):
            for what, number in ((_APPLIED, _norm(applied)), (_ENTERING, _norm(x)), (_UPDATE, norm)):
                self.add(what, name, number)
        self.add("update", name, _sum(applied.abs_()), 1 / max(1, applied.numel()))

    def look(self) -> Look:
        """Fetch all numbers at once."""
        if not self.packed:
            return Look({}, self.sources, self.dtypes)
        device = next(iter(self.packed.values())).device
        numbers = torch.stack(
            [
                value if value.dtype is torch.float32 and value.device == device else value.to(device, torch.float32)
                for value in self.packed.values()
            ]
        ).tolist()
        raw = {key: number * self.scales[key] for key, number in zip(self.packed, numbers, strict=True)}
        values = {key: number for key, number in raw.items() if key[0] not in (_APPLIED, _ENTERING, _UPDATE)}
        for what, name in raw:
            if what == _APPLIED:
                most = raw[_ENTERING, name] * raw[_UPDATE, name]
                values["alignment", name] = raw[_APPLIED, name] / most if most > 0 else 0.0
            if what == "step":
                weight = values["weight", name]
                values["ratio", name] = values["step", name] / weight if weight > 0 else math.inf
        return Look(values, dict(self.sources), self.dtypes)


_APPLIED, _ENTERING, _UPDATE = "|dW x|", "|x|", "|dW|"


def _spread(module: nn.Module, x: Tensor) -> Tensor:
    """Return at most `ROWS` rows of what enters a linear layer or an embedding, evenly spread: dW x costs as much as W x."""
    if isinstance(module, nn.Linear) and x.dim() > 1:
        x = x.reshape(-1, x.shape[-1])
    elif isinstance(module, nn.Embedding):
        x = x.reshape(-1)
    else:
        return x
    return x[:: -(-len(x) // ROWS)] if len(x) > ROWS else x


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

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Look in eager mode only: to be wrapped against the compiler would cost as much as the looking, at each operation."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        operation = _name_of(func)
        if operation:
            self._note(operation, args, kwargs or {})
        return func(*args, **kwargs) if kwargs else func(*args)

    def _note(self, operation: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        name = self._seen.stack[-1] if self._seen.stack else OUTPUT
        if operation in ("_softmax", "_safe_softmax"):
            self._seen.add("logits", name, args[0].amax())
        elif operation.startswith("_scaled_dot_product"):
            self._seen.add("logits", name, _largest_logit(args, kwargs))
        elif (region := flat_region(operation, args)) is not None and args[0].numel():
            saturated, dead = flat_entries(args[0], region)
            self._seen.add("saturated", name, saturated)
            self._seen.add("dead", name, dead)


@cache
def _name_of(func: Any) -> str:
    """Name an operation that is looked at; empty for all others."""
    name: str = func._schema.name.removeprefix("aten::")
    known = (
        name in ("_softmax", "_safe_softmax")
        or name.startswith("_scaled_dot_product")
        or name.removesuffix("_") in FLAT
    )
    return name if known else ""


def _largest_logit(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """Return max q.k * scale over the pairs that the mask admits, of a fused attention."""
    query, key = args[0], args[1]
    scale = kwargs.get("scale")
    if key.shape[1] != query.shape[1]:  # grouped queries share keys
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    logits: Tensor = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)
    mask = kwargs.get("attn_mask", next((each for each in args[3:] if isinstance(each, Tensor)), None))
    if isinstance(mask, Tensor):
        logits = logits.masked_fill_(~mask, -math.inf) if mask.dtype is torch.bool else logits + mask
    causal = kwargs.get("is_causal", any(each is True for each in args[3:]))
    if causal:
        later = torch.full(logits.shape[-2:], -math.inf, dtype=logits.dtype, device=logits.device).triu(1)
        logits = logits.add_(later)
    return logits.amax()


def _hooks(model: nn.Module, seen: _Seen) -> list[Any]:
    """Register hooks on every module, under its first name."""
    handles = []
    for path, module in model.named_modules():

        def before(_: nn.Module, args: tuple[Any, ...], path: str = path) -> None:
            seen.enter(path)

        def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            with torch._C._DisableTorchDispatch():  # our own arithmetic is none of the model's
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
        if "torch._dynamo" in sys.modules:  # else nothing is compiled, and to import the compiler takes seconds
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


def _norm(value: Tensor) -> Tensor:
    """Return the Frobenius norm, in float32 at least."""
    norm: Tensor = torch.linalg.vector_norm(value, dtype=_wider(value))
    return norm


def _sum(value: Tensor) -> Tensor:
    """Return the sum, in float32 at least. With `abs` before it twice as fast on a CPU as the norm of order 1."""
    return value.sum(dtype=_wider(value))


def _wider(value: Tensor) -> torch.dtype | None:
    return None if value.dtype in (torch.float32, torch.float64) else torch.float32


@final
class _Scratch:
    """Memory for what a look computes on the way, by dtype and device, as large as the largest output: allocated once."""

    def __init__(self) -> None:
        self._kept: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def like(self, value: Tensor) -> Tensor:
        """Return memory of that shape, good until the next call."""
        key = value.dtype, value.device
        if key not in self._kept or self._kept[key].numel() < value.numel():
            self._kept[key] = torch.empty(value.numel(), dtype=value.dtype, device=value.device)
        return self._kept[key][: value.numel()].view(value.shape)
