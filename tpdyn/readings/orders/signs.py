"""Which values can never be negative? Norms, squares, and what is made of such: of these the smallest is a matter of orders.

Needed where a script takes the smaller of two numbers: the factor of gradient clipping is the minimum of 1 and of a limit
divided by the norm of all gradients.
"""

from __future__ import annotations

from collections.abc import Iterable

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Apply, Combine, Concat, Contract, Gather, Leaf, Slice
from tpdyn.program.program import Program

ALWAYS = frozenset({"abs", "exp", "relu", "sigmoid", "softmax", "sqrt", "rsqrt"})
KEEPING = frozenset({"maximum", "minimum", "power", "reciprocal"})


def nonnegative(program: Program, var: int) -> bool:
    """Whether a value is nonnegative whatever the parameters are; False where the rules do not tell."""
    instruction = program.statements[var].instruction
    match instruction:
        case Leaf(law=law):
            return law.kind == "bernoulli" or (law.kind == "constant" and _none_negative([law.location]))
        case Apply(function=function, operands=operands):
            kept = function in KEEPING and all(nonnegative(program, operand.var) for operand in operands)
            return function in ALWAYS or kept
        case Contract(operands=operands, scale=scale):
            square = len(operands) == 2 and operands[0] == operands[1]
            return _none_negative([scale]) and (square or all(nonnegative(program, o.var) for o in operands))
        case Combine(terms=terms, constant=constant):
            positive = _none_negative([constant, *(scale for scale, _ in terms)])
            return positive and all(nonnegative(program, operand.var) for _, operand in terms)
        case Slice(value=operand) | Gather(value=operand):
            return nonnegative(program, operand.var)
        case Concat(parts=parts):
            return all(part is None or nonnegative(program, part.var) for part in parts)
        case _:
            return False


def _none_negative(scalings: Iterable[Scaling]) -> bool:
    return all(coefficient >= 0 for scaling in scalings for coefficient, _ in scaling.terms)
