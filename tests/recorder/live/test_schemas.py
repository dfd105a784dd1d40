"""Mirrors tpdyn/recorder/live/schemas.py: what an overload writes, and what computes the same without writing."""

from __future__ import annotations

import pytest
import torch

from tpdyn.recorder.live.schemas import operation

aten = torch.ops.aten


@pytest.mark.parametrize(
    ("overload", "kind", "functional"),
    [
        (aten.add.Tensor, "functional", aten.add.Tensor),
        (aten.add_.Tensor, "in-place", aten.add.Tensor),
        (aten.mul.out, "out", aten.mul.Tensor),
        (aten.view.default, "view", None),
        (aten._unsafe_view.default, "view", None),
        (aten.split.Tensor, "split", None),
        (aten.unbind.int, "split", None),
        (aten.transpose_.default, "geometry", aten.transpose.int),
        (aten._foreach_add_.List, "foreach", None),
        (aten._fused_adamw_.default, "fused", None),
        (aten.normal_.default, "in-place", aten.normal_functional.default),
        (aten.bernoulli_.float, "in-place", aten.bernoulli.p),
    ],
    ids=str,
)
def test_kinds_and_functional_twins(overload: object, kind: str, functional: object) -> None:
    found = operation(overload)
    assert found.kind == kind
    assert found.functional is functional
    assert operation(overload) is found


def test_a_batch_norm_writes_its_running_statistics_though_its_schema_does_not_say_so() -> None:
    found = operation(aten.native_batch_norm.default)
    assert {name for _, name in found.written} == {"running_mean", "running_var"}
    assert found.functional is aten._native_batch_norm_legit_functional.default


def test_random_operations_are_known_by_their_tag_and_attention_apart() -> None:
    assert operation(aten.randn.default).random
    assert operation(aten.dropout.default).random or operation(aten.native_dropout.default).random
    assert not operation(aten.add.Tensor).random
    assert operation(aten._scaled_dot_product_flash_attention_for_cpu.default).attention
