"""Mirrors tpdyn/recorder/lowering/finish.py: an update is one Combine, leaves come first, nothing needless stays."""

from __future__ import annotations

import math

import pytest
import torch
from lowered_scripts import loop, lowered_script, mlp

from tpdyn.program.instructions import Apply, Combine, Leaf, Operand

pytestmark = pytest.mark.usefixtures("double_precision")


def adam_script(width: int) -> None:
    model = mlp(width)
    loop(model, torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1))


def test_a_new_parameter_is_one_combine_that_begins_with_the_old_one() -> None:
    lowered = lowered_script(adam_script)
    for parameter in lowered.parameters:
        for old, new in zip(parameter.versions, parameter.versions[1:], strict=False):
            made = lowered.statements[new].instruction
            assert isinstance(made, Combine) and len(made.terms) == 2
            scale, operand = made.terms[0]
            assert operand == Operand(old, tuple(range(len(lowered.statements[old].shape))))
            assert math.isclose(float(scale.constant), 1 - 0.01 * 0.1)


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_momentum_stays_by_itself_in_the_last_step_too(nesterov: bool) -> None:
    """No later step reads it there. Joined to the new parameter, it made the last step another one than that before."""

    def script(width: int) -> None:
        model = mlp(width)
        loop(model, torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=nesterov))

    lowered = lowered_script(script, steps=3)
    last = max(statement.origin.step for statement in lowered.statements)
    steps = [[s for s in lowered.statements if s.origin.step == step] for step in (last - 1, last)]
    assert len(steps[0]) == len(steps[1])
    assert [type(s.instruction) for s in steps[0]] == [type(s.instruction) for s in steps[1]]


def test_the_epsilon_of_adam_is_marked() -> None:
    lowered = lowered_script(adam_script)
    marked = [s.instruction for s in lowered.statements if isinstance(s.instruction, Combine) and s.instruction.epsilon]
    assert len(marked) == 2 * len(lowered.parameters)
    assert {float(combine.constant.constant) for combine in marked} == {1e-8}


def test_every_leaf_that_is_a_parameter_has_its_name_and_comes_first() -> None:
    lowered = lowered_script(adam_script)
    leaves = [s.instruction for s in lowered.statements if isinstance(s.instruction, Leaf)]
    named = [leaf.name for leaf in leaves if leaf.kind == "parameter"]
    assert sorted(named) == sorted(p.name for p in lowered.parameters)
    assert [leaf.name for leaf in leaves[: len(named)]] == named


def test_no_statement_is_left_that_nothing_needs() -> None:
    lowered = lowered_script(adam_script)
    read = {operand.var for s in lowered.statements for operand in getattr(s.instruction, "operands", ())}
    functions = {s.instruction.function for s in lowered.statements if isinstance(s.instruction, Apply)}
    assert read and {"tanh", "tanh'", "softmax", "sqrt", "reciprocal"} <= functions
