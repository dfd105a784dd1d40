"""Mirrors tpdyn/scripts/construction.py: where an optimizer is made, of which model, and under which names."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import torch
from torch import nn
from torch.optim import Optimizer

from tpdyn.commands.failures import Watched
from tpdyn.recorder.live.recorder import record_tape
from tpdyn.scripts.construction import Construction, Constructions, call_ending_at


class Trainer:
    def __init__(self, width: int) -> None:
        self.net = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 2))


def fit(model: nn.Module, optimizer: Optimizer, steps: int = 2) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(4, 3)).square().mean().backward()
        optimizer.step()


def found(train: object) -> tuple[Construction, ...]:
    made = Constructions(train)  # type: ignore[arg-type]
    made(4)
    return made.found


def called(construction: Construction) -> str:
    """The text of the call at its place."""
    text = Path(construction.file).read_text()
    assert construction.end is not None
    call = call_ending_at(ast.parse(text), construction.end)
    assert call is not None
    return ast.unparse(call)


def plain(width: int) -> None:
    model = nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2))
    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=0.1,
    )
    fit(model, optimizer)


def test_the_call_is_found_with_the_variable_that_holds_the_model() -> None:
    (made,) = found(plain)
    assert called(made) == "torch.optim.Adam(model.parameters(), lr=0.1)"
    assert made.model == "model"
    assert made.line == inspect.getsourcelines(plain)[1] + 2
    assert [inner for _, inner in made.names] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert {"lr", "eps", "weight_decay"} <= made.settings and "betas" not in made.settings


def attribute(width: int) -> None:
    trainer = Trainer(width)
    optimizer = torch.optim.SGD(trainer.net.parameters(), lr=0.1)
    fit(trainer.net, optimizer)


def test_a_model_may_be_an_attribute() -> None:
    (made,) = found(attribute)
    assert made.model == "trainer.net" and "eps" not in made.settings


def nameless(width: int) -> None:
    parts = [nn.Linear(3, width), nn.Linear(width, 2)]
    optimizer = torch.optim.SGD([p for part in parts for p in part.parameters()], lr=0.1)
    fit(nn.Sequential(*parts), optimizer)


def test_parameters_of_no_named_model_are_numbered() -> None:
    (made,) = found(nameless)
    assert made.model == "" and [inner for _, inner in made.names] == ["0", "1", "2", "3"]


def two(width: int) -> None:
    first, second = nn.Linear(3, width), nn.Linear(3, width)
    unused = torch.optim.SGD(first.parameters(), lr=9.0)
    one, other = torch.optim.SGD(first.parameters(), lr=0.1), torch.optim.SGD(second.parameters(), lr=0.2)
    assert unused is not one
    fit(first, one, 1)
    fit(second, other, 1)


def test_two_calls_of_one_line_and_two_models_are_told_apart() -> None:
    made = found(two)
    calls = [called(each) for each in made]
    assert (
        "torch.optim.SGD(first.parameters(), lr=0.1)" in calls
        and "torch.optim.SGD(second.parameters(), lr=0.2)" in calls
    )
    assert len({each.identity for each in made}) == 2


def test_only_the_first_run_is_watched_and_the_constructor_is_put_back() -> None:
    before = Optimizer.__init__
    made = Constructions(plain)
    made(4)
    first = made.found
    made(8)
    assert made.found is first and Optimizer.__init__ is before and made.__wrapped__ is plain


def test_a_run_that_is_given_up_and_begun_again_is_watched_again() -> None:
    """As where training uses what an evaluation kept: what ran without being recorded is run again, recorded."""

    class Scaled(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.inner, self.size = nn.Linear(3, width), 1.0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not torch.is_grad_enabled():
                self.size = x.abs().max().item()
            return self.inner(x) * self.size

    def evaluating(width: int) -> None:
        model = Scaled(width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            with torch.no_grad():
                model(torch.ones(4, 3))
            fit(model, optimizer, 1)

    made = Constructions(evaluating)
    counted: list[int] = []
    tape = record_tape(Watched(made, counted.append), 4, 2, 0)
    assert tape.evaluations and counted == [1, 2]
    assert [construction.model for construction in made.found] == ["model"]


def twice_named(width: int) -> None:
    other = model = nn.Linear(3, width)
    fit(other, torch.optim.SGD(model.parameters(), lr=0.1))


def test_of_two_names_of_a_model_that_in_the_call_is_taken() -> None:
    (made,) = found(twice_named)
    assert made.model == "model"
