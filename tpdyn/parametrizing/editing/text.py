"""What plain torch code moves a model and its optimizer with the width? It is written here, for a script to hold.

It does what `tpdyn.parametrize` does, for one script: tpdyn is not needed to run it. Everything is relative to the sizes of the
base width, at which every factor is exactly one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import final

from tpdyn.exponents import Scaling
from tpdyn.parametrizing.parametrization import ParameterFacts, Shift
from tpdyn.regimes.naming import pattern_of

Powers = Mapping[str, Fraction]
WRAPPERS = '("DataParallel", "DistributedDataParallel", "OptimizedModule")'
"""Modules that hold the model and give other names to its parameters."""


@final
class NoWidth(ValueError):
    """The width is not told by any dim of the optimizer's parameters."""


def powers_of(shift: Shift, settings: frozenset[str]) -> dict[str, Fraction]:
    """Return the powers that move, by the optimizer's names for them; "initial" for the entries themselves."""
    moved = {"initial": shift.initial, "lr": shift.rate, "weight_decay": shift.decay, "eps": shift.guard}
    return {key: power for key, power in moved.items() if power and (key == "initial" or key in settings)}


def table_by_pattern(rows: Mapping[str, Powers]) -> dict[str, Powers]:
    """Group rows by name: one row where all names that differ only in numbers (of blocks) move alike.

    >>> table_by_pattern({"h.0.w": {"lr": 1}, "h.1.w": {"lr": 1}, "out.w": {"lr": -1}, "ln.w": {}})
    {'h.*.w': {'lr': 1}, 'out.w': {'lr': -1}}
    """
    alike: dict[str, list[str]] = {}
    for name in rows:
        alike.setdefault(pattern_of(name), []).append(name)
    table: dict[str, Powers] = {}
    for pattern, names in alike.items():
        if len(names) > 1 and all(rows[name] == rows[names[0]] for name in names):
            table[pattern] = rows[names[0]]
        else:
            table |= {name: rows[name] for name in names}
    return {name: powers for name, powers in table.items() if powers}


def with_others(table: Mapping[str, Powers], rows: Mapping[str, Powers]) -> dict[str, Powers]:
    """Merge the rows of the table that most parameters share into one row, named ""."""
    counted = [powers for powers in table.values() if sum(other == powers for other in table.values()) > 2]
    if not counted:
        return dict(table)
    common = max(counted, key=lambda powers: sum(other == powers for other in table.values()))
    still = {name: powers for name, powers in rows.items() if not powers}
    return {"": common} | {name: powers for name, powers in table.items() if powers != common} | still


def width_from(shapes: Sequence[tuple[str, ParameterFacts]], base_width: int) -> tuple[str, int, str]:
    """Choose a parameter and one of its dims. Write the growth of the width in terms of `size`, that dim's.

    Raises NoWidth unless some dim is a multiple of a power of the width.
    """
    best: tuple[tuple[bool, bool, int], str, int, Scaling] | None = None
    for order, (name, facts) in enumerate(shapes):
        for axis, dim in enumerate(facts.shape):
            if dim.is_wide and len(dim.terms) == 1 and dim.at(base_width) == round(dim.at(base_width)):
                coefficient, power = dim.terms[0]
                rank = (power != 1, coefficient != 1, order)
                if best is None or rank < best[0]:
                    best = (rank, name, axis, dim)
    if best is None:
        raise NoWidth(
            f"no dim of its parameters is a whole multiple of the width at width {base_width}; try another --base-width"
        )
    _, name, axis, dim = best
    growth = f"size / {round(dim.at(base_width))}"
    power = dim.terms[0][1]
    return name, axis, growth if power == 1 else f"({growth}) ** ({1 / power})"


def number(power: Fraction) -> str:
    """Write a power as Python does: 1, -0.5, 1 / 3."""
    if power.denominator == 1:
        return str(power.numerator)
    return str(float(power)) if power.denominator in (2, 4, 8, 16) else f"{power.numerator} / {power.denominator}"


def _row(powers: Powers) -> str:
    return "{" + ", ".join(f'"{key}": {number(power)}' for key, power in powers.items()) + "}"


