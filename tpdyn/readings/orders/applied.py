"""What does a pointwise function make of a value and its change? The rules of `functions`, for all arguments at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache, reduce

from tpdyn.exact.compare import exceeds, largest, reaches
from tpdyn.exponents import ZERO, Scaling
from tpdyn.facts.facts import Facts
from tpdyn.pointwise import lookup
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.instructions import Apply, Leaf
from tpdyn.program.program import Program
from tpdyn.readings.orders.contraction import placed
from tpdyn.readings.orders.functions import (
    Chain,
    Placed,
    change_terms,
    hull_of,
    larger_than_tiny,
    least_of,
    products,
    several_arguments,
    value_terms,
)
from tpdyn.readings.orders.parity import EVEN, of_function, product
from tpdyn.readings.orders.terms import Term, Terms, Value, consistent, leading_order, tidy


def applied(facts: Facts, position: int, apply: Apply, values: Sequence[Value], guarded: Mapping[int, int]) -> Value:
    """Read an Apply; guarded: which argument a maximum or clamp with a tiny number keeps (`guarded_maxima`)."""
    plan = facts.layout(position)
    chain = _chain(apply.function, apply.parameters)
    at_most = any(value.at_most for value in values)
    arguments = [
        (placed(value.base, axes), placed(value.change, axes), placed(value.total, axes))
        for value, axes in zip(values, plan.operands, strict=True)
    ]
    if chain[0].arity == 1 and position in guarded:
        floored = _chain(apply.function, (Scaling.of(0), *apply.parameters[1:]))
        return _of_one_argument(floored, larger_than_tiny(arguments[0], (Term(ZERO),)), plan.wide, at_most)
    if chain[0].arity == 1:
        made = _of_one_argument(chain, arguments[0], plan.wide, at_most, values[0].whole is not None)
        return _averaged(facts.program, position, apply, arguments[0], made) if chain[0].along == "shares" else made
    if chain[0].chooses == "masked":
        return _where(arguments, plan.wide, at_most)
    if position in guarded:
        kept = guarded[position]
        base, change, whole = larger_than_tiny(arguments[kept], arguments[1 - kept][0])
        return Value(base, change, whole if change else None, plan.wide, at_most)
    if chain[0].chooses == "smallest" and not plan.wide and all(facts.nonnegative[o.var] for o in apply.operands):
        base, change, whole = least_of(tuple(arguments))
        return Value(base, change, whole if change else None, plan.wide, at_most)
    bound = _bound(facts, apply)
    if bound is not None and plan.wide:  # a single number may be the reciprocal of one of which only a bound is known
        kept, parameters = bound
        return _of_one_argument(_chain("clamp", parameters), arguments[kept], plan.wide, at_most)
    if apply.function in _ORDERING and not _random(arguments):
        return _of_one_argument(_chain("step", ()), _together(*arguments), plan.wide, at_most)
    base = several_arguments(chain[0], tuple(base for base, _, _ in arguments), plan.wide)
    moves = any(change for _, change, _ in arguments)
    if position in facts.picks:  # one of n entries: its product with x, summed over them, is as large as x
        rare = facts.picks[position]
        base = tuple(Term(term.order, term.parity, rare) for term in base)
        return Value(base, base if moves else (), None, plan.wide, at_most or moves)
    change = _change_of_several(chain, arguments, base, plan.wide) if moves else ()
    return Value(base, change, None, plan.wide, at_most)


_ORDERING = ("greater", "greater_equal", "less", "less_equal")
"""Comparisons that are the step of a difference."""


def _random(arguments: Sequence[Placed]) -> bool:
    """Tell whether entries of a random matrix are compared."""
    return any(term.gaussian is not None for argument in arguments for terms in argument for term in terms)


def _together(x: Placed, y: Placed) -> Placed:
    """Return the terms of a sum or a difference."""
    return (*x[0], *y[0]), (*x[1], *y[1]), (*x[2], *y[2])


def _bound(facts: Facts, apply: Apply) -> tuple[int, tuple[Scaling, ...]] | None:
    """Recognise the maximum or minimum of a value and a constant as a clamp: of which argument, to which interval."""
    choice = lookup(apply.function).chooses
    if choice not in ("largest", "smallest") or len(apply.operands) != 2:
        return None
    for kept, operand in ((0, apply.operands[1]), (1, apply.operands[0])):
        leaf = facts.program.statements[operand.var].instruction
        if isinstance(leaf, Leaf) and leaf.law.kind == "constant" and leaf.law.location.is_constant:
            number = leaf.law.location
            low, high = (number, _INFINITY) if choice == "largest" else (-_INFINITY, number)
            return kept, (low, high)
    return None


_INFINITY = Scaling.of(math.inf)


@lru_cache(maxsize=1 << 10)
def _chain(name: str, parameters: tuple[Scaling, ...]) -> Chain:
    """List a function and its derivatives, up to the third."""
    try:
        numbers = tuple(float(parameter.constant) for parameter in parameters)
    except ValueError as error:
        raise OutsideTheory(f"outside the theory: {name} with a parameter that depends on the width: {error}") from None
    functions = [lookup(name, numbers)]
    while functions[-1].slope is not None and len(functions) < 4:
        functions.append(lookup(functions[-1].slope, numbers))
    return tuple(functions)


def _of_one_argument(chain: Chain, argument: Placed, wide: int, at_most: bool, smaller: bool = False) -> Value:
    """Read f(x). smaller: the whole of x may be below base and change; its reciprocal then exceeds both."""
    before, moved, after = argument
    base = value_terms(chain, before, wide)
    if not moved:
        return Value(base, (), None, wide, at_most)
    whole = value_terms(chain, after, wide)
    change = change_terms(chain, before, moved, after, wide)
    smaller = smaller and exceeds(leading_order((*before, *moved)) or ZERO, leading_order(after) or ZERO)
    if smaller and chain[0].degree is not None and chain[0].degree < 0:
        change = tidy([*change, *whole], wide)  # f(base + change) - f(base), of which the first is the larger
    return consistent(Value(base, change, whole, wide, at_most))


def _averaged(program: Program, position: int, apply: Apply, argument: Placed, made: Value) -> Value:
    """Read a softmax over a wide dim: its entries are smaller by n, as they sum to 1."""
    size = program.statements[position].shape[apply.along] if apply.along is not None else None
    if size is None or not size.is_wide:
        return made
    assert size.order is not None
    if exceeds(leading_order(argument[2]) or ZERO, 0):
        raise OutsideTheory("outside the theory: a softmax over a wide dim with logits that grow with the width")
    return made.times(-size.order)


def _where(arguments: Sequence[Placed], wide: int, at_most: bool) -> Value:
    """Read `mask ? x : y`: the larger of the two. A mask that depends on x is as good as a factor of order 0.

    It is `m x + (1 - m) y`. So it changes as what it chooses from, and by all of that where the mask changes.
    """
    mask, x, y = arguments

    def choice(which: int) -> Terms:
        parity = of_function(hull_of(mask[0]), "neither") if mask[0] else EVEN
        return tidy(
            [Term(t.order, product(t.parity, parity), t.rarity, t.gaussian) for t in (*x[which], *y[which])], wide
        )

    change = [*choice(1), *products(mask[1], (*x[0], *y[0], *x[1], *y[1]))]
    return Value(choice(0), tidy(change, wide), None, wide, at_most)


def _change_of_several(chain: Chain, arguments: Sequence[Placed], base: Terms, wide: int) -> Terms:
    function = chain[0]
    total = several_arguments(function, tuple(after for _, _, after in arguments), wide)
    sizes = [order for before, _, _ in arguments if (order := leading_order(before)) is not None]
    moved = [term for _, change, _ in arguments for term in change]
    top = largest([term.rms_order for term in moved])
    if not sizes or reaches(top, largest(sizes)):
        return tidy([*base, *total], wide)
    size = largest(sizes)
    met = [term for before, change, _ in arguments for term in (*before, *change)]
    parity = reduce(product, [of_function(term.parity, "neither") for term in met])
    if function.jumps:
        return (Term(ZERO, parity, size - top),)
    degree = function.degree
    return (Term(top + ((degree - 1) * size if degree is not None else ZERO), parity),)
