"""Is what a recording would not see switched off while it runs, and on again afterwards?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.live.recorder import record_tape
from tpdyn.recorder.live.replay import verify_tape


def test_an_lstm_under_activation_checkpointing_is_recomputed_by_the_kernels_of_its_forward_pass() -> None:
    from torch.utils.checkpoint import checkpoint

    def train(width: int, saving: bool) -> None:
        rnn, out = nn.LSTM(3, width, batch_first=True), nn.Linear(width, 2)
        optimizer = torch.optim.SGD([*rnn.parameters(), *out.parameters()], lr=0.1)
        for _ in range(2):
            x = torch.ones(2, 3, 3)
            hidden = checkpoint(lambda y: rnn(y)[0], x, use_reentrant=False) if saving else rnn(x)[0]
            optimizer.zero_grad()
            out(hidden[:, -1]).square().mean().backward()
            optimizer.step()

    plain, saving = (record_tape(lambda width, how=how: train(width, how), 4, 2, seed=0) for how in (False, True))
    assert saving.steps == plain.steps == 2
    verify_tape(saving)
    assert [each.name for each in saving.parameters] == [each.name for each in plain.parameters]


def test_a_recurrent_layer_is_recorded_without_fused_kernels_where_no_gradient_is_wanted_too() -> None:
    """A target that the network gives itself: its kernel had no rule."""

    def train(width: int) -> None:
        layer = nn.LSTM(3, width)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        x = torch.ones(2, 1, 3)
        while True:
            with torch.no_grad():
                target = layer(x)[0]
            optimizer.zero_grad()
            (layer(x)[0] - target - 1).square().mean().backward()
            optimizer.step()

    tape = record_tape(train, 8, 1, seed=0)
    assert not [node.op for node in tape.nodes if "mkldnn" in node.op]
    assert any("LSTM is recorded without its fused kernels: the same up to round-off" in note for note in tape.notes)


def test_a_fused_optimizer_steps_a_parameter_whose_gradient_is_zero_too() -> None:
    """It was taken for a write behind torch's back."""

    def train(width: int) -> None:
        model, unused = nn.Linear(3, width), nn.Parameter(torch.ones(width))
        optimizer = torch.optim.AdamW([*model.parameters(), unused], lr=0.1, fused=True)
        while True:
            optimizer.zero_grad()
            (model(torch.ones(2, 3)).square().mean() + 0 * unused.sum()).backward()
            optimizer.step()

    tape = record_tape(train, 4, 2, seed=0)
    verify_tape(tape)
    assert len(tape.parameters) == 3


def sgd(**options: Any) -> Callable[[list[Tensor]], torch.optim.Optimizer]:
    return lambda ps: torch.optim.SGD(ps, lr=0.1, fused=True, **options)


FUSED: dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
    "sgd": sgd(),
    "decay": sgd(weight_decay=0.3),
    "momentum": sgd(momentum=0.9),
    "dampening": sgd(momentum=0.9, dampening=0.4),
    "nesterov": sgd(momentum=0.9, nesterov=True),
    "maximize": sgd(momentum=0.5, maximize=True),
    "adam": lambda ps: torch.optim.Adam(ps, lr=0.1, weight_decay=0.2, fused=True),
    "adamw": lambda ps: torch.optim.AdamW(ps, lr=0.1, weight_decay=0.2, fused=True),
    "amsgrad": lambda ps: torch.optim.Adam(ps, lr=0.1, amsgrad=True, fused=True),
    "adagrad": lambda ps: torch.optim.Adagrad(ps, lr=0.1, lr_decay=0.5, weight_decay=0.2, fused=True),
}


@pytest.mark.parametrize("name", FUSED)
def test_an_optimizer_is_recorded_without_its_fused_kernel_and_gets_it_back(name: str) -> None:
    """The tape is replayed bit for bit, and steps as the kernel does."""
    made: list[tuple[Tensor, torch.optim.Optimizer]] = []

    def train(width: int) -> None:
        w = nn.Parameter(torch.linspace(-1, 1, width))
        optimizer = FUSED[name]([w])
        made.append((w, optimizer))
        for k in range(3):
            optimizer.zero_grad()
            (w * torch.arange(1.0, width + 1)).sin().sum().mul(k + 1).backward()
            optimizer.step()

    tape = record_tape(train, 4, 3, seed=0)
    verify_tape(tape)
    assert any("recorded without its fused kernel" in note for note in tape.notes)
    train(4)
    (recorded, optimizer), (alone, _) = made
    assert torch.allclose(recorded, alone, atol=1e-6) and all(group["fused"] for group in optimizer.param_groups)
    optimizer.step()  # by its kernel, from where the recording left it


def test_a_fused_kernel_with_a_gradient_scaler_or_outside_of_an_optimizer_is_refused() -> None:
    def scaled(width: int) -> None:
        w = nn.Parameter(torch.ones(width))
        optimizer = torch.optim.SGD([w], lr=0.1, fused=True)
        optimizer.grad_scale = torch.ones(())  # type: ignore[attr-defined]
        w.sum().backward()
        optimizer.step()

    def by_itself(width: int) -> None:
        w, given = nn.Parameter(torch.ones(width)), dict.fromkeys(("momentum", "dampening", "weight_decay"), 0.0)
        w.sum().backward()
        switches = dict.fromkeys(("nesterov", "maximize", "is_first_step"), False)
        with torch.no_grad():
            torch._fused_sgd_([w], [w.grad], [], lr=0.1, **given, **switches)

    with pytest.raises(RecordingError, match="a gradient scaler; expected none"):
        record_tape(scaled, 4, 1, seed=0)
    with pytest.raises(RecordingError, match=r"outside of an optimizer of torch\.optim"):
        record_tape(by_itself, 4, 1, seed=0)
