"""Mirrors tpdyn/recorder/live/foreach.py: an operation on lists is one on each tensor, a fused kernel is its formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tpdyn.recorder.errors import RecordingError
from tpdyn.recorder.live.foreach import calls_of, fused_formulas, per_tensor
from tpdyn.recorder.live.recorder import record_tape
from tpdyn.recorder.live.replay import verify_tape

aten = torch.ops.aten
A, B = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([0.5, 4.0])
LISTS = {
    "_foreach_add.List": ([A, B], [B.sum() * A, B]),
    "_foreach_add.Scalar": ([A, B], 2.0),
    "_foreach_sub.ScalarList": ([A, B], [1.0, 3.0]),
    "_foreach_mul.Tensor": ([A, B], torch.tensor(3.0)),
    "_foreach_div.List": ([A, B], [A + 5, B + 5]),
    "_foreach_maximum.Scalar": ([A, B], 1.0),
    "_foreach_minimum.ScalarList": ([A, B], [1.0, 2.0]),
    "_foreach_clamp_min.List": ([A, B], [A * 0, B * 0 + 1]),
    "_foreach_pow.ScalarAndTensor": (2.0, [A, B]),
    "_foreach_pow.Scalar": ([A, B], 2.0),
    "_foreach_lerp.Scalar": ([A, B], [A + 1, B - 1], 0.25),
    "_foreach_addcmul.ScalarList": ([A, B], [A, B], [A + 1, B + 1], [2.0, 3.0]),
    "_foreach_addcdiv.Scalar": ([A, B], [A, B], [A + 9, B + 9], 0.5),
    "_foreach_norm.Scalar": ([A, B], 1),
    "_foreach_sqrt.default": ([A.abs(), B.abs()],),
    "_foreach_neg.default": ([A, B],),
}


@pytest.mark.parametrize("name", LISTS)
def test_an_operation_on_a_list_is_the_named_one_on_each_tensor(name: str) -> None:
    packet, _, variant = name.partition(".")
    overload = getattr(getattr(aten, packet), variant)
    each = per_tensor(overload)
    assert each is not None
    calls = calls_of(overload, LISTS[name], {})
    for (args, kwargs), expected in zip(calls, overload(*LISTS[name]), strict=True):
        assert torch.equal(each(*args, **{k: v for k, v in kwargs.items() if v is not None}), expected)


def test_a_factor_of_a_sum_of_lists_is_kept() -> None:
    ((args, kwargs), _) = calls_of(aten._foreach_add.List, ([A, B], [A, B]), {"alpha": 3.0})
    assert torch.equal(aten.add.Tensor(*args, **kwargs), 4 * A)


def test_an_operation_of_one_list_is_the_default_overload_of_its_name() -> None:
    assert per_tensor(aten._foreach_round.default) is aten.round.default
    assert per_tensor(aten._foreach_max.default) is aten.max.default


# -- fused kernels --------------------------------------------------------------------------------------------------------


def apply(overload: Any, *args: Any, **kwargs: Any) -> Tensor:
    result: Tensor = overload(*args, **kwargs)
    return result


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
def test_the_formulas_of_a_fused_kernel_give_its_steps(name: str) -> None:
    """Recorded for three steps: the tape is replayed by its formulas, the parameters were stepped by the kernel."""

    def train(width: int) -> None:
        w = nn.Parameter(torch.linspace(-1, 1, width))
        optimizer = FUSED[name]([w])
        for k in range(3):
            optimizer.zero_grad()
            (w * torch.arange(1.0, width + 1)).sin().sum().mul(k + 1).backward()
            optimizer.step()

    tape = record_tape(train, 4, 3, seed=0)
    verify_tape(tape)
    assert any(note.startswith("the fused kernel") for note in tape.notes)


def test_a_fused_kernel_with_a_gradient_scaler_and_one_without_formulas_are_refused() -> None:
    options = {"lr": 0.1, "maximize": False}
    with pytest.raises(RecordingError, match="with a gradient scaler; expected none"):
        fused_formulas(aten._fused_sgd_.default, (), {**options, "grad_scale": torch.ones(())}, apply, lambda x: x)
    with pytest.raises(RecordingError, match="no formulas for the fused optimizer add"):
        fused_formulas(aten.add.Tensor, (), options, apply, lambda x: x)
