"""How often do several seeds give a few entries a wrong power of the width?

`power_of` compares draws at each of two widths. It takes order 0 for another power if a
t-test says so, and the mean is nearer to another half.
Entries of any law count: Gaussian, uniform, Laplace, log-normal, off centre.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from scipy.stats import binom

from tpdyn.recorder.fitting.few import LEVEL, Redrawn, power_of, seeds_for

WIDTHS = (16, 256)
TRIALS = 100
LAWS: dict[str, Callable[..., torch.Tensor]] = {
    "Gaussian": torch.randn,
    "uniform": lambda *shape, generator: 2 * torch.rand(*shape, generator=generator) - 1,
    "Laplace": lambda *shape, generator: torch.distributions.Laplace(0.0, 1.0).icdf(
        torch.rand(*shape, generator=generator).clamp(1e-6, 1 - 1e-6)
    ),
    "log-normal": lambda *shape, generator: torch.randn(*shape, generator=generator).exp(),
    "off centre": lambda *shape, generator: torch.randn(*shape, generator=generator) + 1,
}


def wrong(law: str, count: int, power: Fraction) -> int:
    """In how many of `TRIALS` the power is not the true one."""
    generator = torch.Generator().manual_seed(count)
    bad = 0
    for _ in range(TRIALS):
        near, far = (list(LAWS[law](seeds_for(count), count, generator=generator) * n ** float(power)) for n in WIDTHS)
        bad += power_of(Redrawn(WIDTHS, (near, far))) != power
    return bad


@pytest.mark.parametrize("count", [1, 2, 16])
@pytest.mark.parametrize("law", sorted(LAWS))
def test_order_zero_is_kept_but_at_the_level_of_the_test(law: str, count: int) -> None:
    """Seen: 8 of 75,000 are not kept, 2 of 5,000 at most for one law and count. Bound: a binomial of that level, at 1e-5."""
    assert wrong(law, count, Fraction(0)) <= int(binom.isf(1e-5, TRIALS, LEVEL))


@pytest.mark.parametrize("count", [1, 2, 16])
@pytest.mark.parametrize("law", sorted(LAWS))
@pytest.mark.parametrize("power", [Fraction(1, 2), Fraction(-1, 2)])
def test_a_power_of_one_half_is_seen(law: str, count: int, power: Fraction) -> None:
    """Seen: missed in 1 % of 5,000 trials for single Laplace entries, in 0.4 % for two, in 0.2 % else. Bound: 2 %, at 1e-5."""
    assert wrong(law, count, power) <= int(binom.isf(1e-5, TRIALS, 0.02))
