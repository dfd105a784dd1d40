"""Mirrors tpdyn/recorder/lowered.py: masks are kept small, and read as they were."""

from __future__ import annotations

import pytest
import torch

from tpdyn.recorder import lowered
from tpdyn.recorder.lowered import Leaves


def test_leaves_are_read_as_they_were_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowered, "MANY", 8)
    ones = torch.tensor([0.0, 1.0]).repeat(8).double()
    given = {0: ones, 3: torch.randn(16).double(), 5: torch.arange(16), 7: ones[:4], 9: 2 * ones, 11: ones > 0}
    leaves = Leaves(given)
    leaves[13] = ones
    leaves[13] = 3 * ones
    given[13] = 3 * ones
    assert list(leaves) == list(given) and 3 in leaves and 4 not in leaves
    for (position, value), other in zip(leaves.items(), leaves.values(), strict=True):
        assert value.dtype == other.dtype == given[position].dtype
        assert torch.equal(value, given[position]) and torch.equal(other, value)
    assert dict.__getitem__(leaves, 0).dtype == torch.bool