def by_model(
    name: str,
    rows: Mapping[str, Powers],
    size: tuple[str, int, str],
    base_width: int,
    param_names: bool,
    noted: bool = False,
) -> str:
    """Write the table and the function for an optimizer of a model whose parameters have names.

    noted: each group notes the factor of its rate, "lr_factor".
    """
    table = with_others(table_by_pattern(rows), rows)
    lines = [f"    {_text(key)}: {_row(powers)}," for key, powers in table.items()]
    parameter, axis, growth = size
    kept = '            moved["param_names"] = [names[parameter] for parameter in parameters]\n' if param_names else ""
    starred = any("*" in key.split(".") for key in table)
    others = "" in table
    rest = f'{name.upper()}[""]' if others else "{}"
    starts = any("initial" in powers for powers in table.values())
    return (
        _head(
            name,
            base_width,
            f"{' A * stands for any number.' if starred else ''}{' The first row is for all others.' if others else ''}",
        )
        + f"{name.upper()} = {{\n"
        + "\n".join(lines)
        + "\n}\n\n\n"
        + f"def {name}(model, optimizer):\n"
        + _docstring(base_width, starts)
        + f"    while type(model).__name__ in {WRAPPERS}:\n"
        + '        model = getattr(model, "module", None) or model._orig_mod\n'
        + f"    size = model.get_parameter({_text(parameter)}).shape[{axis}]\n"
        + f"    growth = {growth}\n"
        + "    names = {parameter: name for name, parameter in model.named_parameters()}\n"
        + ('    rescaled = model.__dict__.setdefault("_rescaled", set())\n' if starts else "")
        + "    groups = []\n"
        + "    for group in optimizer.param_groups:\n"
        + "        parts = {}\n"
        + '        for parameter in group["params"]:\n'
        + "            name = names[parameter]\n"
        + (
            '            pattern = ".".join("*" if part.isdigit() else part for part in name.split("."))\n'
            f"            powers = dict({name.upper()}.get(name, {name.upper()}.get(pattern, {rest})))\n"
            if starred
            else f"            powers = dict({name.upper()}.get(name, {rest}))\n"
        )
        + (
            '            initial = powers.pop("initial", 0)\n'
            "            if initial and name not in rescaled:\n"
            "                parameter.detach().mul_(growth**initial)\n"
            "                rescaled.add(name)\n"
            if starts
            else ""
        )
        + "            parts.setdefault(tuple(powers.items()), []).append(parameter)\n"
        + _tail(kept, noted)
    )


def by_order(
    name: str,
    rows: Sequence[tuple[str, Powers]],
    size: tuple[str, int, str],
    base_width: int,
    param_names: bool,
    noted: bool = False,
) -> str:
    """Write the table and the function for an optimizer of parameters outside of one model: told apart by their order."""
    lines = [f"    {_row(powers)},  # {key}" for key, powers in rows]
    index, axis, growth = size
    starts = any("initial" in powers for _, powers in rows)
    kept = '            moved.pop("param_names", None)\n' if param_names else ""
    return (
        _head(name, base_width, " In the optimizer's order.")
        + f"{name.upper()} = [\n"
        + "\n".join(lines)
        + "\n]\n\n\n"
        + f"def {name}(optimizer):\n"
        + _docstring(base_width, starts)
        + '    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]\n'
        + f"    size = parameters[{index}].shape[{axis}]\n"
        + f"    growth = {growth}\n"
        + f"    table = dict(zip(parameters, {name.upper()}))\n"
        + "    groups = []\n"
        + "    for group in optimizer.param_groups:\n"
        + "        parts = {}\n"
        + '        for parameter in group["params"]:\n'
        + "            powers = dict(table[parameter])\n"
        + ('            parameter.detach().mul_(growth ** powers.pop("initial", 0))\n' if starts else "")
        + "            parts.setdefault(tuple(powers.items()), []).append(parameter)\n"
        + _tail(kept, noted)
    )


def _head(name: str, base_width: int, also: str) -> str:
    return (
        f"# Derived by `tpdyn fix`: by which powers of (width / {base_width}) the initial entries and settings of each parameter\n"
        f"# move; what is not named stays.{also}\n"
    )


def _docstring(base_width: int, starts: bool) -> str:
    also = "\n\n    Initial entries are rescaled here: load a checkpoint afterwards.\n    " if starts else ""
    return (
        '    """Give a new optimizer and its parameters the maximal update parametrization; '
        f'at width {base_width} nothing changes.{also}"""\n'
    )


def _tail(kept: str, noted: bool) -> str:
    note = (
        '            moved["lr_factor"] = group.get("lr_factor", 1) * growth ** dict(powers).get("lr", 0)\n'
        if noted
        else ""
    )
    return (
        "        for powers, parameters in parts.items():\n"
        "            moved = {key: group[key] * growth**power for key, power in powers if group.get(key)}\n"
        + note
        + kept
        + '            groups.append({**group, **moved, "params": parameters})\n'
        "    optimizer.param_groups[:] = groups\n"
        "    return optimizer\n"
    )


def _text(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
