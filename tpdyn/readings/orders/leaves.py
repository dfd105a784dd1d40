"""How big is a leaf? What its law says: zeros have no terms, noise of two wide dims is a Gaussian matrix."""

from __future__ import annotations

from fractions import Fraction
from typing import assert_never

from tpdyn.exponents import ZERO
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.instructions import Leaf
from tpdyn.readings.orders.parity import EVEN, Sources, odd_in, of_function
from tpdyn.readings.orders.terms import Gaussian, Term, Value, scaled, tidy


def leaf_value(leaf: Leaf, position: int, wide: int, power: Fraction, sources: Sources) -> Value:
    """Read a leaf with that many wide axes, times n^power."""
    law = leaf.law
    constant = [Term(law.location.order)] if law.location.order is not None else []
    match law.kind:
        case "zero":
            return Value((), (), None, wide)
        case "data" | "array":  # the scale, where it is said, is the size of an entry
            return Value((Term(ZERO if law.scale.order is None else law.scale.order),), (), None, wide)
        case "index":
            return Value((Term(ZERO),), (), None, 0)
        case "constant":
            if law.location.order is not None and abs(law.location.at(1)) == float("inf"):
                return Value((), (), None, wide)  # -inf marks what a softmax leaves out
            return Value(scaled(tuple(constant), power), (), None, wide)
        case "bernoulli":
            parity = of_function(odd_in(sources.leaf(position)), "neither") if wide == 1 else EVEN
            return Value((Term(ZERO, parity),), (), None, wide)
        case "normal" | "uniform" | "iid" | "orthogonal":
            terms = list(constant)
            if law.scale.order is not None:
                terms.append(_noise(position, law.scale.order, wide, sources))
            return Value(tidy(list(scaled(tuple(terms), power)), wide), (), None, wide)
    assert_never(law.kind)


def _noise(position: int, order: Fraction, wide: int, sources: Sources) -> Term:
    if wide == 0:
        return Term(order)
    if wide == 1:
        return Term(order, odd_in(sources.leaf(position)))
    if wide == 2:
        return Term(order, EVEN, ZERO, Gaussian(position, (0, 1)))
    raise OutsideTheory(f"outside the theory: random entries along {wide} wide dims; expected at most two")
