"""Which dense matrices would have given these answers? Replayed by the finite reading, they must give the same values."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from tpdyn.program.program import Program
from tpdyn.readings.interpret import interpret
from tpdyn.readings.sampled.matrix import Matrix
from tpdyn.readings.sampled.noise import Independent
from tpdyn.readings.sampled.simulate import rule_for


def implied(
    program: Program,
    width: int,
    seed: int = 0,
    *,
    vars: Collection[int],
    leaves: Mapping[str, Tensor] | None = None,
) -> tuple[dict[int, Tensor], dict[str, Tensor]]:
    """Simulate the values at some positions. Return them, and every leaf up to there as a tensor with the same answers.

    The leaves have the law of the program's own: a second way to check the sampler. They are stored, so the width must be
    small.
    """
    one = torch.ones((), dtype=torch.float64)
    rule = rule_for(program, width, Independent(width, seed, one), one, leaves=leaves, seed=seed, keep=True)
    with torch.no_grad():
        values = interpret(program, rule, vars=vars)
    stored = {position: value for position, value in values.items() if not isinstance(value, Matrix)}
    return stored, {**(leaves or {}), **rule.implied(torch.Generator().manual_seed(seed))}
