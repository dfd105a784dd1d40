"""Is each fact found once, whoever asks, and does it live and die with its program?"""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from dataclasses import FrozenInstanceError, replace

import pytest

from tpdyn.exponents import Scaling
from tpdyn.facts import facts as module
from tpdyn.facts.facts import Facts
from tpdyn.program.builder import Builder
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.instructions import Contract, Operand
from tpdyn.program.program import Program
from tpdyn.testing.perceptrons import mlp_program

N = Builder.n


def small() -> Program:
    b = Builder()
    b.at(phase="forward")
    b.einsum("ij,j->i", b.parameter("W", (N, N)), b.data("x", (N,)))
    return b.build()


def test_whoever_asks_gets_the_same_facts_and_facts_are_their_own() -> None:
    program = small()
    facts = Facts.of(program)
    assert Facts.of(program) is facts is Facts.of(facts)
    assert facts.program is program
    assert Facts.of(small()) is not facts  # an equal program is another object


def test_a_fact_is_worked_out_at_the_first_question_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(module, "layouts", lambda program: asked.append(program) or ())
    facts = Facts.of(small())
    assert asked == []
    assert facts.layouts is facts.layouts
    assert len(asked) == 1


def test_facts_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Facts.of(small()).program = small()  # type: ignore[misc]


def test_a_program_is_what_it_was_after_its_facts_were_asked() -> None:
    program, same = small(), small()
    _ = Facts.of(program).representations
    assert program == same and program.to_json() == same.to_json() and repr(program) == repr(same)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p)), replace])
def test_a_copy_of_a_program_has_facts_of_its_own(copied) -> None:
    program = small()
    facts = Facts.of(program)
    _ = facts.owner
    twin = copied(program)
    assert twin == program
    assert Facts.of(twin).program is twin
    assert Facts.of(twin) is not facts


def test_facts_go_when_the_program_goes() -> None:
    program = small()
    facts = weakref.ref(Facts.of(program))
    del program
    gc.collect()
    assert facts() is None


def test_a_further_question_is_answered_once_for_each_program() -> None:
    facts, calls = Facts.of(small()), []
    answers = [facts.once(("how many", 2), lambda: calls.append(1) or len(calls)) for _ in range(3)]
    assert answers == [1, 1, 1]
    assert facts.once("another question", lambda: 5) == 5
    assert Facts.of(small()).once(("how many", 2), lambda: 7) == 7


def test_a_layout_that_does_not_exist_is_told_where_it_is_asked_for() -> None:
    """A wide axis meets a finite one: other statements of the program keep theirs."""
    b = Builder()
    b.at(phase="forward")
    x = b.data("x", (N,))
    y = b.apply("tanh", x)
    made = b.build()
    wrong = replace(made.statements[y], instruction=Contract((Operand(x, (0,)),)), shape=(Scaling.of(3),))
    facts = Facts.of(replace(made, statements=(made.statements[x], wrong)))
    assert facts.layout(0) is not None
    with pytest.raises(OutsideTheory, match="a wide axis meets a finite one"):
        facts.layout(1)


def test_without_decay_a_program_that_decays_not_has_the_same_facts() -> None:
    facts = Facts.of(mlp_program(1, "tanh"))
    plain, coupled = facts.without_decay
    assert plain is facts and coupled == frozenset()


def test_every_axis_has_a_space_and_axes_that_meet_have_one() -> None:
    """The two dims of a square weight are two spaces, as many as its sizes may be equal."""
    facts = Facts.of(small())
    spaces = facts.spaces
    w, x, h = 0, 1, 2
    assert spaces[w, 1] is spaces[x, 0] and spaces[w, 0] is spaces[h, 0]
    assert spaces[w, 0] != spaces[w, 1] and spaces[w, 0].size == spaces[w, 1].size
    assert set(spaces) == {(w, 0), (w, 1), (x, 0), (h, 0)}
