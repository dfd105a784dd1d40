"""A program that goes on is the program of a longer recording, but for the constants of a schedule."""

from dataclasses import replace

import pytest

from tpdyn.program.check import check
from tpdyn.program.continued import continued
from tpdyn.program.instructions import Combine, Leaf
from tpdyn.testing.perceptrons import mlp_program


@pytest.mark.parametrize("optimizer", ["sgd", "sign", "adam"])
def test_a_continued_program_is_the_one_with_more_steps(optimizer: str) -> None:
    short, long = (mlp_program(2, "tanh", optimizer, steps=steps) for steps in (3, 5))
    found = continued(short, 2)
    assert found is not None
    check(found.program)
    assert len(found.program) == len(long)
    for mine, theirs in zip(found.program.statements, long.statements, strict=True):
        assert (mine.shape, mine.origin) == (theirs.shape, theirs.origin)
        if not isinstance(mine.instruction, Leaf):
            assert mine.instruction == theirs.instruction
    assert found.program.parameters == long.parameters
    assert [(m.kind, m.name, m.step, m.view) for m in found.program.marks] == [
        (m.kind, m.name, m.step, m.view) for m in long.marks
    ]


def test_recorded_statements_keep_their_positions_and_copies_name_their_originals() -> None:
    short = mlp_program(1, "tanh", "sgd", steps=2)
    found = continued(short, 1)
    assert found is not None
    assert found.program.statements[: len(short)] == short.statements
    for new, old in found.copied.items():
        assert type(found.program.statements[new].instruction) is type(short.statements[old].instruction)


def test_a_program_whose_last_steps_differ_in_kind_is_not_continued() -> None:
    program = mlp_program(1, "tanh", "sgd", steps=3)
    statements = list(program.statements)
    spoilt = max(k for k, s in enumerate(statements) if isinstance(s.instruction, Combine))
    instruction = statements[spoilt].instruction
    assert isinstance(instruction, Combine)
    statements[spoilt] = replace(statements[spoilt], instruction=replace(instruction, terms=instruction.terms[:1]))
    assert continued(replace(program, statements=tuple(statements)), 1) is None
    assert continued(mlp_program(1, "tanh", "sgd", steps=1), 1) is None
