"""What is claimed, and do the runs agree? Claims as data, checks with known error rates, and how tests ask for them.

    from tpdyn import claims

    @claims.parametrize_with_claims([claims.regime(train, "feature learning"), claims.order(train, "fc1", change=0)])
    def test_training(claim, tpdyn_check):
        tpdyn_check(claim)

It imports nothing heavy: each name below is fetched at its first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tpdyn.claims.assertions import assert_regime
    from tpdyn.claims.checking import Bench, ClaimFailed, Finding, check, check_claims
    from tpdyn.claims.claim import kernel, law, limit, order, regime, transfer
    from tpdyn.claims.parametrized import parametrize_with_claims

__all__ = [
    "Bench",
    "ClaimFailed",
    "Finding",
    "assert_regime",
    "check",
    "check_claims",
    "kernel",
    "law",
    "limit",
    "order",
    "parametrize_with_claims",
    "regime",
    "transfer",
]

_HOMES = {
    "assert_regime": "assertions",
    "parametrize_with_claims": "parametrized",
    **dict.fromkeys(("Bench", "ClaimFailed", "Finding", "check", "check_claims"), "checking"),
    **dict.fromkeys(("kernel", "law", "limit", "order", "regime", "transfer"), "claim"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tpdyn.claims' has no attribute {name!r}; it has: {', '.join(__all__)}")
    value = globals()[name] = getattr(import_module(f"tpdyn.claims.{_HOMES[name]}"), name)
    return value
