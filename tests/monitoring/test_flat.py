"""Is an activation called flat where its slope is small, and only there?"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tpdyn.monitoring.flat import FLAT, FLATTEST, flat_entries, flat_region

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "hardtanh": F.hardtanh,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
}


def slope(name: str, at: float) -> float:
    x = torch.tensor(at, dtype=torch.float64, requires_grad=True)
    (derivative,) = torch.autograd.grad(FUNCTIONS[name](x), x)
    return abs(float(derivative))


@pytest.mark.parametrize("name", sorted(FLAT))
def test_slopes_are_small_beyond_the_bounds_and_larger_just_within(name: str) -> None:
    low, high = FLAT[name]
    assert set(FLAT) == set(FUNCTIONS)
    for bound, outwards in ((low, -1), (high, 1)):
        if math.isfinite(bound):
            assert slope(name, bound + outwards * 0.02) <= FLATTEST * 1.02
            assert slope(name, bound + outwards * 2.0) <= FLATTEST * 1.02
            assert slope(name, bound - outwards * 0.05) > FLATTEST


def test_relu6_is_flat_beyond_six() -> None:
    assert flat_region("hardtanh", (None, 0, 6)) == (0.0, 6.0)
    assert flat_region("hardtanh_", (None,)) == (-1.0, 1.0)
    assert flat_region("matmul", ()) is None


def test_a_unit_is_dead_only_if_no_example_reaches_it() -> None:
    value = torch.tensor([[-1.0, 2.0, -3.0, 1.0], [-2.0, -1.0, -1.0, 5.0]])
    saturated, dead = flat_entries(value, FLAT["relu"])
    assert (float(saturated), float(dead)) == (5 / 8, 2 / 4)


def test_the_units_of_an_image_are_its_channels() -> None:
    image = torch.ones(2, 3, 4, 4)
    image[:, 1] = -1.0
    saturated, dead = flat_entries(image, FLAT["relu"])
    assert float(dead) == pytest.approx(1 / 3)
    assert float(saturated) == pytest.approx(1 / 3)
