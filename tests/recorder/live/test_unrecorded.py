"""Mirrors tpdyn/recorder/live/unrecorded.py: what an evaluation makes is recorded exactly if training uses it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpdyn.recorder.live.recorder import Recorder, record_tape
from tpdyn.recorder.live.replay import verify_tape
from tpdyn.recorder.live.tape import Tape

X, Y = torch.linspace(-1, 1, 12).reshape(4, 3), torch.linspace(0, 1, 8).reshape(4, 2)
Body = Callable[[nn.Module, nn.Module, dict[str, Any]], Tensor]


def evaluated(model: nn.Module, x: Tensor = X) -> Tensor:
    with torch.no_grad():
        return model(x)  # type: ignore[no-any-return]


class Caching(nn.Module):
    """Keeps its largest entry: as a tensor, a number, or in a buffer that it writes."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.seen = how, torch.ones(())
        self.register_buffer("running", torch.ones(()))
        self.running: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            if self.how == "number":
                self.seen = x.abs().max().item()  # type: ignore[assignment]
            elif self.how == "buffer":
                self.running.mul_(0.5).add_(x.abs().max())
            else:
                self.seen = x.abs().max()
        return x / (self.running if self.how == "buffer" else self.seen)


def plain(model: nn.Module, other: nn.Module, state: dict[str, Any]) -> Tensor:
    return F.mse_loss(model(X), Y)


def validation(model: nn.Module, other: nn.Module, state: dict[str, Any]) -> Tensor:
    losses = torch.zeros(3)
    for k in range(3):
        losses[k] = F.mse_loss(evaluated(model), Y).item()
    state["best"] = min(state.get("best", 9.0), losses.mean().item())
    model.eval()
    state["accuracy"] = float((evaluated(model).argmax(1) == 0).sum()) / 4
    model.train()
    return plain(model, other, state)


def teacher(model: nn.Module, other: nn.Module, state: dict[str, Any]) -> Tensor:
    return F.mse_loss(model(X), evaluated(other))


def weighed(model: nn.Module, other: nn.Module, state: dict[str, Any]) -> Tensor:
    return plain(model, other, state) * F.mse_loss(evaluated(other), Y).item()


def fed(model: nn.Module, other: nn.Module, state: dict[str, Any]) -> Tensor:
    return F.mse_loss(model(evaluated(other) @ torch.ones(2, 3)), Y)


def replaced(model: nn.Module, other: nn.Module, state: dict[str, Any]) -> Tensor:
    if "moved" not in state:
        state["moved"] = True
        model[-1].bias.data = evaluated(other)[0]  # type: ignore[index]
    return plain(model, other, state)


def filled(model: nn.Module, other: nn.Module, state: dict[str, Any]) -> Tensor:
    with torch.no_grad():
        model[-1].bias.copy_(other(X)[0])  # type: ignore[index]
    return plain(model, other, state)


def script(body: Body, middle: Callable[[], nn.Module] = nn.Tanh) -> Callable[[int], None]:
    def train(width: int) -> None:
        model = nn.Sequential(nn.Linear(3, width), middle(), nn.Linear(width, 2))
        other, state = nn.Linear(3, 2), {}
        if body is not plain:
            evaluated(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        while True:
            optimizer.zero_grad()
            body(model, other, state).backward()
            optimizer.step()

    return train


def operations(tape: Tape) -> Counter[tuple[str, Any]]:
    """Count the operations that are kept; a view of a weight may be made where it is read first."""
    return Counter((node.op, node.outputs) for node in tape.nodes)


@pytest.mark.parametrize("body", [plain, validation])
def test_an_evaluation_that_training_does_not_use_is_not_recorded(body: Body) -> None:
    without, full = (record_tape(script(body), 4, 3, 0, evaluations=how) for how in (None, True))
    assert not without.evaluations
    assert operations(without) == operations(full)
    verify_tape(without)


def test_an_evaluation_runs_past_the_recorder() -> None:
    counts = []
    for evaluations in (True, False):
        recorder = Recorder(4, 2, evaluations=evaluations)
        with recorder:
            script(validation)(4)
        counts.append(len(recorder._nodes))
        assert not recorder.escaped
    assert counts[1] <= counts[0] - 18


USED: dict[str, Callable[[int], None]] = {
    "a teacher": script(teacher),
    "a number that weighs the loss": script(weighed),
    "an input": script(fed),
    "a parameter's memory": script(replaced),
    "written to a parameter": script(filled),
    "a kept tensor": script(validation, lambda: Caching("tensor")),
    "a kept number": script(validation, lambda: Caching("number")),
    "a buffer": script(validation, lambda: Caching("buffer")),
    "running statistics": script(validation, lambda: nn.BatchNorm1d(4, momentum=0.5)),
    "a lazy layer": script(validation, lambda: nn.LazyLinear(4)),
}


@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
@pytest.mark.parametrize("use", USED)
def test_an_evaluation_that_training_uses_is_recorded(use: str) -> None:
    found, full = (record_tape(USED[use], 4, 3, 0, evaluations=how) for how in (None, True))
    assert found.evaluations
    assert operations(found) == operations(full)
    verify_tape(found)
