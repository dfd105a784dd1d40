"""Does a recorded program compute what the script computes, whatever the script? Random small models, trained a few steps.

`record(verify=True)` states it. Each recording replays the live run bit for bit. The program in a symbolic width gives the
live values at a held-out width (to 1e-7 in float64). Here models are drawn: depth, layer kinds, residuals, tied weights,
biases, optimizer, accumulation of gradients. Besides, the finite reading must give the same values as the verification's
evaluation. The program must be well-formed and survive JSON. That the check can fail: a program with any one constant
changed by a factor is rejected.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import tpdyn
from tpdyn.exponents import Scaling
from tpdyn.program.check import check
from tpdyn.program.instructions import Combine, Contract
from tpdyn.program.program import Program, Statement
from tpdyn.readings.finite import run, to_view
from tpdyn.recorder.canonical import Canonical, canonical
from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.fitting.verify import leaf_values, verify_program
from tpdyn.recorder.fitting.widths import fit
from tpdyn.recorder.lowered import Lowered
from tpdyn.recorder.record import How, lowered_at
from tpdyn.testing.models import Model, Network
from tpdyn.testing.strategies import models

EXAMPLES = {"quick": 8, "thorough": 1000}.get(os.environ.get("HYPOTHESIS_PROFILE", ""), 12)
RECORDED, UNSEEN = (16, 24, 40), 56  # the width that `record` verifies at, for these three


@given(model=models())
@settings(max_examples=EXAMPLES)
@example(model=Model(("norm", "attention", "norm", "residual"), True, True, "AdamW", 1, 0))
@example(model=Model(("tanh",), True, False, "Adam", 2, 0))
def test_the_program_of_any_model_computes_what_its_script_computes_at_an_unseen_width(model: Model) -> None:
    program = tpdyn.record(model.train, widths=RECORDED, steps=2)
    assert program.verified == UNSEEN
    check(program)
    assert Program.from_json(program.to_json()) == program
    modules = dict(Network(model, RECORDED[0]).named_modules())
    assert {mark.name.split("#")[0] for mark in program.marks if mark.kind == "module"} <= set(modules)
    assert {parameter.name for parameter in program.parameters} == set(dict(Network(model, 16).named_parameters()))


@given(model=models())
@settings(max_examples=max(4, EXAMPLES // 8))
def test_the_finite_reading_gives_the_live_values(model: Model) -> None:
    made = canonical(fit([lowered_at(model.train, width, How(2, 0, verify=False)) for width in RECORDED]))
    live = lowered_at(model.train, UNSEEN, How(2, 0, verify=False), double=True)
    verify_program(made, live)
    program = made.program
    leaves = {program.statements[position].name: value for position, value in leaf_values(made, live).items()}
    values = run(program, UNSEEN, leaves=leaves)
    compared = [(to_view(mark.view, values), live.live[low.var])
                for mark, low in zip(program.marks, live.marks, strict=True) if low.var in live.live]  # fmt: skip
    assert compared
    for found, wanted in compared:
        assert torch.allclose(found.reshape(wanted.shape), wanted, rtol=1e-7, atol=1e-7 * float(wanted.abs().max()))


@cache
def fitted(model: Model) -> tuple[Canonical, Lowered]:
    made = canonical(fit([lowered_at(model.train, width, How(2, 0, verify=False)) for width in RECORDED]))
    return made, lowered_at(model.train, UNSEEN, How(2, 0, verify=False), double=True)


SMALL = Model(("linear", "tanh", "norm"), True, False, "SGD with momentum", 1, 0)


def changed(statement: Statement, factor: float) -> Statement | None:
    """The statement with its constant multiplied (a sum's: all of them), or None if it has none."""
    instruction = statement.instruction
    times = Scaling.of(factor)
    if isinstance(instruction, Contract):
        return replace(statement, instruction=replace(instruction, scale=instruction.scale * times))
    if isinstance(instruction, Combine) and instruction.terms:
        # all of them: a bias is zero at initialisation, and nothing times anything is still nothing
        terms = tuple((scale * times, operand) for scale, operand in instruction.terms)
        return replace(statement, instruction=replace(instruction, terms=terms))
    return None


@given(position=st.integers(0, 10_000), factor=st.sampled_from([0.5, 1.001, -1.0, 3.0]))
@settings(max_examples=min(200, 2 * EXAMPLES))
def test_a_program_with_one_constant_changed_is_rejected(position: int, factor: float) -> None:
    made, live = fitted(SMALL)
    statements = list(made.program.statements)
    position %= len(statements)
    other = changed(statements[position], factor)
    assume(other is not None)
    assert other is not None
    statements[position] = other
    sabotaged = Canonical(replace(made.program, statements=tuple(statements)), made.views)
    with pytest.raises(RecordingError, match="differs by up to"):
        verify_program(sabotaged, live)


def test_a_power_of_the_width_that_is_wrong_is_rejected_at_the_unseen_width() -> None:
    made, live = fitted(SMALL)
    assert verify_program(made, live) is not None
    for position, statement in enumerate(made.program.statements):
        instruction = statement.instruction
        if isinstance(instruction, Contract) and not instruction.scale.is_constant:
            wrong = replace(statement, instruction=replace(instruction, scale=instruction.scale * Scaling.of(1, 1)))
            statements = (*made.program.statements[:position], wrong, *made.program.statements[position + 1 :])
            with pytest.raises(RecordingError, match="differs by up to"):
                verify_program(Canonical(replace(made.program, statements=statements), made.views), live)
            return
    pytest.fail("no constant of the program depends on the width, though LayerNorm divides by it")
