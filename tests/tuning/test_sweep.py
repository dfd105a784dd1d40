"""Are a script's learning rates, and nothing else, multiplied; is its loss what it trains on?"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tpdyn.store.means import Means
from tpdyn.store.store import Store
from tpdyn.tuning.optimum import locate
from tpdyn.tuning.sweep import SweepError, sweep

RATES: list[list[float]] = []


def quadratic(width: int) -> None:
    """Loss w^2/2 from w = 1, summed over `width` equal weights: one step of SGD multiplies w by 1 - lr."""
    w = nn.Parameter(torch.ones(width))
    v = nn.Parameter(torch.zeros(width))
    optimizer = torch.optim.SGD([{"params": [w], "lr": 0.1}, {"params": [v], "lr": 0.4}])
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 5, gamma=0.5)
    for _ in range(1000):
        optimizer.zero_grad()
        loss = 0.5 * (w.square().mean() + v.square().mean()) * width
        loss.backward()
        optimizer.step()
        RATES.append([group["lr"] for group in optimizer.param_groups])
        schedule.step()
        print("noise")


def test_losses_are_those_of_the_multiplied_rates(capsys: pytest.CaptureFixture[str]) -> None:
    found = sweep(quadratic, (4, 2), (1.0, 2.0, 0.5), seeds=2, steps=4)
    assert (found.widths, found.factors, found.seeds) == ((2, 4), (0.5, 1.0, 2.0), (0, 1))
    expected = np.array([0.5 * n * np.array([(1 - 0.1 * f) ** 6 for f in found.factors]) for n in (2, 4)])
    assert found.losses[..., 0] == pytest.approx(expected, rel=1e-5)
    assert (found.losses[..., 0] == found.losses[..., 1]).all()
    assert capsys.readouterr().out == ""


def test_between_steps_the_script_sees_its_own_rates_and_schedule() -> None:
    RATES.clear()
    sweep(quadratic, (2, 3), (0.5, 1.0, 7.0), seeds=2, steps=8)
    assert len(RATES) == 2 * 3 * 2 * 7  # the eighth step stops the script
    assert RATES[:7] == [pytest.approx([0.1 * s, 0.4 * s]) for s in (1, 1, 1, 1, 1, 0.5, 0.5)]


def test_a_run_that_diverges_has_an_infinite_loss() -> None:
    found = sweep(quadratic, (2, 4), (1.0, 2.0, 1e30), seeds=2, steps=6)
    assert np.isfinite(found.losses[:, :2]).all()
    assert (found.losses[:, 2] == math.inf).all()


def test_nothing_stays_behind() -> None:
    from torch.optim import optimizer

    before = torch.autograd.backward, dict(optimizer._global_optimizer_pre_hooks)
    sweep(quadratic, (2, 4), (1.0, 2.0, 4.0), seeds=2, steps=2)

    def bad(width: int) -> None:
        raise KeyError("mine")

    with pytest.raises(SweepError, match=r"width 2, lr times 1, seed 0: KeyError: 'mine' \(.*test_sweep.py:\d+: raise"):
        sweep(bad, (2, 4), (1.0, 2.0, 4.0), seeds=2, steps=2)
    assert before == (torch.autograd.backward, dict(optimizer._global_optimizer_pre_hooks))


def test_scripts_without_an_optimizer_or_too_short_are_refused() -> None:
    def by_hand(width: int) -> None:
        w = torch.ones(width, requires_grad=True)
        w.square().sum().backward()
        with torch.no_grad():
            w -= 0.1 * w.grad

    with pytest.raises(SweepError, match="made 0 optimizer steps at width 2, lr times 1, seed 0; expected 3"):
        sweep(by_hand, (2, 4), (1.0, 2.0, 4.0), seeds=2, steps=3)


@pytest.mark.parametrize(
    ("widths", "factors", "seeds", "message"),
    [
        ((8,), (1, 2, 4), 2, "at least two different ones"),
        ((8, 16), (1, 2), 2, "three or more positive numbers"),
        ((8, 16), (0, 1, 2), 2, "three or more positive numbers"),
        ((8, 16), (1, 2, 4), 1, "at least 2 seeds"),
    ],
)
def test_bad_arguments_are_named(widths: tuple[int, ...], factors: tuple[float, ...], seeds: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sweep(quadratic, widths, factors, seeds=seeds, steps=1)


def test_an_interrupted_sweep_goes_on_and_another_factor_is_another_run(tmp_path: Path) -> None:
    means = Means(store=Store.under(tmp_path), identity={"script": "q"})
    done = 0

    def interrupted(done_now: int, total: int) -> None:
        nonlocal done
        done = done_now
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(quadratic, (2, 4), (0.5, 1.0, 2.0), seeds=2, steps=4, means=means, progress=interrupted)
    RATES.clear()
    found = sweep(quadratic, (2, 4), (0.5, 1.0, 2.0), seeds=2, steps=4, means=means)
    assert len(RATES) == (12 - 5) * 3
    assert np.array_equal(found.losses, sweep(quadratic, (2, 4), (0.5, 1.0, 2.0), seeds=2, steps=4).losses)
    RATES.clear()
    sweep(quadratic, (2, 4), (0.5, 1.0, 4.0), seeds=2, steps=4, means=means)
    assert len(RATES) == 4 * 3


@pytest.mark.slow
def test_a_budget_gives_two_seeds_everywhere_and_more_around_the_optimum() -> None:
    factors = tuple(2.0**power for power in range(-3, 5))
    found = sweep(quadratic, (2, 4), factors, seeds=4, steps=4, budget=600.0)
    assert found.seeds == (0, 1, 2, 3)
    assert np.isfinite(found.losses[..., :2]).all()
    made = np.isfinite(found.losses[0, :, 3])
    best = int(found.losses[0, :, 0].argmin())
    assert made.tolist() == [abs(k - best) <= 2 for k in range(len(factors))]
    plain = locate(sweep(quadratic, (2, 4), factors, seeds=4, steps=4))
    assert [each.estimate for each in locate(found).best] == [each.estimate for each in plain.best]
    assert sweep(quadratic, (2, 4), factors, seeds=4, steps=4, budget=1e-9).seeds == (0, 1)


def test_what_a_long_sweep_costs_is_told_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tpdyn.tuning.sweep.WORTH_SAYING", 0.0)
    told: list[str] = []
    runs: list[int] = []
    sweep(
        quadratic, (2, 4), (0.5, 1.0, 2.0), seeds=2, steps=4,
        plan=lambda text: told.append(f"{len(runs)}: {text}"), progress=lambda done, total: runs.append(done),
    )  # fmt: skip
    (text,) = told
    assert text.startswith("2: 10 runs will take about 0 min with 1 at once")
