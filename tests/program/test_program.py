"""Mirrors tpdyn/program/program.py: values with a name are found by it."""

from __future__ import annotations

import pytest

from tpdyn.program.builder import Builder
from tpdyn.program.program import Program, View


@pytest.fixture
def program() -> Program:
    b = Builder()
    x = b.data("x", (3, b.n))
    for step in (0, 1):
        b.at(step=step)
        b.mark("module", "fc1", b.apply("tanh", x))
    b.mark("loss", "loss", b.einsum("bi->", x))
    return b.build()


def test_a_mark_is_found_by_name_and_step(program: Program) -> None:
    assert program.mark("fc1").view == View.plain(1, 2)
    assert program.mark("fc1", 1).view.var == 2
    assert program.mark("loss", 1).view.dims == ()


def test_a_mark_that_is_not_there_is_answered_with_those_that_are(program: Program) -> None:
    with pytest.raises(KeyError, match="no mark 'fc2'; there are: fc1, loss"):
        program.mark("fc2")
    with pytest.raises(KeyError, match="no mark 'loss' in step 0; it has one in the steps 1"):
        program.mark("loss")


def test_a_parameter_that_is_not_there_is_answered_with_those_that_are(program: Program) -> None:
    with pytest.raises(KeyError, match="no parameter 'w'; there are: none"):
        program.parameter("w")


def test_each_statement_reads_the_positions_of_its_operands(program: Program) -> None:
    assert program.reads == ((), (0,), (0,), (0,))
