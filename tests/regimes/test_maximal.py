"""Is the maximal update of Tensor Programs IV and IVb what the linear programs find? And do they name a contradiction?"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, get_args

import pytest

from tpdyn.claims import theorems
from tpdyn.exact.forms import Form
from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Contract
from tpdyn.program.program import Program, Source
from tpdyn.readings.orders.reading import Exponents
from tpdyn.regimes.cells import Coordinates, every_exponent
from tpdyn.regimes.maximal import Demand, Requirement, maximal_update
from tpdyn.regimes.prediction import Regime
from tpdyn.testing.perceptrons import layer_names, mlp_program

HALF = Fraction(1, 2)


@pytest.mark.parametrize("function", ["tanh", "relu"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_without_multipliers_sgd_needs_rates_n_1_and_1_over_n_and_a_readout_of_1_over_n(
    layers: int, function: str
) -> None:
    """Tensor Programs IV, Table 1, moved by the symmetry (a + s, b - s, c - 2s) to a = 0."""
    program = mlp_program(layers, function)
    found = maximal_update(program, every_exponent(program, "bc"))
    expected = theorems.maximal_update(layers)
    first, last = layer_names(layers)[0], layer_names(layers)[-1]
    assert found.regime is Regime.FEATURE_LEARNING
    assert not found.unmet
    for name, a, b, c in zip(layer_names(layers), expected.a, expected.b, expected.c, strict=True):
        assert found.exponents.initial.get(name) == b + a
        assert found.exponents.rate.get(name) == c + 2 * a
    assert found.exponents.rate[first] == -1
    assert found.exponents.rate[last] == 1


@pytest.mark.parametrize("optimizer", ["adam", "sign"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_without_multipliers_adam_needs_rates_1_over_n_behind_the_first_layer(
    layers: int, optimizer: Literal["adam", "sign"]
) -> None:
    """Tensor Programs IVb, moved by the symmetry (a + s, b - s, c - s) to a = 0."""
    program = mlp_program(layers, "tanh", optimizer)
    found = maximal_update(program, every_exponent(program, "bc"))
    expected = theorems.maximal_update_adam(layers)
    assert found.regime is Regime.FEATURE_LEARNING
    for name, a, b, c in zip(layer_names(layers), expected.a, expected.b, expected.c, strict=True):
        assert found.exponents.initial.get(name) == b + a
        assert found.exponents.rate.get(name) == c + a


def test_a_maximal_update_parametrization_stays_as_it_is() -> None:
    program = mlp_program(2, point=theorems.maximal_update(2))
    found = maximal_update(program, every_exponent(program, "bc"))
    assert found.readings == 1
    assert not any(found.point)


def test_requirements_that_contradict_each_other_are_named() -> None:
    """A readout that is divided by n once more, its initial size and rate being held."""
    program = divided(mlp_program(1, "tanh", "adam"))
    coordinates = every_exponent(program, "bc", Exponents(initial={"out": Fraction(0)}))
    moves = {name: move for name, move in coordinates.moves.items() if not name.startswith("out")}
    held = Coordinates(moves, coordinates.origin)
    found = maximal_update(program, held)
    assert found.conflicts
    named = {(r.demand, r.subject) for conflict in found.conflicts for r in conflict}
    assert ("updated", "out") in named
    assert [(r.demand, r.subject) for r in found.given_up if r.shortfall(found.point)] == [("updated", "out")]
    assert found.regime is Regime.TRIVIAL


def test_a_requirement_says_whether_size_change_or_update_is_meant_and_on_which_line() -> None:
    line = Source("net.py", 3, "return self.fc(x)")
    told = {demand: str(Requirement(demand, "fc", 0, Form(Fraction(0), ()), line)) for demand in get_args(Demand)}
    assert told["begins small"] == "fc must not grow with the width at initialisation [net.py:3: return self.fc(x)]"
    assert told["changes little"] == "the change of fc must not grow with the width [net.py:3: return self.fc(x)]"
    assert told["adds little"] == "the update of fc must contribute at order 0 at most [net.py:3: return self.fc(x)]"
    assert len(set(told.values())) == len(told) - 1  # outputs and representations both have to change


def divided(program: Program) -> Program:
    """The same program with outputs (and what flows back through them) smaller by n^2."""
    statements = list(program.statements)
    for position, statement in enumerate(statements):
        instruction = statement.instruction
        if isinstance(instruction, Contract) and statement.name.startswith(("f@", "dout@", "dx1@")):
            smaller = Contract(instruction.operands, instruction.scale * Scaling.of(1, -2))
            statements[position] = type(statement)(
                statement.name, smaller, statement.shape, statement.type, statement.origin
            )
    return type(program)(tuple(statements), program.parameters, program.marks, program.steps)
