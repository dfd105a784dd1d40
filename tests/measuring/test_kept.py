"""Mirrors tpdyn/measuring/kept.py: an observation comes back from the store without loss."""

from __future__ import annotations

import math

from tpdyn.measuring.kept import facts_of, observation_of, values_of
from tpdyn.measuring.observe import FIELDS, PARTS, Observation
from tpdyn.store.store import Run


def test_an_observation_is_the_same_after_a_way_through_rows() -> None:
    seen = Observation(
        outputs={
            (0, "fc"): [0.1 * k for k in range(len(FIELDS))] + [math.nan] * PARTS,
            (1, "output"): [math.nan, math.inf] + [0.5] * (len(FIELDS) - 2 + PARTS),
        },
        parameters={(0, "fc.weight"): (0.3, 0.0)},
        gradients={(1, "fc.weight"): 1e-30},
        losses={0: 0.7, 1: math.inf},
        shapes={"fc.weight": (3, 4)},
        steps=2,
        unknown_base=["fc"],
        notes=["a note"],
    )
    back = observation_of(Run("key", facts_of(seen), values_of(seen)))
    assert back.same_as(seen)
    assert list(back.outputs) == list(seen.outputs)
    assert (back.shapes, back.steps, back.notes, back.unknown_base) == (
        seen.shapes, seen.steps, seen.notes, seen.unknown_base,
    )  # fmt: skip
    assert back.broken_by(1)
