"""Mirrors tpdyn/recorder/live/choices.py: actions are the same at every width, so episodes have the same length."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tpdyn import record
from tpdyn.recorder.live.choices import Choices
from tpdyn.recorder.live.recorder import record_tape
from tpdyn.recorder.live.tape import Tape

aten = torch.ops.aten


def pole(width: int, steps: int = 4) -> None:
    """A walker leaves the middle after a time that actions decide, and an environment whose generator nobody seeds."""
    policy = nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 2))
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.1)
    world = np.random.Generator(np.random.PCG64(np.random.SeedSequence()))
    for _ in range(steps):
        state, logs = 0.1 * world.normal(size=2), []
        while abs(state[0]) < 1:
            chances = policy(torch.from_numpy(state).float()).softmax(-1)
            action = torch.multinomial(chances, 1)
            logs.append(chances[action].log())
            state = state + np.array([2 * action.item() - 1, 0.1]) + 0.3 * world.normal(size=2)
        optimizer.zero_grad()
        if logs:
            torch.stack(logs).sum().neg().backward()
        optimizer.step()


def acting(width: int, steps: int = 3) -> None:
    """The greedy action decides how many passes there are before the first update; none of them is trained."""
    model = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x = torch.randn(4, 3)
    for _ in range(width % 5):
        model(x).argmax().item()
    for _ in range(steps):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


def marks(tape: Tape) -> list[tuple[str, int]]:
    return [(mark.name, mark.step) for mark in tape.marks]


def test_an_episode_that_ends_when_the_policy_says_so_is_as_long_at_every_width() -> None:
    assert record(pole, widths=(8, 12, 20), steps=2).verified == 28
    shared = Choices()
    tapes = [record_tape(pole, width, 2, 0, choices=shared) for width in (8, 20)]
    assert marks(tapes[0]) == marks(tapes[1])
    assert len({tuple(marks(record_tape(pole, width, 2, 0))) for width in (8, 12, 20)}) > 1  # each with its own actions


def test_passes_that_only_act_are_left_out_where_their_number_depends_on_the_width() -> None:
    program = record(acting, widths=(8, 11, 20), steps=2)
    assert program.verified is not None
    assert {statement.origin.module.partition("#")[0] for statement in program.statements} == {"", "0", "1", "2"}
    without = record_tape(acting, 24, 2, 0, unused=False)
    assert marks(without) == marks(record_tape(acting, 25, 2, 0))
    assert len(marks(record_tape(acting, 24, 2, 0))) > len(marks(record_tape(acting, 25, 2, 0)))


@pytest.mark.parametrize(("func", "chances", "impossible"), [
    (aten.multinomial.default, [[0.5, 0.5, 0.0]], [[1.0, 0.0, 0.0]]),
    (aten.bernoulli.default, [0.5, 1.0], [0.0, 1.0]),
])  # fmt: skip
def test_a_draw_is_shared_where_it_is_possible(func: object, chances: list[float], impossible: list[float]) -> None:
    def drawn(first: bool) -> Tensor:
        return (
            torch.tensor([[1 if first else 0]])
            if func is aten.multinomial.default
            else torch.tensor([float(first), 1.0])
        )

    choices, out = Choices(), drawn(first=True)
    choices.shared(func, (torch.tensor(chances),), out)
    for given, shared in ((chances, True), (impossible, False)):
        choices.begin()
        other = drawn(first=False)
        choices.shared(func, (torch.tensor(given),), other)
        assert torch.equal(other, drawn(first=shared))
    choices.shared(aten.randn.default, ([2],), out)
    assert torch.equal(out, drawn(first=True))
