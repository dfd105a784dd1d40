"""How does a run become numbers with names, and back? What was observed, as a finished run of the store, without loss."""

from __future__ import annotations

from typing import Any

from tpdyn.measuring.observe import Observation
from tpdyn.store.store import Measured, Run


def values_of(run: Observation) -> list[Measured]:
    """List all numbers of a run."""
    return [Measured(*key, value) for key, value in run.values.items()]


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
    return Observation(
        values={(step, name, what): value for step, name, what, value in run.values},
        steps=int(facts["steps_made"]),
        shapes={name: tuple(shape) for name, shape in facts["shapes"].items()},
        unknown_base=list(facts["unknown_base"]),
        notes=list(facts["notes"]),
        simulated=bool(facts.get("simulated", False)),
        key=run.key,
    )
