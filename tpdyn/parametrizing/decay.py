"""Which parts of an optimizer's step are weight decay? They are set aside when a parametrization is derived.

In torch the decay of a step is `lr * weight_decay * w`: decoupled (AdamW), or added to the gradient (SGD). Where a learning
rate has to grow with the width, a decay that is left as it is would grow with it, and the best rate would be one at which
the weights just do not decay away: an answer about the decay, not about learning. So exponents are derived without it, and
whoever applies them moves the decay too (`Shift.decay`), such that each step's decay stays in proportion: that is stable at
every width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Combine, operands_of
from tpdyn.program.program import Parameter, Program

ONE = Scaling.of(1)


def without_decay(program: Program) -> tuple[Program, frozenset[str]]:
    """The program without weight decay, and the parameters whose decay is added to their gradients."""
    statements = list(program.statements)
    coupled = set()
    for parameter in program.parameters:
        versions = {var for view in parameter.versions for var in view.pieces}
        for position in steps_of(program, parameter):
            statement = statements[position]
            combine = statement.instruction
            if not isinstance(combine, Combine):
                continue
            mine = [(scale, place) for scale, place in combine.terms if place.var in versions]
            others = tuple(term for term in combine.terms if term not in mine)
            total = Scaling.sum([scale for scale, _ in mine])
            if len({place.var for _, place in mine}) != 1 or total == ONE or not others:
                continue  # nothing decays: a mean of versions, a perturbed weight, or a rescaled copy
            if position in versions:
                terms = ((ONE, mine[0][1]), *others)
            else:
                terms = others
                coupled.add(parameter.name)
            statements[position] = replace(statement, instruction=replace(combine, terms=terms))
    return replace(program, statements=tuple(statements)), frozenset(coupled)


def steps_of(program: Program, parameter: Parameter) -> Iterator[int]:
    """The statements of the optimizer on the way to a parameter's new versions."""
    stack = [var for view in parameter.versions[1:] for var in view.pieces]
    seen = set(stack)
    while stack:
        position = stack.pop()
        statement = program.statements[position]
        if statement.origin.phase != "optimizer":
            continue
        yield position
        new = {place.var for place in operands_of(statement.instruction)} - seen
        seen |= new
        stack.extend(new)
