"""Are vectors of unit length found, however they are normalised, and what is made of them?"""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tpdyn
from tpdyn.exponents import Scaling
from tpdyn.facts.facts import Facts
from tpdyn.program.builder import Builder
from tpdyn.program.instructions import Operand, Slice
from tpdyn.regimes.prediction import Regime

HALF, N = Fraction(1, 2), Builder.n


def normalised(how: str, *, mean: bool = False) -> tuple[Builder, int, int]:
    """`z / |z|` for three rows of a wide embedding. mean: over the root of the mean square instead."""
    b = Builder()
    b.at(phase="forward")
    z = b.einsum("bi,oi->bo", b.data("x", (3, 5)), b.parameter("W", (N, 5)))
    scale = Scaling.of(1, -1 if mean else 0)
    square = b.einsum("bo->b", b.einsum("bo,bo->bo", z, z), scale=scale) if how == "pow" else None
    square = b.einsum("bo,bo->b", z, z, scale=scale) if square is None else square
    match how:
        case "rsqrt":
            inverse = b.apply("rsqrt", b.combine((1, square), constant=1e-8, epsilon=True))
        case "guarded":
            length = b.apply("maximum", b.apply("sqrt", square), b.constant("eps", 1e-12, ()))
            inverse = b.apply("reciprocal", length)
        case _:
            inverse = b.apply("reciprocal", b.apply("sqrt", square))
    return b, z, b.einsum("bo,b->bo", z, inverse)


@pytest.mark.parametrize("how", ["plain", "pow", "rsqrt", "guarded"])
def test_a_vector_over_its_length_counts_as_the_root_of_n_times_itself(how: str) -> None:
    b, _, unit = normalised(how)
    assert Facts.of(b.build()).unit_lengths == {unit: HALF}


def test_what_is_divided_by_the_root_of_a_mean_has_entries_of_order_0_already() -> None:
    b, _, _ = normalised("plain", mean=True)
    assert Facts.of(b.build()).unit_lengths == {}


def test_another_vector_over_that_length_has_another_size() -> None:
    b, z, unit = normalised("plain")
    assert unit
    other = b.apply("tanh", z)
    square = b.einsum("bo,bo->b", z, z)
    quotient = b.einsum("bo,b->bo", other, b.apply("rsqrt", square))
    assert quotient not in Facts.of(b.build()).unit_lengths


def test_parts_multiples_and_products_count_likewise_and_functions_do_not() -> None:
    b, _, unit = normalised("plain")
    part = b.add(Slice.of(Operand(unit, (0, 1)), 0, 0, 1, 2), (Scaling.of(2), Scaling.of(1, 1)))
    cold = b.combine((10, unit))
    large = b.combine((Scaling.of(1, HALF), unit))
    product = b.einsum("bo,bo->bo", unit, unit)
    b.apply("tanh", unit)
    b.einsum("bo,co->bc", unit, unit)
    facts = Facts.of(b.build())
    assert facts.unit_lengths == {unit: HALF, part: HALF, cold: HALF, product: 2 * HALF}
    assert large not in facts.unit_lengths


def test_lengths_along_a_dim_that_does_not_grow_are_none_of_this() -> None:
    b = Builder()
    b.at(phase="forward")
    z = b.parameter("z", (N, 3))
    b.einsum("oc,o->oc", z, b.apply("rsqrt", b.einsum("oc,oc->o", z, z)))
    assert Facts.of(b.build()).unit_lengths == {}


def test_a_unit_vector_times_a_sum_is_of_the_sums_size_and_times_a_mean_or_cosine_of_its_own() -> None:
    b, z, unit = normalised("plain")
    along = b.einsum("bo,bo->b", z, unit)
    b.einsum("b,bo->bo", b.combine((2, along)), unit)
    others = (
        b.einsum("bo,bo->b", unit, unit),
        b.apply("sigmoid", along),
        b.einsum("bo->b", z, scale=Scaling.of(1, -1)),
    )
    kept = {b.einsum("b,bo->bo", number, unit): HALF for number in others}
    assert Facts.of(b.build()).unit_lengths == {unit: HALF, **kept}


def rotated(width: int, steps: int = 4, seed: int = 0) -> float:
    """Train behind the rotation trick of vector-quantize-pytorch; return the size of what it makes."""
    data = torch.Generator().manual_seed(0)
    x, y = torch.randn(6, 4, generator=data), torch.randn(6, 2, generator=data)
    torch.manual_seed(seed)
    inp, head, codes = nn.Linear(4, width), nn.Linear(width, 2), nn.Parameter(torch.randn(6, width) * width**-0.5)
    nn.init.normal_(inp.weight)
    nn.init.normal_(head.weight, std=1 / width)
    optimizer = torch.optim.Adam(
        [{"params": inp.parameters()}, {"params": head.parameters(), "lr": 0.01 / width}], lr=0.01
    )
    made = []
    for _ in range(steps):
        optimizer.zero_grad()
        h = inp(x)
        u, q = F.normalize(h, dim=1).detach(), F.normalize(codes, dim=1).detach()
        w = F.normalize(u + q, dim=1)
        made.append(h - 2 * (h * w).sum(1, keepdim=True) * w + 2 * (h * u).sum(1, keepdim=True) * q)
        (head(torch.tanh(made[-1])) - y).square().mean().backward()
        optimizer.step()
    return float(made[0].detach().square().mean().sqrt())


def test_a_vector_reflected_along_another_keeps_its_size() -> None:
    """Live, its entries have the slope -0.00 between widths 64 and 1024. Each term was counted as n^1/2 times as large."""
    prediction = tpdyn.predict(tpdyn.record(rotated, widths=(16, 24, 40), steps=3), remedy=False)
    assert prediction.regime is Regime.FEATURE_LEARNING
    narrow, wide = (sum(rotated(width, 1, seed) for seed in range(8)) for width in (64, 1024))
    assert abs(math.log(wide / narrow, 16)) < 0.05
