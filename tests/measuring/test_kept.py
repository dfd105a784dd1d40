"""Mirrors tpdyn/measuring/kept.py: an observation comes back from the store without loss."""

from __future__ import annotations

import math

from tpdyn.measuring.kept import facts_of, observation_of, values_of
from tpdyn.measuring.observe import FIELDS, OF_OUTPUTS, Observation
from tpdyn.store.store import Run


def test_an_observation_is_the_same_after_a_way_through_rows() -> None:
    seen = Observation(
        values={
            **{(0, "fc", what): 0.1 * k for k, what in enumerate(FIELDS)},
            **{(1, "output", what): (math.nan, math.inf, 0.5)[min(k, 2)] for k, what in enumerate(OF_OUTPUTS)},
            (0, "fc.weight", "parameter size"): 0.3,
            (0, "fc.weight", "parameter change"): 0.0,
            (1, "fc.weight", "gradient size"): 1e-30,
            (0, "", "loss"): 0.7,
            (1, "", "loss"): math.inf,
        },
        shapes={"fc.weight": (3, 4)},
        steps=2,
        unknown_base=["fc"],
        notes=["a note"],
    )
    back = observation_of(Run("key", facts_of(seen), values_of(seen)))
    assert back.same_as(seen)
    assert list(back.values) == list(seen.values)
    assert (back.shapes, back.steps, back.notes, back.unknown_base) == (
        seen.shapes, seen.steps, seen.notes, seen.unknown_base,
    )  # fmt: skip
    assert back.broken_by(1)
