"""How does a model get a derived parametrization? Its initial entries and its optimizer's groups are rescaled.

Everything is relative to a base width. There every factor is one, so what was tuned on the small model stays as it is.
At width n a parameter's initial entries are multiplied by `(n / base_width)^p` and its learning rate by
`(n / base_width)^q`. Here p and q are the differences between the derived exponents and the script's own. With them
move

* weight decay, by the inverse of the learning rate's factor. In torch the decay of a step is `lr * weight_decay * w`. It is
  decoupled as in AdamW, or added to the gradient as in SGD. This product stays as it was. Where it is added to a gradient
  that is then normalised (Adam's own), it stays in proportion to the gradient;
* eps, by the power of the width of what it is added to: else it wins over small gradients. Everett et al. (arXiv
  2407.05872) scale it by layer for the same reason.

What was done to which parameter is kept in a side table, keyed by name, on the model itself (`applied_to`). An attribute of a
tensor would die in deepcopy, wrapping and pickling. This does not, and a second application finds it and changes nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

import torch
from torch import nn

from tpdyn.exponents import Scaling
from tpdyn.parametrizing.parametrization import ParameterFacts, Parametrization, Shift

TABLE = "_tpdyn_applied"
MARK = "tpdyn"
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)

Groups = list[dict[str, Any]]


@final
@dataclass(frozen=True)
class Applied:
    """The side table: at which width, relative to which, and the powers by which each parameter was moved, by name."""

    width: int
    base_width: int
    shifts: Mapping[str, Shift]

    @property
    def mark(self) -> str:
        """What a group of an optimizer is marked with: plain text, so that it passes through `state_dict`."""
        return f"width {self.width}, base width {self.base_width}"

    def factor(self, power: Fraction) -> float:
        """Return `(width / base_width)^power`."""
        return float((self.width / self.base_width) ** float(power))


def parametrize(
    model: nn.Module,
    optimizer_or_groups: torch.optim.Optimizer | Iterable[Any],
    derived: Parametrization,
    base_width: int = 256,
    *,
    width: int | None = None,
    seed: int | None = None,
) -> Groups:
    """Give a model and its optimizer the parametrization that was derived from their script; returns the parameter groups.

    optimizer_or_groups: an optimizer (its groups are split in place, its state is kept), or what its constructor takes.
    That is groups with their "lr" (and, if not zero, "weight_decay"). Call it after both are made, before a scheduler
    is and before training. base_width: where the hyperparameters were tuned; there nothing changes. width: the model's,
    found from its shapes if not given (shards of a wrapped model may hide them). seed: draw the initial entries anew
    from the script's laws at the base width, instead of rescaling the present ones.

    Applied twice, it changes nothing the second time. Raises ValueError, before anything is changed, if names or shapes are
    not the program's, or a group lacks "lr". Raises it, too, for a multiplier that only the model's code can apply, and
    after another parametrization.

        mup = tpdyn.derive(tpdyn.record(train, widths=(16, 24, 40), steps=3))
        model, optimizer = Net(width=1024), ...
        tpdyn.parametrize(model, optimizer, mup, base_width=128)
    """
    inner = unwrapped(model)
    names = {parameter: plain_name(name) for name, parameter in inner.named_parameters()}
    derived = derived.joined(names.values())
    shifts = {plain_name(name): shift for name, shift in derived.shifts().items()}
    facts = {plain_name(name): fact for name, fact in derived.facts.items()}
    _check(names, shifts, derived, base_width, width)
    before = applied_to(inner)
    if width is None:
        width = before.width if before is not None else _width(model, names, facts)
    asked = Applied(width, base_width, {name: shifts[name] for name in names.values() if name in shifts})
    if before is not None and before != asked:
        raise ValueError(
            f"this model was parametrized before ({before.mark}), now {asked.mark} or other exponents are asked for. "
            "Build it anew first: its initial entries are rescaled already"
        )
    if isinstance(optimizer_or_groups, torch.optim.Optimizer):
        old: Groups = list(optimizer_or_groups.param_groups)
    else:
        old = _as_groups(optimizer_or_groups)
    groups = [new for index, group in enumerate(old) for new in _split(group, index, names, asked)]
    if before is None:
        if seed is not None:
            _check_laws(facts)
            _check_whole(names, facts)
        with torch.no_grad():
            _initialise(names, asked, facts, seed)
        setattr(inner, TABLE, asked)
    if isinstance(optimizer_or_groups, torch.optim.Optimizer):
        optimizer_or_groups.param_groups[:] = groups
    return groups


def applied_to(model: nn.Module) -> Applied | None:
    """Look up the side table of a parametrized model, wrapped or not; None for other models."""
    table = unwrapped(model).__dict__.get(TABLE)
    return table if isinstance(table, Applied) else None


def unwrapped(model: nn.Module) -> nn.Module:
    """Unwrap the model from torch.compile, DataParallel, FSDP and checkpoint wrappers."""
    while True:
        held = next((model._modules[name] for name in WRAPPERS if name in model._modules), None)
        inside = model.module if isinstance(model, PARALLEL) else held
        if inside is None:
            return model
        model = inside


def plain_name(name: str) -> str:
    """Strip from a parameter's name the parts that wrappers insert."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def width_of(shapes: Mapping[str, Sequence[int]], facts: Mapping[str, ParameterFacts]) -> int:
    """Solve for the width at which parameters have these shapes; raise ValueError where they do not agree on one."""
    widths: dict[int, str] = {}
    for name, shape in shapes.items():
        if name not in facts:
            continue
        dims = facts[name].shape
        if len(dims) != len(shape):
            raise ValueError(f"{name} has shape {tuple(shape)}; in the recorded program it is {_text(dims)}")
        for dim, size in zip(dims, shape, strict=True):
            width = _solve(dim, size) if dim.is_wide else None
            if width is None and (dim.is_wide or size != dim.constant):
                raise ValueError(f"{name} has shape {tuple(shape)}, which at no width is {_text(dims)}")
            if width is not None:
                widths.setdefault(width, f"{name} {tuple(shape)} = {_text(dims)}")
    if len(widths) != 1:
        said = "; ".join(f"n = {width} by {why}" for width, why in sorted(widths.items())) or "no shape grows with it"
        raise ValueError(f"the model's width is not clear: {said}. Build the model as the recorded script does")
    return next(iter(widths))


