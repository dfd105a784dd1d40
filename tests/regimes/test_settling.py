"""The verdict is that of all later steps: what three steps do not show is read from further ones.

Live runs of the warmed-up muP script below at widths 256 and 2048, four seeds. The last hidden pre-activation does not
change at all before step 3. From step 3 on its change has the slopes -0.07, -0.04, -0.03, -0.03, -0.02: it learns features.
"""

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import nn

import tpdyn
from tpdyn.claims.theorems import Abc
from tpdyn.readings.orders.reading import read
from tpdyn.regimes.prediction import Regime
from tpdyn.regimes.settling import settled
from tpdyn.testing.perceptrons import mlp_program


def mup_with_zero_readout(warmup: bool) -> Callable[[int], None]:
    def train(width: int) -> None:
        data = torch.Generator().manual_seed(0)
        x, y = torch.randn(4, 5, generator=data), torch.randn(4, 3, generator=data)
        first, second, last = nn.Linear(5, width), nn.Linear(width, width), nn.Linear(width, 3)
        nn.init.zeros_(last.weight)
        model = nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), last)
        inputs = [first.weight, first.bias, second.bias, last.bias]
        groups = [{"params": inputs, "lr": 0.01}, {"params": [second.weight, last.weight], "lr": 0.01 / width}]
        optimizer = torch.optim.Adam(groups)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 10 if warmup else 1.0)
        while True:
            optimizer.zero_grad()
            (model(x) - y).square().mean().backward()
            optimizer.step()
            schedule.step()

    return train


@pytest.mark.parametrize("warmup", [False, True])
def test_mup_with_a_zero_readout_learns_features_with_or_without_warmup(warmup: bool) -> None:
    program = tpdyn.record(mup_with_zero_readout(warmup), widths=(16, 24, 40), steps=3)
    prediction = tpdyn.predict(program, remedy=False)
    assert prediction.regime == Regime.FEATURE_LEARNING
    assert prediction.settles is not None
    assert not any("is not trained" in reason.text for reason in prediction.reasons)
    if warmup:
        assert tpdyn.predict(program, remedy=False, horizon="recorded").regime == Regime.KERNEL


def test_a_loop_with_momentum_is_continued_as_well() -> None:
    """A zero readout and a warmup lag behind: three steps are KERNEL, and later ones learn."""

    def train(width: int) -> None:
        x, y = torch.linspace(-1, 1, 20).view(4, 5).sin(), torch.linspace(1, 2, 12).view(4, 3).cos()
        first, second, last = nn.Linear(5, width), nn.Linear(width, width), nn.Linear(width, 3)
        nn.init.zeros_(last.weight)
        model = nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), last)
        rates = (
            (first.weight, width),
            (first.bias, width),
            (second.weight, 1),
            (second.bias, width),
            (last.weight, 1 / width),
        )
        groups = [{"params": [p], "lr": 0.1 * factor} for p, factor in rates]
        optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 10)
        while True:
            optimizer.zero_grad()
            (model(x) - y).square().mean().backward()
            optimizer.step()
            schedule.step()

    program = tpdyn.record(train, widths=(16, 24, 40), steps=3, verify=False)
    prediction = tpdyn.predict(program, remedy=False)
    assert prediction.regime == Regime.FEATURE_LEARNING
    assert prediction.settles is not None
    assert tpdyn.predict(program, remedy=False, horizon="recorded").regime == Regime.KERNEL


def test_orders_that_repeat_in_three_steps_are_settled_with_one_step_more() -> None:
    half, zero = Fraction(1, 2), Fraction(0)
    point = Abc((zero, half, half), (zero, zero, zero), (zero, zero, zero))
    found = settled(read(mlp_program(2, "tanh", "sgd", steps=3, point=point)))
    assert (found.step, found.orders.program.steps) == (1, 4)


@pytest.mark.parametrize("warmup", [False, True])
def test_a_program_that_is_read_on_has_the_orders_of_one_that_is_read_from_the_start(warmup: bool) -> None:
    program = tpdyn.record(mup_with_zero_readout(warmup), widths=(16, 24, 40), steps=3)
    goes_on = settled(read(program)).orders
    anew = read(goes_on.program)
    assert len(goes_on.program) > len(program)
    assert (goes_on.values, goes_on.contributions) == (anew.values, anew.contributions)


def test_an_unknown_horizon_is_refused() -> None:
    with pytest.raises(ValueError, match="horizon = 'far'"):
        tpdyn.predict(mlp_program(1, steps=2), horizon="far", one_width=True)  # type: ignore[arg-type]
