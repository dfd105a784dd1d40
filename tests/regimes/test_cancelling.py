"""Are normalisations found that divide by what is left where constants cancel, and no others?"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import tpdyn
from tpdyn.program.instructions import Apply
from tpdyn.readings.finite import run
from tpdyn.readings.orders.reading import read
from tpdyn.regimes.cancelling import divided_remainder

Function = Callable[[Tensor], Tensor]


def normalised(h: Tensor) -> Tensor:
    return F.layer_norm(h, h.shape[-1:])


def network(between: Function, power: float) -> Callable[[int], None]:
    """A hidden layer of entries n^-power, a function of it, a readout. SGD at a rate of 1/n."""

    def train(width: int) -> None:
        data = torch.Generator().manual_seed(0)
        x, y = torch.randn(4, 3, generator=data), torch.randn(4, 2, generator=data)
        first, hidden, last = nn.Linear(3, width), nn.Linear(width, width, bias=False), nn.Linear(width, 2)
        nn.init.normal_(hidden.weight, std=width**-power)
        optimizer = torch.optim.SGD([p for m in (first, hidden, last) for p in m.parameters()], lr=1 / width)
        for _ in range(3):
            optimizer.zero_grad()
            (last(between(hidden(torch.tanh(first(x))))) - y).square().mean().backward()
            optimizer.step()

    return train


CANCELLING: dict[str, Function] = {
    "softplus": lambda h: normalised(F.softplus(h)),
    "sigmoid in groups": lambda h: F.group_norm(torch.sigmoid(h), 4),
    "one and a little": lambda h: normalised(1 + h),
    "a product of constants": lambda h: normalised(torch.sigmoid(h) * (2 + h)),
    "by hand": lambda h: (h.exp() - h.exp().mean(-1, keepdim=True)) / h.exp().std(-1, keepdim=True),
    "over the batch": lambda h: F.batch_norm(torch.sigmoid(h), None, None, training=True),
}


@pytest.mark.parametrize("name", CANCELLING)
def test_a_normalisation_that_takes_a_constant_away_is_outside(name: str) -> None:
    program = tpdyn.record(network(CANCELLING[name], power=1.0), widths=(16, 24, 40), steps=2, verify=False)
    (reason,) = tpdyn.predict(program, remedy=False).outside
    assert "takes away a constant" in reason.text
    assert reason.source.file.endswith("test_cancelling.py")


@pytest.mark.parametrize("name", CANCELLING)
def test_of_what_varies_it_is_not(name: str) -> None:
    program = tpdyn.record(network(CANCELLING[name], power=0.5), widths=(16, 24, 40), steps=2, verify=False)
    assert not tpdyn.predict(program, remedy=False).outside


NONE: dict[str, Function] = {
    "a layer norm of what vanishes": normalised,
    "a root mean square norm": lambda h: F.softplus(h) * F.softplus(h).square().mean(-1, keepdim=True).rsqrt(),
    "shares": lambda h: normalised(h * torch.softmax(h[:, None] * torch.ones(3, 1), 1).sum(1)),
    "centred, not divided": lambda h: F.softplus(h) - F.softplus(h).mean(-1, keepdim=True),
}


@pytest.mark.parametrize("name", NONE)
def test_without_a_constant_that_is_taken_away_and_a_division_it_is_not(name: str) -> None:
    program = tpdyn.record(network(NONE[name], power=1.0), widths=(16, 24, 40), steps=2, verify=False)
    assert not tpdyn.predict(program, remedy=False).outside


def test_changes_outgrow_their_orders_there() -> None:
    """What is normalised changes by n^-1/2 in units of 1, as predicted, and by n^0 in units of its spread."""
    program = tpdyn.record(network(CANCELLING["softplus"], power=1.0), widths=(16, 24, 40), steps=2, verify=False)
    orders = read(program)
    assert divided_remainder(orders) is not None
    (position,) = [
        k
        for k, s in enumerate(program.statements)
        if isinstance(s.instruction, Apply) and s.instruction.function == "rsqrt" and s.origin.step == 1
    ]
    changes = []
    for width in (64, 1024):
        moved, base = (run(program, width, base=base, seed=1)[position] for base in (False, True))
        changes.append(float((moved - base).abs().mean()))
    order = orders.values[position].moved
    assert order is not None
    assert math.log(changes[1] / changes[0]) / math.log(16) > order + 0.4