def _width(model: nn.Module, names: Mapping[nn.Parameter, str], facts: Mapping[str, ParameterFacts]) -> int:
    """Find the width of a model; where its parameters are shards without their shapes, it has to be given."""
    try:
        return width_of({name: parameter.shape for parameter, name in names.items()}, facts)
    except ValueError as error:
        if any("_fsdp_wrapped_module" in name for name, _ in model.named_modules()):
            raise ValueError(
                f"{error}. FullyShardedDataParallel has put the parameters into shards, which hide their shapes; give the "
                "model's width (width=...), or parametrize before wrapping"
            ) from error
        raise


def _check_whole(names: Mapping[nn.Parameter, str], facts: Mapping[str, ParameterFacts]) -> None:
    shards = sorted(
        name
        for p, name in names.items()
        if name in facts and (hasattr(p, "full_tensor") or p.ndim != len(facts[name].shape))
    )
    if shards:
        raise ValueError(
            f"seed: {', '.join(shards)} are shards, of which each process would draw its own. Parametrize before wrapping, or "
            "leave the seed out, and the entries that are there are rescaled"
        )


def _solve(dim: Scaling, size: int) -> int | None:
    """Solve dim(n) = size for a whole n, by bisection: dims grow."""
    width = 1 + bisect_left(range(1, 2**40), float(size), key=dim.at)
    return width if round(dim.at(width)) == size else None


def _text(dims: Sequence[Scaling]) -> str:
    return "(" + ", ".join(map(str, dims)) + ")"


