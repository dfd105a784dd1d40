"""Mirrors tpdyn/recorder/lowering/rules/normalisation.py: layer, group, batch and RMS norms, with gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from aten_tapes import check, draw, positive, with_gradients

from tpdyn.program.instructions import Combine, Law, Leaf
from tpdyn.recorder.lowered import Lowered
from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.evaluate import evaluate
from tpdyn.recorder.lowering.rules.normalisation import rms_norm

NORMS: dict[str, tuple[Callable[..., Any], list[torch.Tensor]]] = {
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (4,), w, b), [draw(2, 3, 4), draw(4), draw(4, seed=1)]),
    "layer_norm plain": (lambda x: F.layer_norm(x, (4,)), [draw(2, 3, 4)]),
    "layer_norm no bias": (lambda x, w: F.layer_norm(x, (4,), w), [draw(2, 3, 4), draw(4)]),
    "layer_norm two dims": (lambda x: F.layer_norm(x, (3, 4)), [draw(2, 3, 4)]),
    "rms_norm": (lambda x, w: F.rms_norm(x, (4,), w), [draw(2, 3, 4), draw(4)]),
    "rms_norm eps": (lambda x, w: F.rms_norm(x, (4,), w, 1e-3), [draw(2, 3, 4), draw(4)]),
    "rms_norm plain": (lambda x: F.rms_norm(x, (4,)), [draw(2, 3, 4)]),
    "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), [draw(2, 4, 3), draw(4), draw(4, seed=1)]),
    "batch_norm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), [draw(5, 4), draw(4), draw(4, seed=1)]),
    "weight_norm": (lambda v, g: torch._weight_norm(v, g, 0), [draw(3, 4), draw(3, 1)]),
    "softmax": (lambda x: F.softmax(x, -1), [draw(2, 3, 4)]),
    "softmax middle": (lambda x: F.softmax(x, 1), [draw(2, 3, 4)]),
    "softmax of a transpose": (lambda x: F.softmax(x.transpose(1, 2), -1), [draw(2, 3, 4)]),
    "log_softmax": (lambda x: F.log_softmax(x, -1), [draw(2, 3, 4)]),
    "log_softmax of a transpose": (lambda x: F.log_softmax(x.transpose(1, 2), -1), [draw(2, 3, 4)]),
    "softmax by hand": (lambda x: torch.exp(x) / torch.exp(x).sum(-1, keepdim=True), [draw(2, 3, 4)]),
}


@pytest.mark.parametrize("name", NORMS)
def test_normalisations_and_their_gradients_agree(name: str) -> None:
    function, tensors = NORMS[name]
    check(with_gradients(function, len(tensors)), tensors)


def test_batch_norm_with_running_statistics_agrees() -> None:
    def run(x: torch.Tensor, mean: torch.Tensor, var: torch.Tensor) -> Any:
        return torch.ops.aten._native_batch_norm_legit_functional(x, None, None, mean, var, True, 0.1, 1e-5)

    check(run, [draw(5, 4), draw(4), positive(4)])


def fused_rms(x: torch.Tensor, eps: float | None) -> torch.Tensor:
    """What the rule of the fused kernel (of GPUs; here torch takes it apart) makes."""
    b = LoweredBuilder()
    out, _ = rms_norm(b, b.leaf(Leaf("data", "x", Law("data")), x), (4,), None, eps)
    position = b.position(out)
    return evaluate(Lowered(1, b.statements, leaf_values=b.leaf_values))[position]


def test_the_floor_of_a_norm_is_marked_as_one_that_only_keeps_a_quotient_finite() -> None:
    """Else a variance below it would pass for one that the script adds on purpose."""
    b = LoweredBuilder()
    rms_norm(b, b.leaf(Leaf("data", "x", Law("data")), draw(3, 4)), (4,), None, 1e-3)
    sums = [s.instruction for s in b.statements if isinstance(s.instruction, Combine) and s.instruction.constant.terms]
    assert sums and all(combine.epsilon for combine in sums)


def test_an_rms_norm_is_not_centred() -> None:
    x = draw(3, 4) + 5
    assert torch.allclose(fused_rms(x, 1e-3), F.rms_norm(x, (4,), None, 1e-3))


def test_the_floor_of_an_rms_norm_without_one_is_the_precision() -> None:
    x = draw(3, 4) * 1e-4
    assert torch.allclose(fused_rms(x, None), F.rms_norm(x, (4,), None, 1.1920929e-07))
