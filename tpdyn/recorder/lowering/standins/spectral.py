"""Which operations read a matrix as a whole (see `matrices`), and by which rule? All others read the array of its entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tpdyn.recorder.lowering.builder import Builder
from tpdyn.recorder.lowering.rules.elementwise import Rule
from tpdyn.recorder.lowering.standins import decompositions, matrix_arithmetic, matrix_products
from tpdyn.recorder.lowering.standins.matrices import SYMBOLIC, ByParts, diag_embed, identity_of
from tpdyn.recorder.lowering.values import Value

RULES: dict[str, Rule] = {**decompositions.RULES, "diag_embed": diag_embed}
READERS: dict[str, Rule] = {**decompositions.RULES, **matrix_arithmetic.READERS, **matrix_products.READERS}


def concerns(name: str, args: Sequence[Any]) -> bool:
    """Whether an operation reads something symbolic, or an identity matrix beside a value."""
    if any(isinstance(arg, SYMBOLIC) or (isinstance(arg, (list, tuple)) and concerns("", arg)) for arg in args):
        return True
    if name not in READERS or not any(isinstance(arg, Value) for arg in args):
        return False
    return any(identity_of(arg) is not None for arg in args)


def through(b: Builder, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """One operation that reads something symbolic."""
    rule = READERS.get(name)
    if rule is None:
        raise ByParts
    return rule(b, *args, **kwargs)
