"""Mirrors tpdyn/recorder/live/foreach.py: an operation on lists is one on each tensor."""

from __future__ import annotations

import pytest
import torch

from tpdyn.recorder.live.foreach import calls_of, per_tensor

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
