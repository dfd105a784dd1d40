"""Mirrors tpdyn/recorder/lowering/values.py: only constants are numbers, and only where all entries are equal."""

from __future__ import annotations

import math

import pytest
import torch

from tpdyn.recorder.lowering.values import Known, uniform_number

NAN = math.nan


@pytest.mark.parametrize(
    ("tensor", "number"),
    [
        (torch.full((2, 3), 2.5), 2.5),
        (torch.tensor(7), 7),
        (torch.tensor([True, True]), True),
        (torch.tensor([1.0, 2.0]), None),
        (torch.zeros(0), None),
        (torch.ones(2, dtype=torch.complex64), None),
    ],
)
def test_a_tensor_of_equal_entries_is_their_number(tensor: torch.Tensor, number: float | None) -> None:
    assert uniform_number(tensor) == number and Known(tensor).number == number


def test_entries_that_are_all_not_a_number_are_equal() -> None:
    assert math.isnan(uniform_number(torch.full((3,), NAN)) or 0)
    assert uniform_number(torch.tensor([NAN, 1.0])) is None


@pytest.mark.parametrize("kind", ["data", "buffer", "random", "parameter"])
def test_what_may_differ_in_another_run_is_no_number(kind: str) -> None:
    assert Known(torch.ones(3), kind).number is None  # type: ignore[arg-type]


def test_a_full_constant_is_stored_as_one_entry() -> None:
    known = Known.full((1000, 1000), 3)
    assert known.shape == (1000, 1000) and known.number == 3
    assert known.tensor.untyped_storage().nbytes() == 8


def test_whole_numbers_and_truth_values_are_discrete() -> None:
    discrete = [
        Known(torch.zeros(1, dtype=kind)).is_discrete
        for kind in (torch.int64, torch.bool, torch.float32, torch.complex64)
    ]
    assert discrete == [True, True, False, False]
