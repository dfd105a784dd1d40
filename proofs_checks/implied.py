"""Which dense matrices would have given these answers? Replayed by the finite reading, they must give the same values."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from tpdyn.program.instructions import Leaf
from tpdyn.program.program import Program, Statement
from tpdyn.readings.interpret import interpret
from tpdyn.readings.sampled.atoms import Unseen
from tpdyn.readings.sampled.gaussian import Gaussian, Orthogonal
from tpdyn.readings.sampled.matrix import Matrix
from tpdyn.readings.sampled.noise import Independent
from tpdyn.readings.sampled.normed import Normed
from tpdyn.readings.sampled.rule import Sampled
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

    The leaves have the law of the program's own. They are stored, so the width must be small.
    """
    one = torch.ones((), dtype=torch.float64)
    rule = rule_for(program, width, Independent(width, seed, one), one, leaves=leaves, seed=seed)
    drawn: dict[str, tuple[Leaf, Sampled]] = {}

    def noting(position: int, statement: Statement, operands: tuple[Sampled, ...]) -> Sampled:
        value = rule(position, statement, operands)
        if isinstance(statement.instruction, Leaf):
            drawn[statement.name] = statement.instruction, value
        return value

    with torch.no_grad():
        values = interpret(program, noting, vars=vars)
    generator, dense = torch.Generator().manual_seed(seed), dict(leaves or {})
    for name, (leaf, value) in drawn.items():
        if isinstance(value, Tensor):
            dense[name] = value
        elif value.leaf is not None:
            dense[name] = leaf_of(value.leaf, generator) + leaf.law.moments_at(width)[0]
    return {position: value for position, value in values.items() if not isinstance(value, Matrix)}, dense


def leaf_of(leaf: Unseen, generator: torch.Generator) -> Tensor:
    """Draw a dense leaf that gives all the answers given so far."""
    batch, rows, columns = leaf.any_split()
    order = (*batch, *rows, *columns)
    count = math.prod(leaf.shape[axis] for axis in batch)
    matrices = torch.stack([matrix_of(leaf.operator(number), generator) for number in range(count)])
    matrices = matrices.reshape([leaf.shape[axis] for axis in order])
    return matrices.permute([order.index(axis) for axis in range(len(order))])


def matrix_of(operator: Gaussian, generator: torch.Generator) -> Tensor:
    """Draw a dense matrix, rows x columns, that gives every answer given so far."""
    if isinstance(operator, Normed):
        whole = operator.stored
        if whole is None:
            assert operator.spheres is not None
            whole = operator._known() + operator.spheres.whole(lambda k: operator._new(k).double()).to(operator.dtype)
        return whole if operator.unit == "rows" else whole.T
    q, u = operator.asked["columns"].whole, operator.asked["rows"].whole
    if isinstance(operator, Orthogonal):
        whole = u.T @ q + _completed(u, generator).T @ _completed(q, generator)
        return operator.std * whole[: operator.shape["rows"], : operator.shape["columns"]]
    y, v = operator.answers["columns"].whole, operator.answers["rows"].whole
    rest = torch.randn(u.shape[1], q.shape[1], generator=generator, dtype=operator.dtype) * operator.std
    rest = rest - u.T @ (u @ rest)
    rest = rest - (rest @ q.T) @ q
    if operator.remainder is not None:
        rest *= math.sqrt(operator.remainder) * operator.std / float(rest.norm())
    return y.T @ q + u.T @ v - u.T @ ((u @ y.T) @ q) + rest


def _completed(known: Tensor, generator: torch.Generator) -> Tensor:
    """Orthonormal vectors for all that `known` does not span."""
    count, n = known.shape
    fill = torch.randn(n - count, n, generator=generator, dtype=known.dtype)
    basis: Tensor = torch.linalg.qr(torch.cat([known, fill]).T)[0]
    return basis[:, count:].T
