"""Are axes that meet one space, and those that do not, several?"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import tpdyn
from tpdyn.exponents import Scaling
from tpdyn.program.dims import Space, spaces
from tpdyn.program.program import Program

N = Scaling.of(1, 1)


class Attention(nn.Module):
    """Two heads of a fused projection, then a hidden layer of four times the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed, self.qkv = nn.Linear(5, width), nn.Linear(width, 3 * width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (y.unflatten(-1, (2, -1)).transpose(1, 2) for y in self.qkv(self.embed(x)).chunk(3, -1))
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.down(torch.tanh(self.up(h))).mean(1)  # type: ignore[no-any-return]


def program() -> Program:
    def train(width: int) -> None:
        model = Attention(width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        F.mse_loss(model(torch.ones(7, 6, 5)), torch.ones(7, 3)).backward()
        optimizer.step()

    return tpdyn.record(train, steps=1, verify=False)


def test_each_space_is_found_once_with_its_size_and_its_places() -> None:
    found = spaces(program())

    def of(place: str) -> list[Space]:
        return [space for space in found if place in space.parameters + space.data]

    (embedded,) = of("embed.weight:0")
    assert embedded.size == N and {"embed.bias:0", "qkv.weight:1"} <= set(embedded.parameters)
    (hidden,) = of("up.weight:0")
    assert hidden.size == N * Scaling.of(4) and "down.weight:1" in hidden.parameters
    assert hidden.recorded == (64, 96, 160) and hidden.why == "64, 96, 160 at the recorded widths"
    (classes,) = of("down.weight:0")
    assert not classes.is_wide and classes.recorded == (3, 3, 3) and classes.why == "3 at every recorded width"
    # a head is finite; queries and keys meet each other, values meet the next layer
    heads = of("qkv.weight:0")
    assert sorted(str(space.size) for space in heads) == ["2", "n/2", "n/2"]
    assert [("up.weight:1" in space.parameters) for space in heads if space.is_wide].count(True) == 1
    (inputs,) = of("embed.weight:1")
    assert inputs.recorded == (5, 5, 5)


def test_wide_spaces_come_first_in_the_table() -> None:
    table = program().dims_table().splitlines()
    kinds = [line.split()[1] for line in table if not line.startswith(" " * 18)]
    assert kinds == sorted(kinds, reverse=True) and {"wide", "finite"} == set(kinds)
    assert "       n  wide    16, 24, 40 at the recorded widths" in table
