"""Hyperparameters transfer. Under muP the best learning rate of a narrow network is that of a wide one, under SP it moves.

Statement. An MLP trained by Adam on a fixed task. Under muP the loss as a function of rate and step converges as n grows,
so its minimiser does. Under the standard parametrization (SP) the largest stable rate falls as a power of n. The best one
falls with it. Source: Tensor Programs V (arXiv 2203.03466), which shows it for transformers.

Exact: the exponent of the largest stable rate, read from the recorded script: 0 under muP, negative under SP.
Statistical: `tpdyn.transfer` trains both at widths 32 and 256 and finds the best of rates that are a factor 2 apart. Over
this factor 8 in width the optimum of muP must move by less than a factor 2. That of SP must fall by more: an exponent of
1/2 would move it by 2.8. Each statement is what rejects the other parametrization.
Measured with 6 seeds (`HYPOTHESIS_PROFILE=thorough python -m pytest -s proofs_checks/<this file>`): muP moves by a factor
1.07, SP by 4.3. With the 2 of the quick profile they move by 0.8 and 3.5. Seeds are fixed: a failure is a change, not bad
luck.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch
from torch import nn

import tpdyn
from tpdyn.tuning.optimum import Transfer

QUICK = os.environ.get("HYPOTHESIS_PROFILE", "") == "quick"
WIDTHS, STEPS, SEEDS = (32, 256), 30, 2 if QUICK else 6
FACTORS = tuple(2.0**power for power in (range(-1, 5) if QUICK else range(-4, 6)))
MOST = 2.0


def script(mup: bool) -> Callable[[int], None]:
    """Two hidden layers on a random teacher, Adam; muP is relative to width 32, where both are the same network."""

    def train(width: int) -> None:
        model = nn.Sequential(nn.Linear(8, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))
        ratio = width / 32
        rates = [0.01] * 6
        if mup:
            rates[2] = 0.01 / ratio
            with torch.no_grad():
                for parameter in (model[4].weight, model[4].bias):
                    parameter /= ratio**0.5
            rates[4] = 0.01 / ratio
        groups = [{"params": [p], "lr": rate} for p, rate in zip(model.parameters(), rates, strict=True)]
        optimizer = torch.optim.Adam(groups)
        data = torch.Generator().manual_seed(0)
        x = torch.randn(64, 8, generator=data)
        y = torch.tanh(x @ torch.randn(8, 4, generator=data)).sum(1, keepdim=True)
        for _ in range(STEPS):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()

    return train


def found(mup: bool) -> Transfer:
    return tpdyn.transfer(script(mup), WIDTHS, FACTORS, seeds=SEEDS, steps=STEPS)


@pytest.mark.parametrize("mup", [True, False])
def test_the_best_rate_stays_under_mup_and_moves_under_sp(mup: bool) -> None:
    made = found(mup)
    narrow, wide = (optimum.estimate for optimum in made.best)
    print(f"\n{'muP' if mup else 'SP'}: best factor {narrow:.2f} at width 32, {wide:.2f} at 256", end="")
    assert made.stable is not None and ((made.stable == 0) if mup else (made.stable < 0))
    if mup:
        assert 1 / MOST < narrow / wide < MOST
    else:
        assert narrow / wide > MOST
