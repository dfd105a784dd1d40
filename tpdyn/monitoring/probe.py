"""What does a model do with one fixed batch, right now? One forward pass on the side, without a trace in the run.

Modules have the names that predictions use: a path, `output` for the whole model, `fc#2` for a second call. Everything
is reduced where it lies and packed into one tensor, so that a look waits for the device once.

What is seen, by name (m: mean of absolute values over the entries)
* of a module's output h: `largest` max |h|; on at most `ROWS` rows `size` m(h) and `change` m(h - h at the first look);
* of a linear layer, an embedding or a convolution: `update` m(dW x), dW the last step's change of its weight, on as
  many rows. Of a linear layer also `alignment` |dW x| / (|dW| |x|) in Frobenius norms: 1 for the rank-one update that
  fits its input;
* of a softmax: `logits`, the largest one that enters; of an activation: the fractions `saturated` and `dead` (`flat`);
* of a parameter: `weight`, `gradient`, `step`: root mean squares of its entries, their gradients, their last change.
  And `ratio`: the last change against the weight.
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
"""Sizes, changes and contributions of updates are looked at on so many rows (examples, tokens), evenly spread over the batch."""

Key = tuple[str, str]
"""(what, name): ("size", "blocks.0.mlp")."""


@final
@dataclass(frozen=True)
class Look:
    """What one look saw: a number for each (what, name). Also the line and the dtype (as `bfloat16`) of each module's output."""

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
class Before:
    """The trainable weights of a model just before a step: their values, and the norms of their gradients."""

    def __init__(self, model: nn.Module) -> None:
        self.named = _trainable(model)
        self._kept = [each.detach().clone() for _, each in self.named]
        given = [(name, each.grad) for name, each in self.named if each.grad is not None]
        self.gradients = dict(zip((name for name, _ in given), norms([each for _, each in given]), strict=True))

    def moved(self) -> list[Tensor]:
        """Return by how far each weight moved since, with the sign of the way back. Once: the values become the distances."""
        kept, self._kept = self._kept, []
        if kept:
            torch._foreach_sub_(kept, [each.detach() for _, each in self.named])
        return kept


@final
class Probe:
    """Looks at a model through one fixed batch: `Probe(model, call).look(before)`, as often as wanted.

    call: runs the forward pass, given the model. The first look is what later ones are compared with: `ROWS` rows of the
    outputs of all modules are kept of it.
    """

    def __init__(self, model: nn.Module, call: Callable[[nn.Module], object], autocast: Autocast) -> None:
        self._model = model
        self._call = call
        self._autocast = autocast
        self._first: dict[str, _Kept] | None = None
        self._sources: dict[str, Source] = {}

    def look(self, before: Before | None = None) -> Look:
        """Run the pass once and pack what it shows. before: the weights before the last step."""
        with torch.no_grad():
            seen = self._parameters(before)
        with (
            _no_trace(self._model),
            self._autocast.again(),
            torch.no_grad(),
            _Operations(seen),
            _hooks(self._model, seen),
        ):
            self._call(self._model)
        if self._first is None:
            self._first = seen.outputs
        return seen.look()

    def _parameters(self, before: Before | None) -> _Seen:
        """Begin a look with the sizes of weights, gradients and updates."""
        named = _trainable(self._model) if before is None else before.named
        moved = [] if before is None else before.moved()
        gradients = {} if before is None else before.gradients
        sizes = norms([*(each for _, each in named), *moved])
        steps = sizes[len(named) :]
        updates = {id(each): pair for (_, each), *pair in zip(named, moved, steps, strict=False)}
        seen = _Seen(self._first, updates, self._sources)
        for (name, each), weight in zip(named, sizes, strict=False):
            seen.dtypes[name] = _told(each.dtype)
            root = max(1, each.numel()) ** -0.5
            seen.put("weight", name, weight, root)
            if name in gradients:
                seen.put("gradient", name, gradients[name], root)
            if id(each) in updates:
                seen.put("step", name, updates[id(each)][1], root)
        return seen


def _trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, each) for name, each in model.named_parameters() if each.requires_grad]


def norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the Frobenius norm of each tensor, in float32 at least, in one call for each dtype and device."""
    kinds: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    out: list[Tensor] = [torch.empty(0)] * len(tensors)
    dense = [(each.coalesce().values() if each.is_sparse else each).detach() for each in tensors]
    for k, each in enumerate(dense):
        kinds.setdefault((each.device, each.dtype), []).append(k)
    for (_, dtype), members in kinds.items():
        wider = None if dtype in (torch.float32, torch.float64) else torch.float32
        for k, norm in zip(members, torch._foreach_norm([dense[k] for k in members], 2, wider), strict=True):
            out[k] = norm
    return out


_Kept = tuple[torch.Size, Tensor]
"""The shape of a module's output at the first look, and the rows of it that are kept."""


@final
@dataclass
class _Seen:
    """What a running look has gathered. packed: each number is a tensor's entry times its scale, once it was fetched.

    updates: by id of a weight, how far the last step moved it, and the norm of that. The sign is that of the way back.
    """

    first: Mapping[str, _Kept] | None
    updates: Mapping[int, Sequence[Tensor]]
    sources: dict[str, Source]
    stack: list[str] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, _Kept] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)
    packed: dict[Key, tuple[Tensor, float]] = field(default_factory=dict)
    last: tuple[Tensor, int, str] | None = None

    def put(self, what: str, name: str, value: Tensor, scale: float = 1.0) -> None:
        """Keep a number."""
        self.packed[what, name] = value, scale

    def larger(self, what: str, name: str, value: Tensor) -> None:
        """Keep a number, or the one that is there if that is larger (two softmaxes in one module)."""
        before = self.packed.get((what, name))
        self.put(what, name, value if before is None else torch.maximum(before[0], value.to(before[0])))

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
        self.dtypes[name] = _told(value.dtype)
        if not self._is_as_before(name, value):
            self._sizes(name, value)
        update = self.updates.get(id(getattr(module, "weight", None)))
        if update is not None and args and isinstance(args[0], Tensor):
            self._contribution(name, module, args[0], *update)

    def _sizes(self, name: str, value: Tensor) -> None:
        lowest, highest = torch.aminmax(value)
        self.put(_LOWEST, name, lowest)
        self.put("largest", name, highest)
        rows = _spread(value)
        share = 1 / rows.numel()
        self.put("size", name, _sum(rows.abs()), share)
        if self.first is None:
            self.outputs[name] = value.shape, rows.clone()
            return
        shape, before = self.first.get(name, (None, rows))
        if shape == value.shape:
            self.put("change", name, _sum((rows - before).abs_()), share)

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
        for what in ("size", _LOWEST, "largest", "change"):
            if (what, last[2]) in self.packed:
                self.packed[what, name] = self.packed[what, last[2]]
        return True

    def _contribution(self, name: str, module: nn.Module, x: Tensor, update: Tensor, norm: Tensor) -> None:
        applied = _applied(module, x, update)
        if applied is None:
            return
        if isinstance(module, nn.Linear):
            for what, number in ((_APPLIED, _squares(applied)), (_ENTERING, _squares(_spread(x))), (_UPDATE, norm)):
                self.put(what, name, number)
        self.put("update", name, _sum(applied.abs_()), 1 / max(1, applied.numel()))

    def look(self) -> Look:
        """Fetch all numbers at once."""
        if not self.packed:
            return Look({}, self.sources, self.dtypes)
        numbers = [number for number, _ in self.packed.values()]
        device = numbers[0].device
        packed = torch.stack(
            [
                each if each.dtype is torch.float32 and each.device == device else each.to(device, torch.float32)
                for each in numbers
            ]
        )
        pairs = zip(self.packed.items(), packed.tolist(), strict=True)
        raw = {key: number * scale for (key, (_, scale)), number in pairs}
        values = {key: number for key, number in raw.items() if key[0] not in _PARTS}
        for (what, name), number in raw.items():
            if what == _LOWEST:
                values["largest", name] = max(-number, values["largest", name])
            elif what == _APPLIED:
                most = raw[_ENTERING, name] ** 0.5 * raw[_UPDATE, name]
                values["alignment", name] = number**0.5 / most if most > 0 else 0.0
            elif what == "step":
                weight = values["weight", name]
                values["ratio", name] = number / weight if weight > 0 else math.inf
        return Look(values, dict(self.sources), self.dtypes)


_APPLIED, _ENTERING, _UPDATE, _LOWEST = _PARTS = "|dW x|^2", "|x|^2", "|dW|", "min h"


