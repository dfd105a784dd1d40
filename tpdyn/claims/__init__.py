"""Do the runs agree with the theory? Orders estimated from runs, compared with those that are predicted."""

from tpdyn.claims.assertions import assert_regime

__all__ = ["assert_regime"]
