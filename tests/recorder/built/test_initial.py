"""Mirrors tpdyn/recorder/built/initial.py: a law is told by its module's reset, a constant, the fans, or as it was measured."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from torch import nn

from tpdyn.recorder.built.initial import Initial, fans, initials_of, resetter


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def told(module: nn.Module, **powers: int) -> dict[str, Initial]:
    return initials_of(module, powers, {name: (True,) * p.dim() for name, p in module.named_parameters()})


def test_torchs_own_draw_is_known_by_its_reset_and_leaves_the_generator_alone() -> None:
    module = nn.Linear(64, 32)
    state = torch.get_rng_state()
    assert {each.kind for each in told(module).values()} == {"reset"}
    assert torch.equal(torch.get_rng_state(), state)


def test_a_constant_is_one() -> None:
    module = nn.Linear(64, 32)
    nn.init.constant_(module.bias, 0.5)
    assert told(module)["bias"].words == "0.5 at every width"


@pytest.mark.parametrize(
    ("deviation", "rule"),
    [
        (64**-0.5, "1/sqrt(fan_in)"),
        ((2 / 64) ** 0.5, "sqrt(2/fan_in), He's"),
        ((2 / 96) ** 0.5, "sqrt(2/(fan_in + fan_out)), Glorot's"),
    ],
)
def test_a_usual_function_of_the_fans_is_told_and_drawn_anew_at_other_widths(deviation: float, rule: str) -> None:
    module = nn.Linear(64, 32)
    nn.init.normal_(module.weight, std=deviation)
    found = told(module)["weight"]
    assert (found.kind, found.rule) == ("fans", rule)
    wider = torch.empty(512, 1024)
    found.fill(wider, 16.0)
    expected = {"1/sqrt(fan_in)": 1 / 1024, "sqrt(2/fan_in), He's": 2 / 1024}.get(rule, 2 / 1536)
    assert float(wider.std()) == pytest.approx(math.sqrt(expected), rel=0.02)


def test_a_deviation_of_no_usual_size_stays_as_measured_or_moves_by_the_power_that_the_user_gives() -> None:
    module = nn.Linear(64, 32)
    nn.init.normal_(module.weight, std=0.02)
    fixed, moving = told(module)["weight"], told(module, weight=-1)["weight"]
    assert (fixed.kind, fixed.power) == ("measured", 0) and fixed.words.endswith("at every width")
    assert moving.power == -1 and moving.words.endswith("growing like n^-1")
    for initial, expected in ((fixed, 0.02), (moving, 0.005)):
        drawn = torch.empty(256, 256)
        initial.fill(drawn, 4.0)
        assert float(drawn.std()) == pytest.approx(expected, rel=0.05)


def test_an_interval_stays_an_interval() -> None:
    module = nn.Linear(64, 32)
    nn.init.uniform_(module.weight, -0.05, 0.05)
    found = told(module)["weight"]
    assert found.uniform
    drawn = torch.empty(200, 200)
    found.fill(drawn, 1.0)
    assert float(drawn.abs().max()) == pytest.approx(0.05, rel=0.05)


def test_the_fans_of_convolutions_count_their_field_and_those_of_stacks_do_not() -> None:
    assert fans(torch.empty(8, 4, 3, 3), False) == (36, 72)
    assert fans(torch.empty(5, 8, 4), True) == (4, 8)
    assert Initial("measured", power=Fraction(1, 2), deviation=1.0).words.endswith("growing like n^1/2")


def test_a_reset_is_a_method_and_not_a_module_of_that_name() -> None:
    module = nn.Linear(2, 2)
    assert resetter(module) == module.reset_parameters
    odd = nn.Module()
    odd.reset_parameters = nn.Identity()
    assert resetter(odd) is None
