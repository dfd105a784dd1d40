"""Mirrors tpdyn/recorder/fitting/few.py: several seeds say whether the size of a few entries depends on the width."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from tpdyn.exponents import Scaling
from tpdyn.recorder.fitting.few import Redrawn, law_of_few, power_of, seeds_for

WIDTHS = (16, 256)


def drawn(power: float, count: int, seed: int = 0, mean: float = 0.0) -> Redrawn:
    generator = torch.Generator().manual_seed(seed)
    near, far = (
        [(mean + torch.randn(count, generator=generator)) * width**power for _ in range(seeds_for(count))]
        for width in WIDTHS
    )
    return Redrawn(WIDTHS, (near, far))


@pytest.mark.parametrize("count", [1, 2, 16, 255])
@pytest.mark.parametrize("power", [Fraction(-1), Fraction(-1, 2), Fraction(0), Fraction(1, 2), Fraction(1)])
def test_the_power_is_the_one_that_the_entries_have(count: int, power: Fraction) -> None:
    assert power_of(drawn(float(power), count)) == power


def test_a_power_that_is_no_half_is_none() -> None:
    assert power_of(drawn(0.25, 255)) is None


def test_entries_that_are_the_same_at_each_seed_show_no_noise() -> None:
    same = [torch.ones(3)] * 32
    assert power_of(Redrawn(WIDTHS, (same, same))) == 0
    assert power_of(Redrawn(WIDTHS, (same, [1.1 * each for each in same]))) is None


@pytest.mark.parametrize("entry", [0.0, float("nan"), float("inf")])
def test_entries_without_a_size_have_order_zero(entry: float) -> None:
    odd = [torch.full((2,), entry)] * 32
    assert power_of(Redrawn(WIDTHS, (odd, odd))) == 0


def test_the_law_has_the_mean_and_the_deviation_of_all_draws() -> None:
    law, note = law_of_few("v", (), (), 16, drawn(0.5, 16, mean=3.0)) or (None, "")
    assert law is not None and law.location.order == law.scale.order == Fraction(1, 2)
    assert float(law.location.at(4)) == pytest.approx(6.0, rel=0.1)
    assert float(law.scale.at(4)) == pytest.approx(2.0, rel=0.1)
    assert "16 more seeds" in note and str(law.scale) in note


def test_without_draws_single_entries_have_the_size_that_they_have_on_average() -> None:
    law, note = law_of_few("v", (3.0, -4.0), (0.0, 0.0), 1, None) or (None, "")
    assert law is not None and law.location.is_zero
    assert law.scale == Scaling.of(float(f"{12.5**0.5:.3g}"))
    assert "too few" in note
