"""Is what a verdict tells people to change what the exact search finds, and is none of it needless?"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

import pytest
import torch
from torch import nn

import tpdyn
from tpdyn.facts.facts import Facts
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents, Orders, read
from tpdyn.regimes import remedy as module
from tpdyn.regimes.judgement import judge
from tpdyn.regimes.prediction import Regime
from tpdyn.regimes.remedy import Remedy, find_remedy, nearest_maximum
from tpdyn.testing.perceptrons import mlp_program

HALF, ONE = Fraction(1, 2), Fraction(1)


class Recurrent(nn.Module):
    """torch's own initial entries: all of size n^-1/2, which is too small for what the input meets."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.core = nn.RNN(5, width, batch_first=True)
        self.head = nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.core(x)[0][:, -1])


class Gated(nn.Module):
    """Everything as in muP for Adam, but the gate is initialised and trained as if it were a hidden matrix."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.hidden = nn.Linear(5, width, bias=False), nn.Linear(width, width, bias=False)
        self.gate, self.lm_head = nn.Linear(width, 2, bias=False), nn.Linear(width, 3, bias=False)
        for layer, std in (
            (self.first, 1.0),
            (self.hidden, width**-0.5),
            (self.gate, width**-0.5),
            (self.lm_head, 1 / width),
        ):
            nn.init.normal_(layer.weight, std=std)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.hidden(torch.tanh(self.first(x[:, 0]))))
        return self.lm_head(h * self.gate(h).softmax(-1)[:, :1])


class Opening(nn.Module):
    """A gate and a readout start at zero. So its layers begin to learn one after the other."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inp, self.up = nn.Linear(4, width, bias=False), nn.Linear(width, width, bias=False)
        self.down, self.gate = nn.Linear(width, width, bias=False), nn.Linear(4, width, bias=False)
        self.out = nn.Linear(width, 2, bias=False)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.inp(x))
        return self.out(h + self.gate(x) * self.down(torch.tanh(self.up(h))))


def opening(width: int, slower: tuple[str, ...] = (), steps: int = 20) -> Opening:
    """Train an opening network. slower: the layers with a rate divided by the width."""
    data = torch.Generator().manual_seed(0)
    x, y = torch.randn(8, 4, generator=data), torch.randn(8, 2, generator=data)
    model = Opening(width)
    rates = [{"params": [w], "lr": 0.01 / (width if name in slower else 1)} for name, w in model.named_parameters()]
    optimizer = torch.optim.Adam(rates)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        optimizer.step()
    return model


class Convolutions(nn.Module):
    """As torch initialises them, biases included. Behind a batch norm with a skip connection, if asked for."""

    def __init__(self, width: int, residual: bool) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width) if residual else nn.Identity()
        self.residual, self.head = residual, nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.stem(x))
        h = torch.relu(self.norm(self.conv(h)) + (h if self.residual else 0.0))
        return self.head(h.mean((2, 3)))


@cache
def convolved(name: str) -> Program:
    def train(width: int) -> None:
        torch.manual_seed(0)
        model = Convolutions(width, name.startswith("residual"))
        optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if name.endswith("Adam"):
            optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        x, y = torch.randn(4, 1, 4, 4), torch.randn(4, 2)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()

    return tpdyn.record(train, widths=(16, 24, 40), verify=False)


@cache
def recorded(name: str) -> Program:
    def train(width: int) -> None:
        torch.manual_seed(0)
        model = Recurrent(width) if name.startswith("recurrent") else Gated(width)
        optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if name == "recurrent, AdamW":
            optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        if name == "gated":
            rates = [
                {"params": [p], "lr": 0.1 if k == "first.weight" else 0.1 / width} for k, p in model.named_parameters()
            ]
            optimizer = torch.optim.Adam(rates)
        x, y = torch.randn(4, 3, 5), torch.randn(4, 3 if name == "gated" else 2)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()

    return tpdyn.record(train, widths=(16, 24, 40), verify=False)


@cache
def program(name: str) -> Program:
    if name in CONVOLUTIONS:
        return convolved(name)
    layers, _, optimizer = name.partition(" layers, ")
    return mlp_program(int(layers), "tanh", optimizer) if optimizer else recorded(name)  # type: ignore[arg-type]


def found(name: str) -> Remedy:
    orders = read(program(name))
    made = find_remedy(orders, judge(orders).regime)
    assert made is not None
    return made


def at(name: str, moves: dict[str, Fraction]) -> Orders:
    initial = {symbol[:-2]: move for symbol, move in moves.items() if symbol.endswith(":b")}
    rate = {symbol[:-2]: move for symbol, move in moves.items() if symbol.endswith(":c")}
    return read(Facts.of(program(name)).without_decay[0], Exponents(initial=initial, rate=rate))


CONVOLUTIONS = ("plain, SGD", "plain, Adam", "residual, SGD", "residual, Adam")
NAMES = (
    "1 layers, sgd",
    "2 layers, sgd",
    "2 layers, adam",
    "recurrent, SGD",
    "recurrent, AdamW",
    "gated",
    *CONVOLUTIONS,
)


@pytest.mark.parametrize("name", NAMES)
def test_the_remedy_leads_where_it_says_and_nothing_in_it_can_be_left_out(name: str) -> None:
    remedy = found(name)
    moves = dict(remedy.moves)
    wanted = module._missed(at(name, moves))
    assert judge(at(name, moves)).regime is remedy.regime is Regime.FEATURE_LEARNING
    assert not wanted
    for symbol in moves:
        without = at(name, {other: move for other, move in moves.items() if other != symbol})
        assert judge(without).regime is not remedy.regime or module._missed(without), symbol


