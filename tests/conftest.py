"""What is stricter in the test process than at a user's? Shapes and types are checked; one thread."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# Where tensors pass, annotations are checked at each call (jaxtyping's shapes, beartype's types). Not in the pure Python
# of programs, orders and strategies: beartype samples containers with `random`, which Hypothesis forbids in strategies.
install_import_hook(
    ["tpdyn.recording", "tpdyn.measuring", "tpdyn.reporting", "tpdyn.readings.finite", "tpdyn.claims.statistics"],
    "beartype.beartype",
)

import torch  # noqa: E402  (after the hook, so that nothing of the package slips in before it)

torch.set_num_threads(1)

settings.register_profile("default", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("default"), max_examples=25)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
