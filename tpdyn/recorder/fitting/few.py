"""Does the size of a few entries depend on the width? One draw of them at each width shows noise: several seeds say.

A parameter along no dim that grows may be drawn where no law is recorded, by numpy say. Some power of the width fits the
noise of three draws of two entries. So their size does not depend on the width unless further draws say otherwise.
Then the ratio of two draws is as likely above one as below, whatever the law of the entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import final

import torch

from tpdyn.exponents import Scaling
from tpdyn.program.instructions import Law

DRAWS = 64
"""So many entries are drawn at each of two widths, by `FEWEST` seeds at least. At widths 16 times apart the power then has the
standard error 0.07, for single Gaussian entries. The logarithm of the ratio of two squares has the standard deviation pi."""
FEWEST = 16
APART = 16
"""How far apart these two widths are, as a ratio, where the script accepts it."""
LEVEL = 1e-3
"""How often a t-test may take an order 0 for another power. A file of proofs_checks measures it (a few entries)."""
REFUSED = 1e-6
"""How often entries whose size has a power in halves may be refused."""


@final
@dataclass(frozen=True)
class Redrawn:
    """Entries of one parameter at two widths: `entries[k][j]` is the draw of seed j at width k."""

    widths: tuple[int, int]
    entries: tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]


def seeds_for(count: int) -> int:
    """Return at how many seeds so many entries are to be drawn."""
    return max(FEWEST, DRAWS // count)


def power_of(drawn: Redrawn) -> Fraction | None:
    """Return the power of the width in the entries' root mean square, in halves: 0 unless the seeds say otherwise.

    None: no half either. Entries that are the same at each seed are a function of the width, which no power fitted.
    """
    from scipy import stats

    near, far = (torch.stack([draw.double().square().mean() for draw in draws]) for draws in drawn.entries)
    if not bool(((near > 0) & (far > 0) & (near < torch.inf) & (far < torch.inf)).all()):
        return Fraction(0)
    ratio = torch.tensor(drawn.widths[1] / drawn.widths[0], dtype=torch.float64)
    powers = (far / near).log() / (2 * ratio.log())
    mean, error = float(powers.mean()), float(powers.std()) / len(powers) ** 0.5
    bounds = [float(stats.t.isf(level / 2, len(powers) - 1)) * error for level in (LEVEL, REFUSED)]
    if not error:
        return None if mean else Fraction(0)
    if abs(mean) <= bounds[0]:
        return Fraction(0)
    power = Fraction(round(2 * mean), 2)
    return power if abs(mean - power) <= bounds[1] else None


def law_of_few(
    name: str, means: Sequence[float], deviations: Sequence[float], count: int, drawn: Redrawn | None
) -> tuple[Law, str] | None:
    """Return the law of a few measured entries along no dim that grows, and a note on it. None: no power fits.

    means, deviations: of the `count` entries at each recorded width. drawn: the same entries at several seeds. Without
    them the size does not depend on the width.
    """
    start = f"{name}: its initialisation was measured, not recorded."
    if drawn is None:
        mean = sum(means) / len(means)
        deviation = (sum(d * d for d in deviations) / len(deviations)) ** 0.5
        if not deviation:  # single entries vary from width to width only
            mean, deviation = 0.0, (sum(m * m for m in means) / len(means)) ** 0.5
        note = (
            f"{start} Entries are too few ({count}) to show a power of the width. Their size is taken for the same at all "
            "widths. Draw them by torch inside the recorded function."
        )
        return _law(means, mean, deviation, count, Fraction(0)), note
    power = power_of(drawn)
    if power is None:
        return None
    both = zip(drawn.widths, drawn.entries, strict=True)
    entries = torch.cat([draw.double().flatten() / float(n) ** float(power) for n, draws in both for draw in draws])
    law = _law([float(entries.mean())], float(entries.mean()), float(entries.std()), len(entries), power)
    size = "does not depend on the width" if not power else f"is {law.scale}"
    return (
        law,
        f"{start} Entries are few ({count}) and were drawn at {len(drawn.entries[0])} more seeds: their size {size}.",
    )


def _law(means: Sequence[float], mean: float, deviation: float, count: int, power: Fraction) -> Law:
    """Return the law with these numbers at width 1. A mean within 5 of its standard errors of zero is zero."""
    centred = all(abs(each) <= 5 * deviation / count**0.5 for each in means)
    location = Scaling(()) if centred else Scaling.of(float(f"{mean:.3g}"), power)
    return Law("iid", location, Scaling.of(float(f"{deviation:.3g}"), power))
