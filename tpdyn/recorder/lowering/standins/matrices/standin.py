"""Which operations read a matrix as a whole (see `kinds`), and by which rule? All others read the array of its entries."""

from __future__ import annotations

from typing import Any

from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.standins.matrices import arithmetic, decompositions, products
from tpdyn.recorder.lowering.standins.matrices.apart import instead
from tpdyn.recorder.lowering.standins.matrices.kinds import SYMBOLIC, diag_embed, identity_of
from tpdyn.recorder.lowering.standins.standin import Call, Settles, StandIn, outputs
from tpdyn.recorder.lowering.values import Handle

RULES: dict[str, Rule] = {"diag_embed": diag_embed}
READERS: dict[str, Rule] = {**decompositions.RULES, **arithmetic.READERS, **products.READERS}


def read(b: LoweredBuilder, call: Call) -> tuple[Any, ...] | None:
    """Return what an operation makes that reads something symbolic, an identity matrix beside a value, or decomposes a value."""
    rule = READERS.get(call.name)
    if not call.holds(*SYMBOLIC):
        meets = call.name in decompositions.RULES or any(identity_of(arg) is not None for arg in call.args)
        if rule is None or not call.holds(Handle) or not meets:
            return None
    if rule is None:
        raise Settles
    return outputs(rule(b, *call.args, **call.options))


MATRICES = StandIn("matrices", read, instead)
