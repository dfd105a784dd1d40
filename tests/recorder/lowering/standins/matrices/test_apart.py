"""Mirrors tpdyn/recorder/lowering/standins/matrices/apart.py: which matrices have a diagonal of their own."""

from __future__ import annotations

import torch

from tpdyn.recorder.lowering.standins.matrices.apart import constant_parts
from tpdyn.recorder.lowering.values import Known


def test_a_constant_has_a_diagonal_of_its_own_if_all_else_is_equal() -> None:
    found = constant_parts(Known(1 - 3 * torch.eye(4)))
    assert found is not None and (found[0].number, found[1].number) == (1, -2)
    assert found[0].shape == (4, 4) and found[1].shape == (4,)
    for other in (torch.ones(4, 4), torch.eye(4).tril() + torch.eye(4).roll(1), torch.eye(3)[:2], torch.eye(1)):
        assert constant_parts(Known(other)) is None
    assert constant_parts(Known(torch.eye(4), "data")) is None
