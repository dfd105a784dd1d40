"""Mirrors tpdyn/parametrizing/editing/text.py: what is written into a script runs, and moves what it says by what it says."""

from __future__ import annotations

import doctest
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import nn

from tpdyn.exponents import Scaling
from tpdyn.parametrizing.editing import text
from tpdyn.parametrizing.editing.text import NoWidth, by_model, by_order, number, powers_of, width_from, with_others
from tpdyn.parametrizing.parametrization import ParameterFacts, Shift

HALF, ONE = Fraction(1, 2), Fraction(1)
N = Scaling.of(1, 1)


def test_the_example_of_the_docstring_runs() -> None:
    assert doctest.testmod(text).failed == 0


def net(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(3, width), nn.Linear(width, width), nn.Linear(width, 2))


def ran(code: str, name: str) -> Any:
    space: dict[str, Any] = {}
    exec(code, space)
    return space[name]


ROWS = {
    "0.weight": {},
    "0.bias": {},
    "1.weight": {"lr": -ONE, "eps": -ONE},
    "1.bias": {},
    "2.weight": {"lr": -ONE, "initial": -HALF},
    "2.bias": {},
}


@pytest.mark.parametrize("width", [8, 32])
def test_the_function_for_a_model_moves_each_parameter_by_its_row_and_nothing_at_the_base_width(width: int) -> None:
    model = net(width)
    before = model[2].weight.detach().clone()  # type: ignore[index]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.5)
    made = ran(by_model("moved", ROWS, ("1.weight", 0, "size / 8"), 8, False), "moved")(model, optimizer)
    growth = width / 8
    rates = {id(p): group["lr"] for group in made.param_groups for p in group["params"]}
    guards = {id(p): group["eps"] for group in made.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == 0.5 * growth ** float(ROWS[name].get("lr", 0))
        assert guards[id(parameter)] == pytest.approx(1e-8 * growth ** float(ROWS[name].get("eps", 0)))
    assert torch.allclose(model[2].weight, before * growth**-0.5)  # type: ignore[index]
    ran(by_model("moved", ROWS, ("1.weight", 0, "size / 8"), 8, False), "moved")(
        model, torch.optim.SGD(model.parameters(), lr=1)
    )
    assert torch.allclose(model[2].weight, before * growth**-0.5)  # type: ignore[index]  # once, for two optimizers


def test_the_function_for_parameters_in_order_does_the_same() -> None:
    model = net(16)
    before = model[2].weight.detach().clone()  # type: ignore[index]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    made = ran(by_order("moved", list(ROWS.items()), ("2", 0, "size / 8"), 8, False), "moved")(optimizer)
    rates = {id(p): group["lr"] for group in made.param_groups for p in group["params"]}
    assert [rates[id(p)] for p in model.parameters()] == [0.5, 0.5, 0.25, 0.5, 0.25, 0.5]
    assert torch.allclose(model[2].weight, before * 2**-0.5)  # type: ignore[index]


def test_what_the_optimizer_does_not_have_does_not_move() -> None:
    shift = Shift(initial=HALF, rate=-ONE, decay=ONE, guard=-ONE)
    assert powers_of(shift, frozenset({"lr"})) == {"initial": HALF, "lr": -ONE}
    assert powers_of(Shift(), frozenset({"lr", "eps"})) == {}


def test_the_most_common_row_is_for_all_others_and_those_that_stay_are_named() -> None:
    table = {name: {"lr": -ONE} for name in "abc"} | {"d": {"lr": ONE}}
    assert with_others(table, {**table, "e": {}}) == {"": {"lr": -ONE}, "d": {"lr": ONE}, "e": {}}
    assert with_others({"a": {"lr": ONE}}, {"a": {"lr": ONE}, "e": {}}) == {"a": {"lr": ONE}}


def test_the_width_is_told_by_the_plainest_dim() -> None:
    four, root, square = N * Scaling.of(4), Scaling.of(1, "1/2"), Scaling.of(1, 2)
    several = [
        ("a", ParameterFacts((root,))),
        ("b", ParameterFacts((Scaling.of(3), four))),
        ("c", ParameterFacts((N,))),
    ]
    assert width_from(several, 64) == ("c", 0, "size / 64")
    assert width_from(several[:2], 64) == ("b", 1, "size / 256")
    assert width_from(several[:1], 64) == ("a", 0, "(size / 8) ** (2)")
    assert width_from([("d", ParameterFacts((square,)))], 8) == ("d", 0, "(size / 64) ** (1/2)")
    with pytest.raises(NoWidth, match="at width 65; try another --base-width"):
        width_from(several[:1], 65)


def test_powers_are_written_as_python_writes_them() -> None:
    assert [number(power) for power in (ONE, -HALF, Fraction(3, 4), Fraction(-2, 3))] == ["1", "-0.5", "0.75", "-2 / 3"]
