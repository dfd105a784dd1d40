"""Mirrors tpdyn/recorder/lowering/evaluate.py: every statement in order, what is not asked for freed, errors with their place."""

from __future__ import annotations

import pytest
import torch

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Combine, Contract, Law, Leaf, Operand
from tpdyn.recorder.lowered import Lowered, LoweredStatement, Reshape
from tpdyn.recorder.lowering.evaluate import evaluate, evaluate_some

X = torch.arange(6.0).reshape(2, 3)


def lowered() -> Lowered:
    statements = [
        LoweredStatement(Leaf("data", "x", Law("data")), (2, 3)),
        LoweredStatement(Reshape(0), (3, 2)),
        LoweredStatement(Combine(((Scaling.of(2), Operand(1, (0, 1))),)), (3, 2)),
        LoweredStatement(Contract((Operand(2, (0, 1)), Operand(0, (1, 0))), Scaling.of(1, -1)), (3, 2)),
    ]
    return Lowered(4, statements, leaf_values={0: X})


def test_statements_are_computed_in_order_at_the_width() -> None:
    values = evaluate(lowered())
    assert torch.equal(values[1], X.double().reshape(3, 2))
    assert torch.equal(values[3], 2 * X.double().reshape(3, 2) * X.double().T / 4)
    assert {value.dtype for value in evaluate(lowered(), torch.float32)} == {torch.float32}


def test_only_what_is_asked_for_is_kept() -> None:
    found = evaluate_some(lowered(), (3, 1))
    assert list(found) == [1, 3] and torch.equal(found[3], evaluate(lowered())[3])


def test_a_leaf_of_another_shape_is_refused() -> None:
    program = lowered()
    program.leaf_values[0] = X.T
    with pytest.raises(ValueError, match=r"the leaf x has shape \(3, 2\), not \(2, 3\)"):
        evaluate(program)


def test_an_error_names_its_statement() -> None:
    program = lowered()
    program.statements[2] = LoweredStatement(Combine(((Scaling.of(2), Operand(1, (0,))),)), (3,))
    with pytest.raises((ValueError, RuntimeError)) as error:
        evaluate(program)
    assert "in statement 2 of the lowered program" in error.value.__notes__[0]
