"""Mirrors tpdyn/readings/interpret.py: what the loop does so that no reading has to."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import pytest

from tpdyn.exponents import Scaling
from tpdyn.program.builder import Builder
from tpdyn.program.errors import OutsideTheory, ReadingError
from tpdyn.program.instructions import Apply, Contract, Operand
from tpdyn.program.program import Program, Source, Statement
from tpdyn.readings.interpret import interpret, lockstep


def chain(length: int = 5) -> Program:
    """x, then h1 = tanh(x), h2 = tanh(h1), ..., each from a source line of its own."""
    b = Builder()
    h = b.data("x", (b.n,))
    for k in range(1, length):
        b.at(source=Source("train.py", 10 + k, f"h{k} = tanh(h)"))
        h = b.apply("tanh", h, name=f"h{k}")
    return b.build()


def depth(position: int, statement: Statement, operands: tuple[int, ...]) -> int:
    """One more than the deepest operand."""
    return 1 + max(operands, default=0)


def test_every_value_is_made_from_those_of_its_operands_in_order() -> None:
    assert interpret(chain(), depth) == [1, 2, 3, 4, 5]


def test_with_vars_only_those_are_returned_and_nothing_behind_them_is_read() -> None:
    read: list[int] = []

    def noting(position: int, statement: Statement, operands: tuple[int, ...]) -> int:
        read.append(position)
        return depth(position, statement, operands)

    assert interpret(chain(), noting, vars=(3, 1)) == {1: 2, 3: 4}
    assert read == [0, 1, 2, 3]


def test_a_listener_hears_all_values_though_none_is_kept() -> None:
    heard: list[int] = []
    assert interpret(chain(), depth, vars=(), listener=lambda at, statement, value: heard.append(value)) == {}
    assert heard == [1, 2, 3, 4, 5]
    assert interpret(chain(), depth, vars=()) == {}


def test_a_reading_stops_behind_a_position_or_behind_a_value() -> None:
    assert interpret(chain(), depth, until=2) == [1, 2, 3]
    assert interpret(chain(), depth, until=lambda at, statement, value: value == 4) == [1, 2, 3, 4]
    assert interpret(chain(), depth, vars=(0, 4), until=lambda at, statement, value: value == 3) == {0: 1}


class Thing:
    """A value of which it is seen when it dies."""


def test_a_value_is_freed_behind_its_last_reader_unless_it_is_wanted() -> None:
    alive: dict[int, weakref.ref[Thing]] = {}
    living: list[list[int]] = []

    def making(position: int, statement: Statement, operands: tuple[Thing, ...]) -> Thing:
        del operands
        gc.collect()
        living.append([k for k, thing in alive.items() if thing() is not None])
        made = Thing()
        alive[position] = weakref.ref(made)
        return made

    kept = interpret(chain(6), making, vars=(1, 5))
    assert sorted(kept) == [1, 5]
    assert living == [[], [0], [1], [1, 2], [1, 3], [1, 4]]


def test_a_position_that_the_program_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"positions \[5\]: the program has 5 statements, 0 .. 4"):
        interpret(chain(), depth, vars=(5,))
    with pytest.raises(ValueError, match=r"positions \[-1\]"):
        interpret(chain(), depth, until=-1)


def test_any_error_of_a_rule_is_shown_at_its_statement_with_its_source_line() -> None:
    def failing(position: int, statement: Statement, operands: tuple[int, ...]) -> int:
        return 1 // (2 - position)

    with pytest.raises(ReadingError, match=r"(?s)ZeroDivisionError: .*train\.py:12.*h2 = tanh\(h\).*> 2 \| ") as caught:
        interpret(chain(), failing)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_error_of_the_theory_stays_what_it_is() -> None:
    def outside(position: int, statement: Statement, operands: tuple[int, ...]) -> int:
        raise OutsideTheory("outside the theory: a cube")

    with pytest.raises(OutsideTheory, match=r"^outside the theory: a cube\n"):
        interpret(chain(), outside)


def test_what_a_listener_raises_passes_through() -> None:
    def listener(position: int, statement: Statement, value: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interpret(chain(), depth, listener=listener)


@pytest.mark.parametrize(
    ("instruction", "said"),
    [
        (Apply("maximum", (Operand(0, (0,)),)), "maximum takes 2 values, but 1 are given"),
        (Contract(()), "contracts 0 values; expected one or two"),
        (Apply("tanhh", (Operand(0, (0,)),)), "no pointwise function 'tanhh'"),
        (Apply("tanh", (Operand(1, (0,)),)), "KeyError: 1"),
    ],
)
def test_the_operands_are_counted_before_a_rule_sees_them(instruction: Apply | Contract, said: str) -> None:
    program = chain(2)
    broken = replace(program.statements[1], instruction=instruction)
    with pytest.raises(ReadingError, match=f"(?s){said}.*train.py:11"):
        interpret(replace(program, statements=(program.statements[0], broken)), depth)


def test_two_readings_run_side_by_side_and_neither_sees_the_other() -> None:
    def name(position: int, statement: Statement, operands: tuple[str, ...]) -> str:
        return statement.name + "".join(f"({operand})" for operand in operands)

    assert lockstep(chain(3), depth, name) == {0: (1, "x"), 1: (2, "h1(x)"), 2: (3, "h2(h1(x))")}
    assert lockstep(chain(3), depth, name, vars=(1,)) == {1: (2, "h1(x)")}
    assert lockstep(chain(3), depth, name, until=lambda at, statement, pair: pair[0] == 2) == {
        0: (1, "x"),
        1: (2, "h1(x)"),
    }


def test_the_width_never_enters_the_loop() -> None:
    assert chain().statements[1].shape == (Scaling.of(1, 1),)
