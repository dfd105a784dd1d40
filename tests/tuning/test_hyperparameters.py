"""Is a hyperparameter, and nothing else, multiplied; is one that a script does not have named?"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tpdyn.tuning.hyperparameters import CannotMultiply, multiplied
from tpdyn.tuning.sweep import SweepError, sweep

SEEN: list[Any] = []


def train(width: int) -> None:
    model = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 1))
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.4, weight_decay=0.01)
    SEEN.append([parameter.detach().clone() for parameter in model.parameters()])
    criterion = nn.MSELoss()
    for _ in range(6):
        optimizer.zero_grad()
        output = model(torch.ones(2, 3))
        SEEN.append(output.detach())
        criterion(output, torch.zeros(2, 1)).backward()
        optimizer.step()
        SEEN.append({key: optimizer.param_groups[0][key] for key in ("lr", "momentum", "weight_decay")})


def seen(hyperparameter: str, factor: float) -> list[Any]:
    SEEN.clear()
    with multiplied(hyperparameter, factor) as met:
        train(4)
    assert met.touched
    return list(SEEN)


def test_initial_entries_of_matrices_are_multiplied_once_and_biases_stay() -> None:
    weight, bias, *_ = seen("init", 3.0)[0]
    assert (weight == 1.5).all() and (bias == 0.5).all()
    assert (seen("lr", 3.0)[0][0] == 0.5).all()


def test_the_network_s_output_is_multiplied_and_no_loss_is() -> None:
    plain, double = seen("lr", 1.0), seen("output", 2.0)
    assert torch.equal(double[1], 2 * plain[1])
    with multiplied("output", 2.0):
        assert nn.MSELoss()(torch.ones(2), torch.zeros(2)) == 1


@pytest.mark.parametrize("key", ["lr", "weight_decay", "momentum"])
def test_a_number_of_the_groups_is_multiplied_while_they_step_and_is_back_between(key: str) -> None:
    plain, doubled = seen("lr", 1.0), seen(key, 2.0)
    assert doubled[2] == plain[2]  # what the script sees
    SEEN.clear()
    by_hand = {"lr": 0.1, "momentum": 0.4, "weight_decay": 0.01}
    by_hand[key] *= 2
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.5)
    optimizer = torch.optim.SGD(model.parameters(), **by_hand)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().mean().backward()
        optimizer.step()
    assert torch.allclose(model(torch.ones(2, 3)), doubled[11], rtol=1e-6)
    assert not torch.allclose(plain[11], doubled[11], rtol=1e-4)


def test_nothing_of_it_stays_behind() -> None:
    from torch.nn.modules import module
    from torch.optim import optimizer

    def state() -> tuple[Any, ...]:
        hooks = (module._global_forward_hooks, module._global_forward_pre_hooks, optimizer._global_optimizer_pre_hooks)
        return (optimizer.Optimizer.__init__, *map(len, hooks))

    before = state()
    for name in ("lr", "init", "output"):
        with multiplied(name, 2.0):
            assert state() != before
        assert state() == before

        def fails(name: str = name) -> None:
            with multiplied(name, 2.0):
                raise KeyError

        with pytest.raises(KeyError):
            fails()
        assert state() == before


def test_several_networks_or_another_output_are_refused() -> None:
    class Pair(nn.Linear):
        def forward(self, x: torch.Tensor) -> Any:
            return super().forward(x), None

    with multiplied("output", 2.0), pytest.raises(CannotMultiply, match="returns tuple; expected one tensor"):
        Pair(2, 2)(torch.ones(2))
    one, other = nn.Linear(2, 2), nn.Bilinear(2, 2, 2)
    with multiplied("output", 2.0), pytest.raises(CannotMultiply, match=r"several networks \(Linear, Bilinear\)"):
        other(one(torch.ones(2)), torch.ones(2))


@pytest.mark.parametrize("name", ["dampening", "betas", "temperature"])
def test_a_hyperparameter_that_is_zero_or_not_there_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(SweepError, match=rf"'{name}' cannot be swept.*lr = 0.1, momentum = 0.4.*weight_decay = 0.01"):
        sweep(train, (2, 4), (1.0, 2.0, 4.0), seeds=2, steps=2, hyperparameter=name)


def test_a_sweep_of_the_initial_scale_finds_that_it_matters() -> None:
    found = sweep(train, (2, 4), (0.25, 1.0, 4.0), seeds=2, steps=1, hyperparameter="init")
    assert found.hyperparameter == "init" and (found.losses[:, 0] < found.losses[:, 1]).all()