@pytest.mark.parametrize("name", NAMES)
def test_the_remedy_is_what_derive_names_or_less(name: str) -> None:
    shifts = tpdyn.derive(program(name)).shifts()
    for symbol, move in found(name).moves.items():
        shift = shifts[symbol[:-2]]
        assert -move == (shift.initial if symbol.endswith(":b") else shift.rate)


def test_the_remedy_counts_what_begins_to_learn_after_the_recorded_steps() -> None:
    """Three steps show no update of `up` and `down`. With the readout's rate alone changed, `up` grows from step 3 on."""
    program = tpdyn.record(opening, widths=(16, 24, 40), steps=3)
    told = tpdyn.predict(program).reasons[0].fix
    assert told == "multiply learning rates of up.weight, down.weight, out.weight by n^-1 (then: feature learning)"
    shifts = tpdyn.derive(program).shifts()
    assert {name for name, shift in shifts.items() if shift.rate} == {"up.weight", "down.weight", "out.weight"}
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))

    def moved(width: int, *slower: str) -> float:
        torch.manual_seed(0)
        before, slower_names = Opening(width), tuple(f"{layer}.weight" for layer in slower)
        torch.manual_seed(0)
        after = opening(width, slower_names, steps=4)
        with torch.no_grad():
            up = [model.up(torch.tanh(before.inp(x))) for model in (before, after)]
        return float((up[1] - up[0]).square().mean().sqrt())

    narrow, wide = 128, 1024
    alone = math.log(moved(wide, "out") / moved(narrow, "out"), wide / narrow)
    together = math.log(moved(wide, "out", "up", "down") / moved(narrow, "out", "up", "down"), wide / narrow)
    assert alone > 0.75 and abs(together) < 0.25, (alone, together)


def test_no_remedy_is_claimed_where_later_steps_are_too_long_to_be_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    program = tpdyn.record(opening, widths=(16, 24, 40), steps=3)
    monkeypatch.setattr(module, "LARGEST_PROGRAM", len(program))
    assert nearest_maximum(Facts.of(program)).regime is Regime.UNSTABLE
    assert find_remedy(read(program), Regime.UNSTABLE) is None


def test_a_gate_that_is_treated_as_a_hidden_matrix_is_all_that_is_named() -> None:
    assert str(found("gated")) == "multiply initial entries of gate.weight by n^-1/2 (then: feature learning)"


def test_where_the_initial_entries_of_a_matrix_are_enough_no_bias_is_named() -> None:
    raised = [symbol for symbol, move in found("recurrent, SGD").moves.items() if symbol.endswith(":b") and move < 0]
    assert raised == ["core.weight_ih_l0:b"]


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_biases_of_convolutions_begin_as_they_do(name: str) -> None:
    """torch's own are of size n^-1/2, and the matrices' products of order 1 beside them are enough."""
    moves = found(name).moves
    assert {symbol: move for symbol, move in moves.items() if symbol.endswith(":b")} == {"head.weight:b": HALF}
    by_adam = {"conv.weight:c": ONE, "head.weight:c": ONE}
    assert not name.endswith("Adam") or {symbol: moves[symbol] for symbol in moves if symbol.endswith(":c")} == by_adam


def test_weight_decay_is_told_to_move_with_the_rates() -> None:
    assert "by n^-1, and their weight decay by the inverse" in str(found("recurrent, AdamW"))
    assert "decay" not in str(found("recurrent, SGD"))


def test_what_is_the_same_in_all_layers_is_said_once() -> None:
    names = ("blocks.0.up", "blocks.1.up", "blocks.0.bias", "blocks.1.bias", "out")
    moves = {f"{name}:c": ONE for name in ("blocks.0.up", "blocks.1.up", "blocks.0.bias")} | {"out:b": -HALF}
    told = str(Remedy(moves, Regime.KERNEL, names, False))
    assert told == (
        "multiply initial entries of out by n^1/2; learning rates of blocks.*.up, blocks.0.bias by n^-1 (then: kernel)"
    )
    many = str(Remedy({f"{letter}:p": ONE for letter in "abcdefg"}, Regime.KERNEL, tuple("abcdefg"), False))
    assert many == "multiply the result of a, b, c, d and 3 more by n^-1 (then: kernel)"


def test_a_verdict_and_a_derivation_share_one_search(monkeypatch: pytest.MonkeyPatch) -> None:
    made, searches = mlp_program(1, "relu"), []

    def counted(*given: object, search: object = module.maximal_update, **named: object) -> object:
        searches.append(given)
        return search(*given, **named)  # type: ignore[operator]

    monkeypatch.setattr(module, "maximal_update", counted)
    fresh = Program.from_json(made.to_json())
    tpdyn.predict(fresh)
    tpdyn.derive(fresh)
    assert len(searches) == 1
    nearest_maximum(Facts.of(fresh), Exponents(rate={"out": ONE}))  # other exponents are another search
    assert len(searches) == 2


def test_no_remedy_is_made_up() -> None:
    orders = read(program("2 layers, sgd"))
    at_maximum = orders.again(nearest_maximum(orders.facts).exponents)
    assert find_remedy(at_maximum, Regime.FEATURE_LEARNING) is None  # nothing is to be changed


def test_nothing_is_searched_in_very_large_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_PROGRAM", 10)
    orders = read(program("2 layers, sgd"))
    assert find_remedy(orders, Regime.UNSTABLE) is None
