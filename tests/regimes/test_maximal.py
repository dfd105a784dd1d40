"""Is the maximal update of Tensor Programs IV and IVb what the linear programs find? And do they name a contradiction?"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Literal, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

import tpdyn
from tpdyn.claims import theorems
from tpdyn.exact.forms import Form
from tpdyn.exponents import Scaling
from tpdyn.facts.facts import Facts
from tpdyn.program.instructions import Contract
from tpdyn.program.program import Program, Source
from tpdyn.readings.orders.reading import Exponents
from tpdyn.regimes.cells import Coordinates, every_exponent
from tpdyn.regimes.maximal import Demand, Maximum, Requirement, maximal_update
from tpdyn.regimes.prediction import Regime
from tpdyn.regimes.remedy import nearest_maximum
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
    assert [(r.demand, r.subject) for r in found.unmet] == [("updated", "out")]
    assert found.regime is Regime.TRIVIAL


# -- scripts for which one way from point to point ends too early -----------------------------------------------------


class Gated(nn.Module):
    """Hidden values, times a number that is read out of them."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.first, self.gate, self.last = nn.Linear(4, width), nn.Linear(width, 1, bias=bias), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        return self.last(h * self.gate(h))  # type: ignore[no-any-return]


def gated(bias: bool, optimizer_of: Callable[..., torch.optim.Optimizer]) -> Maximum:
    def train(width: int) -> None:
        model, x = Gated(width, bias), torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
        optimizer = optimizer_of(model.parameters(), lr=0.1)
        while True:
            optimizer.zero_grad()
            (model(x) - 1).square().mean().backward()
            optimizer.step()

    return nearest_maximum(Facts.of(tpdyn.record(train, widths=(16, 24, 40), steps=3)))


OPTIMIZERS = pytest.mark.parametrize("optimizer_of", [torch.optim.SGD, torch.optim.Adam])


@OPTIMIZERS
def test_a_bias_begins_where_a_readout_has_to_vanish(optimizer_of: Callable[..., torch.optim.Optimizer]) -> None:
    """The formula of a sum is that of one of its terms, the readout's. It was said that the product vanishes or grows."""
    found = gated(True, optimizer_of)
    assert not found.unmet and not found.conflicts and found.regime is Regime.FEATURE_LEARNING
    moved = {name: power for name, power in found.exponents.initial.items() if power}
    assert moved == {"gate.weight": HALF, "gate.bias": -HALF, "last.weight": HALF}


@OPTIMIZERS
def test_a_product_may_vanish_at_first_so_that_every_layer_learns(
    optimizer_of: Callable[..., torch.optim.Optimizer],
) -> None:
    """Without the bias one of them is missed. That the first layer stands still was the choice."""
    found = gated(False, optimizer_of)
    assert found.regime is Regime.FEATURE_LEARNING
    assert {(r.demand, r.subject) for r in found.unmet} == {("starts", "a product"), ("updated", "last.weight")}
    assert {conflict[-1].demand for conflict in found.conflicts} <= {"starts", "updated", "changes little"}
    assert found.conflicts


def test_gradients_that_are_clipped_example_by_example_have_rates_of_their_own() -> None:
    """Their norm is that of the readout's, n^1/2: all rates are larger by that much. The search stopped between two cells."""

    def train(width: int) -> None:
        model = nn.Sequential(
            nn.Linear(4, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)
        )  # fmt: skip
        x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def loss(parameters: dict[str, Tensor], example: Tensor) -> Tensor:
            return (functional_call(model, parameters, (example,)) - 1).square().mean()  # type: ignore[no-any-return]

        while True:
            gradients = vmap(grad(loss), (None, 0))({k: p.detach() for k, p in model.named_parameters()}, x)
            norms = torch.stack([each.flatten(1).square().sum(1) for each in gradients.values()]).sum(0).sqrt()
            for name, parameter in model.named_parameters():
                parameter.grad = torch.einsum("b,b...->...", 1 / norms.clamp(min=1), gradients[name])
            optimizer.step()

    found = nearest_maximum(Facts.of(tpdyn.record(train, widths=(16, 24, 40), steps=2)))
    assert not found.unmet
    for name, rate in theorems_sgd().items():
        assert found.exponents.rate.get(name) == rate - HALF, name


def theorems_sgd() -> dict[str, Fraction]:
    """Rates of the maximal update under SGD, without multipliers (Tensor Programs IV, Table 1)."""
    plain = {"0.weight": -1, "0.bias": -1, "2.weight": 0, "2.bias": -1, "4.weight": 1, "4.bias": 0}
    return {name: Fraction(rate) for name, rate in plain.items()}


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
