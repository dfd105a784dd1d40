"""How does a run become numbers with names, and back? What was observed, as a finished run of the store, without loss."""

from __future__ import annotations

import math
from typing import Any

from tpdyn.measuring.measurement import SPLIT
from tpdyn.measuring.observe import FIELDS, Observation
from tpdyn.store.store import Measured, Run

PARTS = tuple(f"change by {part}" for part in SPLIT)
WORDS = (*FIELDS, *PARTS)


def values_of(run: Observation) -> list[Measured]:
    """List all numbers of a run. A part of a change that does not exist (NaN) is left out."""
    rows = [
        Measured(step, name, what, float(value))
        for (step, name), numbers in run.outputs.items()
        for what, value in zip(WORDS, numbers, strict=True)
        if what in FIELDS or not math.isnan(value)
    ]
    for (step, name), (size, change) in run.parameters.items():
        rows += [Measured(step, name, "parameter size", size), Measured(step, name, "parameter change", change)]
    rows += [Measured(step, name, "gradient size", value) for (step, name), value in run.gradients.items()]
    rows += [Measured(step, "", "loss", value) for step, value in run.losses.items()]
    return rows


def facts_of(run: Observation) -> dict[str, Any]:
    """Return the facts of a run beside its numbers, as JSON data."""
    return {
        "shapes": {name: list(shape) for name, shape in run.shapes.items()},
        "steps_made": run.steps,
        "unknown_base": run.unknown_base,
        "notes": run.notes,
        "simulated": run.simulated,
    }


def observation_of(run: Run) -> Observation:
    """Return the observation that a finished run was made of."""
    facts = run.facts
    seen = Observation(
        steps=int(facts["steps_made"]),
        shapes={name: tuple(shape) for name, shape in facts["shapes"].items()},
        unknown_base=list(facts["unknown_base"]),
        notes=list(facts["notes"]),
        simulated=bool(facts.get("simulated", False)),
        key=run.key,
    )
    pairs: dict[tuple[int, str], dict[str, float]] = {}
    for step, name, what, value in run.values:
        if what in WORDS:
            seen.outputs.setdefault((step, name), [math.nan] * len(WORDS))[WORDS.index(what)] = value
        elif what == "gradient size":
            seen.gradients[step, name] = value
        elif what == "loss":
            seen.losses[step] = value
        else:
            pairs.setdefault((step, name), {})[what] = value
    seen.parameters = {key: (each["parameter size"], each["parameter change"]) for key, each in pairs.items()}
    return seen