def _spread(value: Tensor) -> Tensor:
    """Return at most `ROWS` rows (all but the last axis) of a tensor, evenly spread.

    The stride and the number of rows are coprime. Else it could meet the same token of each example, or one edge of each
    image.
    """
    if value.dim() < 2:
        return value
    rows = value.flatten(0, -2)
    stride = _stride(rows.shape[0])
    return rows if stride == 1 else rows[::stride]


@cache
def _stride(rows: int) -> int:
    stride = max(1, -(-rows // ROWS))
    while stride > 1 and math.gcd(stride, rows) > 1:
        stride += 1
    return stride


def _applied(module: nn.Module, x: Tensor, update: Tensor) -> Tensor | None:
    """Return dW x as the module would compute W x; None for modules that compute something else with their weight."""
    forward = type(module).forward
    if isinstance(module, nn.Linear) and forward is nn.Linear.forward:
        return F.linear(_spread(x), update)
    if isinstance(module, nn.Embedding) and forward is nn.Embedding.forward and module.max_norm is None:
        return F.embedding(_spread(x.reshape(-1, 1))[:, 0], update)
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
        """Look in eager mode only. To be wrapped against the compiler would cost as much as the looking, at each operation."""
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
            self._seen.larger("logits", name, args[0].amax())
        elif operation.startswith("_scaled_dot_product"):
            self._seen.larger("logits", name, _largest_logit(args, kwargs))
        elif (region := flat_region(operation, args)) is not None and args[0].numel():
            saturated, dead = flat_entries(args[0], region)
            self._seen.larger("saturated", name, saturated)
            self._seen.larger("dead", name, dead)


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
    scale = kwargs.get("scale") or query.shape[-1] ** -0.5
    if key.shape[1] != query.shape[1]:  # grouped queries share keys
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    pairs = query.shape[-2], key.shape[-2]
    causal = kwargs.get("is_causal", any(each is True for each in args[3:]))
    later = (
        torch.full(pairs, -math.inf, dtype=query.dtype, device=query.device).triu(1) if causal else query.new_zeros(())
    )
    logits = torch.baddbmm(later, query.flatten(0, -3), key.flatten(0, -3).transpose(1, 2), beta=causal, alpha=scale)
    mask = kwargs.get("attn_mask", next((each for each in args[3:] if isinstance(each, Tensor)), None))
    if isinstance(mask, Tensor):
        logits = logits.view(*query.shape[:-2], *pairs)
        logits = logits.masked_fill_(~mask, -math.inf) if mask.dtype is torch.bool else logits + mask
    return logits.amax()


_BARE = (nn.Linear.forward, nn.LayerNorm.forward, nn.Embedding.forward)
"""What these compute is free of softmaxes and activations: their operations need not be looked at one by one."""


@contextmanager
def _hooks(model: nn.Module, seen: _Seen) -> Iterator[None]:
    """Tell `seen` of every module that begins or ends within, under its first name."""
    unseen: list[Any] = []  # guards under which operations are not looked at, one for each module that runs

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        guard = unseen.pop()
        if guard is None:
            with torch._C._DisableTorchDispatch():  # our own arithmetic is none of the model's
                seen.leave(module, args, output)
        else:
            seen.leave(module, args, output)
            guard.__exit__(None, None, None)

    handles = []
    for path, module in model.named_modules():

        def before(module: nn.Module, args: tuple[Any, ...], path: str = path) -> None:
            seen.enter(path)
            bare = type(module).forward in _BARE
            unseen.append(torch._C._DisableTorchDispatch() if bare else None)
            if bare:
                unseen[-1].__enter__()

        handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        yield
    finally:
        while unseen:
            if (guard := unseen.pop()) is not None:
                guard.__exit__(None, None, None)
        for handle in handles:
            handle.remove()


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


def _squares(value: Tensor) -> Tensor:
    """Return the sum of squares, in float32 at least."""
    flat = value.reshape(-1).to(_wider(value) or value.dtype)
    return torch.dot(flat, flat)


def _sum(value: Tensor) -> Tensor:
    """Return the sum, in float32 at least."""
    return value.sum(dtype=_wider(value))


def _wider(value: Tensor) -> torch.dtype | None:
    return None if value.dtype in (torch.float32, torch.float64) else torch.float32


def _told(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
