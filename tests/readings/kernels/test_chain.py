"""Mirrors tpdyn/readings/kernels/chain.py: the recursion in place gives what the rules give, and takes only chains."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpdyn.limits import kernels
from tpdyn.limits.kernels import Evaluated, forward
from tpdyn.readings.kernels import chain


class Dense(nn.Module):
    def __init__(self, inputs: int, outputs: int, bias: bool, trained: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs), requires_grad=trained)
        self.bias = nn.Parameter(torch.randn(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        made = 1.3 / math.sqrt(self.weight.shape[1]) * (x @ self.weight.T)
        return made if self.bias is None else made + 0.2 * self.bias


def network(f: Callable[[Tensor], Tensor], bias: bool = True, outputs: int = 1) -> Callable[[int], nn.Module]:
    class Net(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.layers = nn.ModuleList([Dense(4, width, bias), Dense(width, width, bias)])
            self.out = Dense(width, outputs, bias)

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = f(layer(x))
            return self.out(x)

    return Net


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "leaky": lambda x: F.leaky_relu(x, 0.1),
    "erf": torch.erf,
    "gelu": F.gelu,
    "sin": torch.sin,
}


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "SIDE", 3)
    monkeypatch.setattr(kernels, "WIDTHS", (16, 24, 40))


def both(found: Evaluated, x1: Tensor, x2: Tensor | None) -> tuple[Tensor, ...]:
    made = found(("second", "tangent"), x1, x2)
    assert made.nngp is not None and made.ntk is not None
    return made.nngp, made.ntk, *(each for each in (found(("second",), x1, x2).nngp,) if each is not None)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_chain_has_the_kernels_of_the_rules(name: str) -> None:
    x1, x2 = torch.randn(5, 4, dtype=torch.float64), torch.randn(4, 4, dtype=torch.float64)
    found = Evaluated(forward(network(FUNCTIONS[name], outputs=2 if name == "erf" else 1), x1))
    assert found.chain is not None
    quick = both(found, x1, x2) + both(found, x1, None)
    found.chain = None
    plain = both(found, x1, x2) + both(found, x1, None)
    for one, other in zip(quick, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)


def test_inputs_against_themselves_keep_every_digit_of_float32() -> None:
    x = torch.randn(7, 4)
    found = Evaluated(forward(network(torch.relu, bias=False), x))
    ntk = found(("tangent",), x).ntk
    assert ntk is not None
    expected = 1.3**6 / 4 * 3 * x.double().square().mean(1)
    torch.testing.assert_close(ntk.diagonal().double(), expected, rtol=1e-6, atol=0)


def test_a_network_that_is_no_chain_is_left_to_the_rules() -> None:
    class Residual(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.first, self.second, self.out = (
                Dense(4, width, False),
                Dense(width, width, False),
                Dense(width, 1, False),
            )

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            return self.out(torch.relu(h + self.second(torch.relu(h))))

    assert Evaluated(forward(Residual, torch.randn(2, 4))).chain is None


def test_the_chain_of_a_standard_network_covers_no_tangent_kernel_for_that_grows() -> None:
    def make(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 1))

    x = torch.randn(2, 4)
    found = Evaluated(forward(make, x)).chain
    assert found is not None and found.covers(x, False) and not found.covers(x, True)
