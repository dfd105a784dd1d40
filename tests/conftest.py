"""What is stricter in the test process than at a user's? Shapes and types are checked; one thread."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Any

import pytest
from beartype import BeartypeConf
from beartype.claw import beartype_packages
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# Where tensors pass, annotations are checked at each call. Not in the pure Python of programs, orders and strategies:
# beartype samples containers with `random`, which Hypothesis forbids in strategies. The recorder has no shapes, and mypy
# reads its types: checked at each call they cost half of a recording's time, so the thorough profile alone does it.
# jaxtyping's wrapper around a function costs ten times what beartype's own check does: it stands where shapes do.
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")
beartype_packages(
    ["tpdyn.measuring", "tpdyn.readings.finite", *(["tpdyn.recorder"] if PROFILE == "thorough" else [])],
    conf=BeartypeConf(claw_is_pep526=False, is_pep484_tower=True),  # parameters and results, not each assignment
)
install_import_hook(
    [
        "tpdyn.measuring.measurement",
        "tpdyn.claims.statistics",
        "tpdyn.claims.report",
        "tpdyn.tuning",
        "tpdyn.reporting",
    ],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",  # a whole number is a float
)

import torch  # noqa: E402  (after the hooks, so that nothing of the package slips in before them)

torch.set_num_threads(1)

settings.register_profile("default", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("default"), max_examples=25)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=500)
settings.load_profile(PROFILE)


@pytest.fixture
def published() -> Callable[[dict[str, Any]], list[str]]:
    """Says what is wrong with a document of ours, or not published."""
    from published import of_document

    return of_document


def pytest_collection_finish() -> None:
    """What is there before the first test stays. The collector walked it again and again, for an eighth of all time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
