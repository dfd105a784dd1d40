"""Which parts of an optimizer's step are weight decay? They are set aside when a parametrization is derived.

In torch the decay of a step is `lr * weight_decay * w`: decoupled (AdamW), or added to the gradient (SGD). If a learning rate
must grow with the width, an unchanged `weight_decay` makes the decay grow with it. Then the best rate is the one at which
weights just survive: an answer about the decay, not about learning. So exponents are derived without the decay.
Applying them moves the decay too (`Shift.decay`). So the decay of each step stays in proportion, which is stable at
every width.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Combine, Operand
from tpdyn.program.program import Program

ONE = Scaling.of(1)


def without_decay(
    program: Program, updates: Mapping[str, Sequence[int]], raw: Iterable[int] = ()
) -> tuple[Program, frozenset[str]]:
    """Remove weight decay from a program; return also the parameters whose decay is added to their gradients.

    updates: the statements of each parameter's updates. raw: sums of which versions are made, by clipping, say. Returns the
    program itself if nothing decays.
    """
    statements = list(program.statements)
    coupled = set()
    for parameter in program.parameters:
        versions = {var for view in parameter.versions for var in view.pieces}
        held = versions.union(raw)
        for position in updates[parameter.name]:
            combine = statements[position].instruction
            terms = _without(combine, versions, position in held) if isinstance(combine, Combine) else None
            if terms is not None:
                assert isinstance(combine, Combine)
                statements[position] = replace(statements[position], instruction=replace(combine, terms=terms))
                if position not in held:
                    coupled.add(parameter.name)
    if tuple(statements) == program.statements:
        return program, frozenset()
    return replace(program, statements=tuple(statements)), frozenset(coupled)


Terms = tuple[tuple[Scaling, Operand], ...]


def _without(combine: Combine, versions: Container[int], makes_version: bool) -> Terms | None:
    """Remove the decay of a parameter from the terms of a sum; None if nothing in it decays.

    `w' = (1 - d) w - ...` keeps w; `g' = g + d w` keeps the gradient. Means of versions, perturbed weights and rescaled
    copies stay as they are.
    """
    mine = [(scale, operand) for scale, operand in combine.terms if operand.var in versions]
    others = tuple(term for term in combine.terms if term not in mine)
    total = Scaling.sum([scale for scale, _ in mine])
    if len({operand.var for _, operand in mine}) != 1 or total == ONE or not others:
        return None
    return ((ONE, mine[0][1]), *others) if makes_version else others
