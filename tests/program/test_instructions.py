"""Mirrors tpdyn/program/instructions.py: what an instruction reads is what is replaced when its operands are."""

from __future__ import annotations

from typing import get_args

import pytest

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import (
    Apply,
    Combine,
    Concat,
    Contract,
    Eigenvalues,
    Gather,
    Instruction,
    Law,
    Leaf,
    Operand,
    Scatter,
    Slice,
    Spectral,
    operands_of,
    with_operands,
)

X, Y = Operand(0, (0, 1)), Operand(1, (0,))
ONE = Scaling.of(1)
EXAMPLES: tuple[Instruction, ...] = (
    Leaf("data", "x", Law("data")),
    Contract((X, Y)),
    Combine(((ONE, X), (ONE, Y))),
    Apply("maximum", (X, Y)),
    Gather(X, Y, 2),
    Scatter(X, Y, 1),
    Slice.of(X, 1, 0, 1, 2),
    Concat((X, None), (ONE, ONE), 0),
    Eigenvalues(X, (0,), (1,), 0),
    Spectral(Y, X, (0,), (1,), 2),
)


def test_there_is_an_example_of_each_instruction() -> None:
    assert {type(example) for example in EXAMPLES} == set(get_args(Instruction))


@pytest.mark.parametrize("instruction", EXAMPLES, ids=lambda each: type(each).__name__)
def test_operands_are_replaced_where_they_are_read(instruction: Instruction) -> None:
    moved = with_operands(instruction, lambda place: Operand(place.var + 10, place.axes))
    assert [place.var for place in operands_of(moved)] == [place.var + 10 for place in operands_of(instruction)]
    assert with_operands(moved, lambda place: Operand(place.var - 10, place.axes)) == instruction