def _check(
    names: Mapping[nn.Parameter, str],
    shifts: Mapping[str, Shift],
    derived: Parametrization,
    base_width: int,
    width: int | None,
) -> None:
    for what, given in (("base_width", base_width), ("width", 1 if width is None else width)):
        if isinstance(given, bool) or not isinstance(given, int) or given < 1:
            raise ValueError(f"{what} = {given!r}; expected a positive whole number")
    there, known = set(names.values()), set(shifts)
    if any("_flat_param" in name for name in there):
        raise ValueError(
            "the model's parameters are flattened into one by FullyShardedDataParallel, which then has one learning rate. Wrap "
            "with use_orig_params=True, or with torch.distributed.fsdp.fully_shard"
        )
    if missing := sorted(known - there):
        raise ValueError(
            f"the model has no parameter {', '.join(missing)}, which the recorded program trains; the model has: "
            f"{', '.join(sorted(there)) or 'none'}. Give the model that the script trains, built the same way"
        )
    trained = {name for parameter, name in names.items() if parameter.requires_grad}
    if unknown := sorted(trained - known):
        raise ValueError(f"the recorded program does not train {', '.join(unknown)}; record the script as it is now")
    if derived.multipliers:
        raise ValueError(
            "some multipliers can only be applied in the model's code (`tpdyn fix` shows the edit): "
            + "; ".join(derived.products())
            + ". Make these edits (relative to the base width), record again, derive again"
        )


def _as_groups(given: Iterable[Any]) -> Groups:
    items = list(given)
    if not items:
        raise ValueError("no parameters were given; expected an optimizer, parameters, or groups of them")
    if not isinstance(items[0], dict):
        items = [{"params": items}]
    groups: Groups = []
    for index, item in enumerate(items):
        if "lr" not in item:
            raise ValueError(
                f'group {index} has no "lr"; expected groups such as {{"params": model.parameters(), "lr": 0.1}}, or an optimizer'
            )
        params = item["params"]
        parameters = [params] if isinstance(params, torch.Tensor) else list(params)
        group = dict(item)
        if parameters and isinstance(parameters[0], tuple):
            group["param_names"] = [name for name, _ in parameters]
            parameters = [parameter for _, parameter in parameters]
        groups.append({**group, "params": parameters})
    return groups


def _split(group: dict[str, Any], index: int, names: Mapping[nn.Parameter, str], asked: Applied) -> Groups:
    """Split one group into several, each with the rates of its parameters. A group that is split already stays as it is."""
    if MARK in group:
        if group[MARK] != asked.mark:
            raise ValueError(f"group {index} is parametrized for {group[MARK]}; now {asked.mark} is asked for")
        return [group]
    if "initial_lr" in group:
        raise ValueError(
            f"group {index} belongs to a scheduler already, which keeps its own learning rates; parametrize first, then make "
            "the scheduler"
        )
    parts: dict[Shift, list[int]] = {}
    for index, parameter in enumerate(group["params"]):
        if parameter not in names:
            raise ValueError(
                f"group {index} holds a parameter of shape {tuple(parameter.shape)} that is not the model's"
            )
        shift = asked.shifts.get(names[parameter], Shift())
        parts.setdefault(Shift(rate=shift.rate, decay=shift.decay, guard=shift.guard), []).append(index)
    groups: Groups = []
    for shift, indices in parts.items():
        new = {**group, "params": [group["params"][index] for index in indices], MARK: asked.mark}
        if "param_names" in group:
            new["param_names"] = [group["param_names"][index] for index in indices]
        new["lr"] = group["lr"] * asked.factor(shift.rate)
        if group.get("weight_decay"):
            new["weight_decay"] = group["weight_decay"] * asked.factor(shift.decay)
        if isinstance(group.get("eps"), float):
            new["eps"] = group["eps"] * asked.factor(shift.guard)
        groups.append(new)
    return groups


def _check_laws(facts: Mapping[str, ParameterFacts]) -> None:
    without = sorted(name for name, fact in facts.items() if fact.law is None)
    if without:
        raise ValueError(
            f"seed: the initial entries of {', '.join(without)} follow no single law that could be drawn from. Leave the seed "
            "out, and the entries that are there are rescaled"
        )


def _initialise(
    names: Mapping[nn.Parameter, str], asked: Applied, facts: Mapping[str, ParameterFacts], seed: int | None
) -> None:
    for index, (parameter, name) in enumerate(names.items()):
        if name not in asked.shifts:
            continue
        law = facts[name].law
        if seed is not None and law is not None:
            generator = torch.Generator(device=parameter.device).manual_seed(seed * 1_000_003 + index)
            like, device = parameter.dtype, parameter.device
            parameter.copy_(law.draw(parameter.shape, asked.width, generator=generator, dtype=like, device=device))
        power = asked.shifts[name].initial
        if power:
            parameter.mul_(asked.factor(power))
