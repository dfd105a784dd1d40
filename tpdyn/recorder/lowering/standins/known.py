"""Which operations are done at once? Those on tensors that are known: constants, data, and all that initialises parameters.

Folding runs the recorded operation itself on the known tensors. A law survives: copies and views; affine maps (exactly);
pointwise maps (as a chain, see `draws`). What a random operation drew is known, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from tpdyn.program.instructions import Law
from tpdyn.recorder.live.replay import double_by_default, double_type
from tpdyn.recorder.live.tape import Node, base_name, mapped
from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.draws import Draw, normal_draw
from tpdyn.recorder.lowering.rules import randomness
from tpdyn.recorder.lowering.standins.standin import Call, StandIn
from tpdyn.recorder.lowering.values import (
    Handle,
    Known,
    KnownKind,
    Outside,
    Refusal,
    StandsIn,
    uniform_number,
)

SAME = frozenset("alias clone detach _to_copy copy lift_fresh lift_fresh_copy lift".split())
REARRANGED = frozenset(
    "view _unsafe_view _reshape_alias t transpose permute squeeze unsqueeze flip roll select slice split "
    "split_with_sizes unbind as_strided cat stack".split()
)
KEEPS_BUT_FOR_SOME = frozenset("slice_scatter select_scatter index_put masked_fill index_fill tril triu".split())


def read(b: LoweredBuilder, call: Call) -> tuple[Any, ...] | None:
    """Return the outputs of an operation that is done at once."""
    if randomness.is_draw(call.node):
        return None
    initial = call.node.origin.phase in ("initialization", "data")
    known = Call.of(call.node, as_known(b, call.args), as_known(b, call.kwargs)) if initial else call
    kind = _kind(known) if known.is_known else None
    if kind is None or _begins_with_a_number(known):
        return None
    folded = fold(known.node, as_known(b, known.args), as_known(b, known.kwargs), kind)
    if not initial:
        # a single number that discrete data give (how many labels count) is a constant of the script
        discrete = _of_whole_numbers(known_inputs(known.args, known.kwargs))
        for out in folded:
            if out is not None and out.tensor.ndim == 0 and (discrete or not out.tensor.dtype.is_floating_point):
                out.kind = "constant"
    return folded


def _begins_with_a_number(call: Call) -> bool:
    """Tell whether data are laid end to end with a state that begins as a number. Only one of the two may grow."""
    if call.node.origin.phase != "data" or base_name(call.node.op) != "cat":
        return False
    parts = [part for part in known_inputs(call.args, call.kwargs) if part.tensor.numel()]
    numbers = [part.kind == "constant" and part.number is not None for part in parts]
    return any(numbers) and not all(numbers) and all(part.tensor.is_floating_point() for part in parts)


def _of_whole_numbers(known: list[Known]) -> bool:
    return all(k.is_discrete or k.kind == "constant" for k in known)


def _kind(call: Call) -> KnownKind | None:
    """Find of which kind the results of an operation on known tensors are. None: it is written down, in spite of that."""
    known = known_inputs(call.args, call.kwargs)
    if all(k.kind == "constant" for k in known):
        return "constant"
    if call.node.origin.phase in ("initialization", "data"):
        return "data"
    if _of_whole_numbers(known) or all(meta is None or not meta.dtype.is_floating_point for meta in call.node.outputs):
        return "data" if any(k.kind in ("data", "random") for k in known) else "constant"
    return "data" if any(k.tensor.dtype.is_complex for k in known) else None


def as_known(b: LoweredBuilder, item: Any) -> Any:
    """Read leaves of parameters back as the tensors they hold (while a model is still being initialised)."""

    def one(x: Any) -> Any:
        if isinstance(x, Handle):
            return b.known_of.get(x.var, x) if b.is_whole(x) else x
        return b.known_of.get(x, x) if isinstance(x, StandsIn) else x

    return mapped(item, one)


EMPTY = frozenset({"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted"})


def fold(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any], kind: KnownKind) -> tuple[Known | None, ...]:
    """Run the operation on known tensors; the results keep a law where one survives."""
    name = base_name(node.op)
    known = known_inputs(args, kwargs)
    if name in SAME and known:
        source = known[1] if name == "copy" and len(known) > 1 else known[0]
        meta = node.outputs[0]
        if meta is not None and _same_type(source.tensor.dtype, meta.dtype) and source.shape == meta.shape:
            return (source,)
    if node.target is None:
        raise Refusal("the tape does not say how to compute it")
    # strides are not recorded: what was a view there may need a copy here
    target = torch.reshape if name in ("view", "_unsafe_view", "_reshape_alias") else node.target
    with torch.no_grad(), double_by_default():
        given = args[:2] if target is torch.reshape else args
        result = target(*mapped(given, _tensor), **mapped(kwargs, _tensor))
    if name in EMPTY:  # what lies in fresh memory is nobody's: the same at every width
        result = torch.zeros_like(result)
    outputs = tuple(result) if isinstance(result, (tuple, list)) else (result,)
    draw, notes = _surviving_draw(name, node, args, kwargs, known)
    if draw is not None and _divides_by_length(name, args):
        kind = "random"  # the start of a power iteration: noise, and no input
    outside = _outside(name, args)
    kept_name = known[0].name if known and name in SAME | REARRANGED else ""
    return tuple(
        Known(out, kind, draw, kept_name, notes, None, outside) if isinstance(out, torch.Tensor) else None
        for out in outputs
    )


def known_inputs(args: Any, kwargs: Any) -> list[Known]:
    """List every Known among the arguments, in order."""
    return [*_knowns_in(args), *_knowns_in(tuple(kwargs.values()))]


def _knowns_in(item: Any) -> list[Known]:
    if isinstance(item, Known):
        return [item]
    return [known for part in item for known in _knowns_in(part)] if isinstance(item, (list, tuple)) else []


def _same_type(one: torch.dtype, other: torch.dtype) -> bool:
    return one == other or (one.is_floating_point and other.is_floating_point)


def _tensor(item: Any) -> Any:
    """Convert an argument for folding: all float arithmetic is done in double precision, as a verification will do it."""
    if isinstance(item, Known):
        return item.tensor.to(double_type(item.tensor.dtype))
    return double_type(item) if isinstance(item, torch.dtype) else item


def _surviving_draw(
    name: str, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any], known: list[Known]
) -> tuple[Draw | None, tuple[str, ...]]:
    drawn = [k for k in known if k.draw is not None]
    if name == "where" and len(args) == 3:
        return _truncated(*args), ()
    if len(drawn) != 1 or drawn[0].draw is None:
        return None, ()
    source, draw = drawn[0], drawn[0].draw
    if name in SAME or name in REARRANGED:
        return (draw, source.notes) if len(known) == 1 else (None, ())
    if name in KEEPS_BUT_FOR_SOME and args and args[0] is source:
        others = [k.number for k in known[1:] if not k.is_discrete]
        if all(number == 0 for number in others):
            return draw, (*source.notes, f"some entries of a drawn tensor were overwritten at {node.origin.source}")
        return None, ()
    if args[0] is source and _divides_by_length(name, args):
        notes = (*source.notes, f"a random vector of unit length is taken for Gaussian at {node.origin.source}")
        return normal_draw(0.0, source.shape[0] ** -0.5), notes
    others_fixed = all(k is source or k.number is not None for k in known)
    if not _is_pointwise(node) or not others_fixed:
        return None, ()
    step = _step(node, args, kwargs, source)
    law = _affine(draw.law, step) if draw.law is not None and name in _AFFINE else None
    return Draw(draw.quantile, law, (*draw.steps, step)), source.notes


def _divides_by_length(name: str, args: tuple[Any, ...]) -> bool:
    """Recognise a Gaussian vector divided by its length: as n grows, Gaussian entries of standard deviation n^-1/2."""
    if name != "div" or not all(isinstance(arg, Known) for arg in args[:2]):
        return False
    vector, divisor = args[:2]
    law = vector.draw.law if vector.draw is not None else None
    if law is None or law.kind != "normal" or not law.location.is_zero or len(vector.shape) != 1 or vector.shape[0] < 8:
        return False
    length = uniform_number(divisor.tensor)
    return length is not None and math.isclose(length, float(vector.tensor.double().norm()), rel_tol=1e-5)


def _outside(name: str, args: tuple[Any, ...]) -> Outside | None:
    """Recognise x < low, x > high, or either of them, for a draw x."""
    if len(args) != 2 or not isinstance(args[0], Known):
        return None
    x, y = args
    number = y.number if isinstance(y, Known) else y
    if name in ("lt", "gt") and x.draw is not None and isinstance(number, (int, float)):
        return Outside(x, number, math.inf) if name == "lt" else Outside(x, -math.inf, number)
    if name in ("bitwise_or", "logical_or", "__or__") and isinstance(y, Known) and x.outside and y.outside:
        if x.outside.source is y.outside.source:
            low, high = max(x.outside.low, y.outside.low), min(x.outside.high, y.outside.high)
            return Outside(x.outside.source, low, high)
    return None


LIKELY = 0.65


def _truncated(mask: Any, new: Any, old: Any) -> Draw | None:
    """Return the law after entries outside of an interval were drawn anew (torch repeats that until none is outside).

    Few entries may hold no rejection, and then a recording shows a normal law. So whether one happened depends on the
    width, unless 16 entries make it certain (to 1e-3). So the law is then taken to be that normal one. Its standard
    deviation is too large by a factor (12 % for the usual two standard deviations), never by a power.
    """
    if (
        not all(isinstance(k, Known) for k in (mask, new, old))
        or mask.outside is None
        or mask.outside.source is not old
    ):
        return None
    whole = old.draw.parent or old.draw.law
    if new.draw is None or whole is None or new.draw.law != whole or whole.kind != "normal":
        return None
    mean, std = float(whole.location.constant), float(whole.scale.constant)
    if std == 0:
        return old.draw  # type: ignore[no-any-return]
    ends = torch.tensor([mask.outside.low, mask.outside.high], dtype=torch.float64)
    below, above = (float(p) for p in torch.special.ndtr((ends - mean) / std))
    if above - below > LIKELY:
        return normal_draw(mean, std)
    cut = Draw(lambda u: mean + std * torch.special.ndtri(below + (above - below) * u), None)
    return Draw(cut.quantile, cut.to_law(), (), whole)


_AFFINE = ("add", "sub", "rsub", "mul", "div", "neg")


def _is_pointwise(node: Node) -> bool:
    """Tell whether each number is made of the one at its index: torch knows its operations (but `rsub`). A mask is none."""
    meta = node.outputs[0]
    known = torch.Tag.pointwise in getattr(node.target, "tags", ()) or base_name(node.op) in _AFFINE
    return known and meta is not None and meta.dtype != torch.bool


def _step(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any], source: Known) -> Callable[[Any], Any]:
    target = node.target
    assert target is not None

    def step(sample: torch.Tensor) -> torch.Tensor:
        def placed(item: Any) -> Any:
            if item is source:
                return sample
            if isinstance(item, Known):
                return torch.tensor(item.number, dtype=torch.float64)
            return item

        result: torch.Tensor = target(*map(placed, args), **{key: placed(item) for key, item in kwargs.items()})
        return result

    return step


def _affine(law: Law, step: Callable[[Any], Any]) -> Law | None:
    """Return the law of slope * x + shift, both read off at 0 and 1. None if the step is not affine (c / x)."""
    zero, one, two = (float(step(torch.tensor(x, dtype=torch.float64))) for x in (0.0, 1.0, 2.0))
    slope, shift = one - zero, zero
    if not all(map(math.isfinite, (zero, one, two))) or not math.isclose(
        two, shift + 2 * slope, rel_tol=1e-9, abs_tol=1e-300
    ):
        return None
    return law.affine(slope, shift)


KNOWN = StandIn("known", read)
