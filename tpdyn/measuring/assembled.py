"""How do single runs become one measurement? Each number is filed by width, seed, step and name."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tpdyn.measuring.measurement import Measurement
from tpdyn.measuring.observe import FIELDS, OF_OUTPUTS, OF_PARAMETERS, PARTS, Observation


def assembled(
    widths: tuple[int, ...],
    seeds: tuple[int, ...],
    steps: int,
    runs: dict[tuple[int, int], Observation],
    device: str,
    notes: list[str],
) -> Measurement:
    """Assemble a measurement from its finished runs; runs that are missing are NaN and not `completed`."""
    names = tuple(dict.fromkeys(name for run in runs.values() for _, name, what in run.values if what == "size"))
    parameters = tuple(dict.fromkeys(name for run in runs.values() for name in run.shapes))
    shape = (len(widths), len(seeds), steps)
    axes = dict.fromkeys(OF_OUTPUTS, names) | dict.fromkeys(OF_PARAMETERS, parameters) | {"loss": ("",)}
    arrays = {what: np.full((*shape, len(axis)), np.nan) for what, axis in axes.items()}
    columns = {(what, name): k for what, axis in axes.items() for k, name in enumerate(axis)}
    diverged = np.zeros(shape, dtype=np.bool_)
    completed = np.zeros(shape[:2], dtype=np.bool_)
    for (width, seed), run in runs.items():
        at = widths.index(width), seeds.index(seed)
        completed[at] = True
        for (t, name, what), value in run.values.items():
            if t < steps and (what, name) in columns:
                arrays[what][(*at, t, columns[what, name])] = value
        diverged[at] = [run.broken_by(t) or t > run.steps for t in range(steps)]
        notes = [*notes, *run.notes]
        if run.unknown_base:
            notes.append(
                f"no change is known for {', '.join(dict.fromkeys(run.unknown_base))}: the input was computed from "
                "other modules' outputs outside of any module. Put the network into one nn.Module"
            )
    return Measurement(
        widths=widths,
        seeds=seeds,
        steps=steps,
        names=names,
        parameters=parameters,
        split=np.stack([arrays[part] for part in PARTS], axis=-1),
        loss=arrays["loss"][..., 0],
        diverged=diverged,
        completed=completed,
        device=device,
        notes=tuple(dict.fromkeys(notes)),
        runs=tuple((*pair, run.key) for pair, run in runs.items() if run.key),
        **{what.replace(" ", "_"): arrays[what] for what in (*FIELDS, *OF_PARAMETERS) if what != "new_nonfinite"},
    )


def joined(one: Measurement, other: Measurement) -> Measurement:
    """Join two measurements of one script: all widths and seeds of both; `other` counts where both have a run.

    Raises ValueError if they have different numbers of steps.
    """
    if one.steps != other.steps:
        raise ValueError(
            f"measurements of {one.steps} and {other.steps} steps cannot be joined; measure with equal steps"
        )
    widths = tuple(sorted({*one.widths, *other.widths}))
    seeds = tuple(dict.fromkeys((*one.seeds, *other.seeds)))
    names = tuple(dict.fromkeys((*one.names, *other.names)))
    parameters = tuple(dict.fromkeys((*one.parameters, *other.parameters)))
    arrays: dict[str, Any] = {}
    for each in fields(Measurement):
        value = getattr(one, each.name)
        if isinstance(value, np.ndarray):
            arrays[each.name] = _spread(each.name, (one, other), (widths, seeds, names, parameters))
    return Measurement(
        widths=widths, seeds=seeds, steps=one.steps, names=names, parameters=parameters, device=other.device,
        notes=tuple(dict.fromkeys((*one.notes, *other.notes))), runs=(*one.runs, *other.runs), **arrays,
    )  # fmt: skip


Axes = tuple[tuple[int, ...], tuple[int, ...], tuple[str, ...], tuple[str, ...]]
"""Widths, seeds, names of modules, names of parameters."""


def _spread(field: str, parts: tuple[Measurement, Measurement], axes: Axes) -> NDArray[np.generic]:
    """Spread both parts in one array over their axes; NaN (or False) where neither has a run."""
    widths, seeds, names, parameters = axes
    first = getattr(parts[0], field)
    of_parameters = field in ("parameter_size", "parameter_change", "gradient_size")
    shape: tuple[int, ...] = (len(widths), len(seeds), *first.shape[2:])
    if first.ndim > 3:
        shape = (*shape[:3], len(parameters) if of_parameters else len(names), *shape[4:])
    whole = np.zeros(shape, dtype=first.dtype) if first.dtype == np.bool_ else np.full(shape, np.nan)
    for part in parts:
        value = getattr(part, field)
        columns = [
            (parameters if of_parameters else names).index(x)
            for x in (part.parameters if of_parameters else part.names)
        ]
        for w, width in enumerate(part.widths):
            for s, seed in enumerate(part.seeds):
                if not part.completed[w, s]:
                    continue
                at = widths.index(width), seeds.index(seed)
                if value.ndim > 3:
                    whole[at][:, columns] = value[w, s]
                else:
                    whole[at] = value[w, s]
    return whole
