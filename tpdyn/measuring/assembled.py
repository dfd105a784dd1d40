"""How do single runs become one measurement? Each number is filed by width, seed, step and name."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tpdyn.measuring.measurement import SPLIT, Measurement
from tpdyn.measuring.observe import FIELDS, Observation


def assembled(
    widths: tuple[int, ...],
    seeds: tuple[int, ...],
    steps: int,
    runs: dict[tuple[int, int], Observation],
    device: str,
    notes: list[str],
) -> Measurement:
    """Assemble a measurement from its finished runs; runs that are missing are NaN and not `completed`."""
    names = tuple(dict.fromkeys(name for run in runs.values() for _, name in run.outputs))
    parameters = tuple(dict.fromkeys(name for run in runs.values() for name in run.shapes))
    shape = (len(widths), len(seeds), steps)
    outputs = np.full((*shape, len(names), len(FIELDS) + len(SPLIT)), np.nan)
    sizes = np.full((*shape, len(parameters), 2), np.nan)
    gradients = np.full((*shape, len(parameters)), np.nan)
    losses = np.full(shape, np.nan)
    diverged = np.zeros(shape, dtype=np.bool_)
    completed = np.zeros(shape[:2], dtype=np.bool_)
    column = {name: k for k, name in enumerate(names)}
    row = {name: k for k, name in enumerate(parameters)}
    for (width, seed), run in runs.items():
        at = widths.index(width), seeds.index(seed)
        completed[at] = True
        for (t, name), values in run.outputs.items():
            if t < steps:
                outputs[(*at, t, column[name])] = values
        for (t, name), pair in run.parameters.items():
            if t < steps:
                sizes[(*at, t, row[name])] = pair
        for (t, name), value in run.gradients.items():
            if t < steps and name in row:
                gradients[(*at, t, row[name])] = value
        for t, value in run.losses.items():
            if t < steps:
                losses[(*at, t)] = value
        diverged[at] = [run.broken_by(t) or t > run.steps for t in range(steps)]
        notes = [*notes, *run.notes]
        if run.unknown_base:
            notes.append(
                f"no change is known for {', '.join(dict.fromkeys(run.unknown_base))}: the input was computed from "
                "other modules' outputs outside of any module. Put the network into one nn.Module"
            )
    sizes_of_outputs = {name: outputs[..., k] for k, name in enumerate(FIELDS) if name != "new_nonfinite"}
    return Measurement(
        widths=widths,
        seeds=seeds,
        steps=steps,
        names=names,
        parameters=parameters,
        split=outputs[..., len(FIELDS) :],
        parameter_size=sizes[..., 0],
        parameter_change=sizes[..., 1],
        gradient_size=gradients,
        loss=losses,
        diverged=diverged,
        completed=completed,
        device=device,
        notes=tuple(dict.fromkeys(notes)),
        runs=tuple((*pair, run.key) for pair, run in runs.items() if run.key),
        **sizes_of_outputs,
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
