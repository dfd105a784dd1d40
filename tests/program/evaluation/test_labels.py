"""Mirrors tpdyn/program/evaluation/labels.py: axes go where their labels say."""

import pytest
import torch

from tpdyn.program.evaluation.labels import aligned


def test_axes_are_put_in_the_order_of_their_labels_and_missing_ones_get_size_one() -> None:
    value = torch.arange(6.0).reshape(2, 3)
    there = aligned(value, (3, 1), 4)
    assert there.shape == (1, 3, 1, 2)
    assert torch.equal(there[0, :, 0, :], value.T)


def test_an_axis_of_size_one_that_the_result_lacks_is_dropped() -> None:
    value = torch.arange(3.0).reshape(1, 3, 1)
    assert torch.equal(aligned(value, (7, 0, 9), 1), torch.arange(3.0))


def test_a_larger_axis_that_the_result_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3\) .*only a contraction sums"):
        aligned(torch.zeros(2, 3), (0, 5), 1)
