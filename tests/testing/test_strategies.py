"""What is drawn is well-formed, and shrinks to what its docstring says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st
from torch.optim.optimizer import register_optimizer_step_post_hook

from tpdyn.claims import theorems
from tpdyn.claims.theorems import Abc
from tpdyn.pointwise import lookup
from tpdyn.program.check import check
from tpdyn.program.instructions import Leaf
from tpdyn.program.program import Program
from tpdyn.testing import strategies
from tpdyn.testing.models import OPTIMIZERS, Model

FEW = settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def smallest(strategy):
    return find(strategy, lambda _: True, settings=settings(FEW, max_examples=30))


@given(strategies.programs())
@settings(FEW)
def test_programs_are_well_formed(program: Program) -> None:
    check(program)


@given(strategies.training_programs())
@settings(FEW, max_examples=5)
def test_training_programs_are_well_formed_and_train(program: Program) -> None:
    check(program)
    assert program.steps >= 2 and program.parameters


def test_the_smallest_examples_are_those_that_the_docstrings_name() -> None:
    program = smallest(strategies.programs())
    made = [s.instruction for s in program.statements if not isinstance(s.instruction, Leaf)]
    assert len(made) <= 2
    assert smallest(strategies.widths()) == (16, 24, 32)
    assert smallest(strategies.pointwise_functions())[0].name == "tanh"
    assert smallest(strategies.optimizers()) == "SGD"
    assert smallest(strategies.models()) == Model((), False, False, "SGD", 1, 0)


@given(
    strategies.abc_parametrizations(2, "sgd", stable=True), strategies.abc_parametrizations(1, "entrywise", stable=True)
)
@settings(FEW)
def test_stable_parametrizations_are_stable_and_nontrivial(sgd: Abc, entrywise: Abc) -> None:
    assert theorems.sgd(sgd).stable and theorems.sgd(sgd).nontrivial
    assert theorems.entrywise(entrywise).stable and theorems.entrywise(entrywise).nontrivial


@given(strategies.widths(count=2, smallest=10, largest=40, multiple=10))
@settings(FEW)
def test_widths_rise_and_are_multiples(widths: tuple[int, ...]) -> None:
    assert widths[0] < widths[1] and all(width % 10 == 0 and 10 <= width <= 40 for width in widths)


def test_widths_that_cannot_be_drawn_are_refused() -> None:
    with pytest.raises(ValueError, match="there are 2"):
        strategies.widths(count=3, smallest=16, largest=24)


@given(strategies.pointwise_functions(smooth=True), st.floats(0.1, 0.9))
@settings(FEW)
def test_functions_have_values_and_derivatives(drawn, x: float) -> None:
    function, parameters = drawn
    assert function.slope is not None and not function.kinks
    lookup(function.slope, parameters)
    function.value(torch, torch.tensor(x), *parameters)


@given(strategies.models())
@settings(FEW, max_examples=2)
def test_models_train(model: Model) -> None:
    losses = []

    class Enough(Exception):
        pass

    def counted(optimizer, *_):
        losses.append(optimizer)
        if len(losses) % 2 == 0:
            raise Enough

    handle = register_optimizer_step_post_hook(counted)
    try:
        with pytest.raises(Enough):
            model.train(16)
    finally:
        handle.remove()
    assert model.optimizer in OPTIMIZERS


def test_types_are_registered_with_hypothesis() -> None:
    strategies.registered()
    assert "programs" in repr(st.from_type(Program)) and "points" in repr(st.from_type(Abc))
