"""How is a program read? One loop, from the first statement to the last; a reading is the rule for one statement.

    values = interpret(program, reading)

A reading is a function `(position, statement, operand values) -> value`. The loop does what rules should not think of. It
hands over the operands and frees values that nothing needs any more. It stops where asked, and shows an error at its
statement.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar, overload

from tpdyn.program.base import later_versions
from tpdyn.program.check import arity_problems, ring
from tpdyn.program.errors import ReadingError
from tpdyn.program.lifetimes import dying
from tpdyn.program.program import Program, Statement

V = TypeVar("V")
Pair = tuple[V | None, V | None]
"""A value, and that of the base program; None where nothing that is wanted reads it."""
W = TypeVar("W")

Rule = Callable[[int, Statement, tuple[V, ...]], V]
Listener = Callable[[int, Statement, V], None]
Until = int | Callable[[int, Statement, V], bool]
"""The last position to be read, or a test of each value: whether to stop behind it."""


@overload
def interpret(
    program: Program,
    reading: Rule[V],
    *,
    vars: None = None,
    known: Sequence[V] = (),
    until: Until[V] | None = None,
    listener: Listener[V] | None = None,
) -> list[V]: ...
@overload
def interpret(
    program: Program,
    reading: Rule[V],
    *,
    vars: Collection[int],
    known: Sequence[V] = (),
    until: Until[V] | None = None,
    listener: Listener[V] | None = None,
) -> dict[int, V]: ...
def interpret(
    program: Program,
    reading: Rule[V],
    *,
    vars: Collection[int] | None = None,
    known: Sequence[V] = (),
    until: Until[V] | None = None,
    listener: Listener[V] | None = None,
) -> list[V] | dict[int, V]:
    """Read a program, statement by statement.

    Args:
        program: what to read.
        reading: the rule, `(position, statement, values of its operands) -> value`.
        vars: the positions whose values are wanted; every other value is freed once nothing reads it any more. The reading
            ends with the last of them, unless somebody listens: `vars=()` keeps nothing and tells the listener all.
            None: all are wanted.
        known: the values of the first statements, which are not read again (nor told to the listener).
        until: where to stop: the last position to be read, or `(position, statement, value) -> bool`.
        listener: told `(position, statement, value)` after each statement. What it raises passes through.

    Returns:
        The value of each statement that was read, in order; with `vars` a dict of those wanted, by position.

    Raises:
        ReadingError: whatever the rule raises, shown in rings (problem / source line / neighbours). A subclass of
            ReadingError, such as OutsideTheory, stays what it is; of any other error the name is shown.
        ValueError: `vars` or `until` name a position that the program does not have.
    """
    end = _end(program, vars, until, listener is not None)
    freed = {} if vars is None else dying(program.reads[: end + 1], frozenset(vars))
    values = dict(enumerate(known[: end + 1]))
    results = _one_by_one(program, reading, values)
    for position, statement in enumerate(program.statements[len(known) : end + 1], start=len(known)):
        values[position] = value = results(position, statement)
        if listener is not None:
            listener(position, statement, value)
        for var in freed.get(position, ()):
            del values[var]
        if callable(until) and until(position, statement, value):
            break
        del value  # or it would outlive its last reader by a statement
    return list(values.values()) if vars is None else {var: values[var] for var in sorted(vars) if var in values}


def lockstep(
    program: Program,
    one: Rule[V],
    other: Rule[W],
    *,
    vars: Collection[int] | None = None,
    until: Until[tuple[V, W]] | None = None,
    listener: Listener[tuple[V, W]] | None = None,
) -> dict[int, tuple[V, W]]:
    """Read a program in two ways side by side; return the pairs of both values, by position.

    Neither reading sees the other; `until` and `listener` see pairs, and all else is as in `interpret`. For instance, read
    the program and the base program at one width. A listener compares the values while none is kept (`vars=()`).
    """

    def both(position: int, statement: Statement, operands: tuple[tuple[V, W], ...]) -> tuple[V, W]:
        mine = one(position, statement, tuple(value for value, _ in operands))
        return mine, other(position, statement, tuple(value for _, value in operands))

    wanted = range(len(program)) if vars is None else vars
    return interpret(program, both, vars=wanted, until=until, listener=listener)


def beside(
    program: Program,
    value: Rule[V],
    of_base: Callable[[int, Statement], V],
    wanted: Collection[int],
    alone: Collection[int] = (),
) -> Rule[Pair[V]]:
    """Make a rule of the program and its base program, side by side: it reads only the ancestors of `wanted`.

    The base program is read where it differs; elsewhere both are the same object. alone: wanted without their base.
    value: the rule of a statement as it stands. of_base: what the base program reads instead of a later version of a parameter.
    """
    later = later_versions(program)
    mine, of_the_base = cones(program, wanted, alone)

    def rule(position: int, statement: Statement, operands: tuple[Pair[V], ...]) -> Pair[V]:
        if position not in mine:
            return None, None
        result = value(position, statement, tuple(each for each, _ in operands if each is not None))
        if position not in of_the_base:
            return result, None
        if position in later:
            return result, of_base(position, statement)
        if all(base is each for each, base in operands):
            return result, result
        return result, value(position, statement, tuple(base for _, base in operands if base is not None))

    return rule


def cones(program: Program, wanted: Collection[int], alone: Collection[int] = ()) -> tuple[set[int], set[int]]:
    """Collect what `beside` reads: the ancestors of all that is wanted, and those in the base program."""
    return _cone(program, {*wanted, *alone}, ()), _cone(program, wanted, later_versions(program))


def _cone(program: Program, wanted: Collection[int], given: Collection[int]) -> set[int]:
    """Collect the ancestors of the positions wanted, themselves included; a given value has none."""
    needed = set(wanted)
    for position in range(len(program) - 1, -1, -1):
        if position in needed and position not in given:
            needed.update(program.reads[position])
    return needed


def _one_by_one(program: Program, reading: Rule[V], values: Mapping[int, V]) -> Callable[[int, Statement], V]:
    """Return the rule of one statement: count and look up its operands, make its value, show its errors at it."""
    problems, reads = arity_problems(program), program.reads

    def made(position: int, statement: Statement) -> V:
        try:
            if position in problems:
                raise ReadingError(problems[position])
            return reading(position, statement, tuple([values[var] for var in reads[position]]))
        except ReadingError as error:
            raise type(error)(ring(program, position, str(error))) from error
        except Exception as error:
            raise ReadingError(ring(program, position, f"{type(error).__name__}: {error}")) from error

    return made


def _end(program: Program, vars: Collection[int] | None, until: object, heard: bool) -> int:
    """Return the last position that may be read."""
    named = [*(vars or ()), *([until] if isinstance(until, int) else [])]
    missing = sorted(position for position in named if not 0 <= position < len(program))
    if missing:
        raise ValueError(f"positions {missing}: the program has {len(program)} statements, 0 .. {len(program) - 1}")
    if isinstance(until, int):
        return until
    return len(program) - 1 if vars is None or heard or callable(until) else max(vars, default=-1)
