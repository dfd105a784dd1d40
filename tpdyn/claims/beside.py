"""Do runs come to their limit as theory says? What `tpdyn.approach` measured, as claims that hold, fail or stay undecided.

Four claims, of every value that has a limit and does not stay random there:

* value: the means extrapolate to the limit, entry by entry. Model: that of `tpdyn.claims.numbers`; finite-width terms may be as
  large as the limit at width `CROSSOVER`. It holds if all intervals lie within the margin.
* fluctuation: runs of one width scatter as n^-1/2. The slope of a log standard deviation has standard error
  `(2 (seeds - 1) d sum (log n - mean)^2)^-1/2`. There d counts independent entries: `tr(S)^2 / tr(S^2)`, S being their covariance.
* bias: the mean is off by c/n. Undecided, unless it is seen above its error at two widths at least.
* law: the quantiles of a module's coordinates tend to those of the limit. It is judged as a value, relative to their spread.

Intervals are Bonferroni's over all claims. Powers are those of large widths, so `LEEWAY` is given to them. They are upper bounds: a
value that comes to its limit faster contradicts nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tpdyn.claims import numbers
from tpdyn.claims.numbers import Verdict
from tpdyn.claims.statistics import CONFIDENCE
from tpdyn.limits.comparison import FLUCTUATION, SMALL, Approach, Kind, Row

What = Literal["value", "fluctuation", "bias", "law"]
Array = NDArray[np.float64]

MARGIN = 0.1
"""A tenth of the limit is told apart; half of that needs four times as many seeds."""
CROSSOVER = 16.0
"""The width at which finite-width terms may be as large as the limit: a quarter of it at width 64. Training adds to them."""
ENTRIES = 64
"""So many entries of a value are judged at most, evenly chosen."""
LEEWAY = {"fluctuation": 0.1, "bias": 0.3}
"""By how much a power may be larger than that of theory, before its claim fails."""
REACH = {"fluctuation": 0.25, "bias": 0.5}
"""Half of the distance to the next power that there is: within it the claim holds."""
POWERS = {"fluctuation": FLUCTUATION, "bias": -1.0}


@final
@dataclass(frozen=True)
class Beside:
    """One claim about one value beside its limit. told: the numbers that it rests on."""

    what: What
    kind: Kind
    name: str
    step: int
    verdict: Verdict
    told: str

    @property
    def of(self) -> str:
        """What it is about, in words."""
        before = {"value": "", "kernel": "kernel of ", "distribution": "distribution of "}[self.kind]
        return f"{before}{self.name or 'the output'}, step {self.step}"


def beside(approach: Approach, *, confidence: float = CONFIDENCE, margin: float = MARGIN) -> tuple[Beside, ...]:
    """Judge every value of an approach. Is the limit its limit, and do runs come to it with the powers of theory?

    confidence: of all claims together. margin: relative to the limit.
    """
    rows = [row for row in approach.rows if not row.random and max(row.fluctuation) > 1e-9]
    each = 1 - (1 - confidence) / max(1, 3 * len(rows))
    return tuple(claim for row in rows for claim in _claims(approach, row, each, margin))


def distances(approach: Approach) -> str:
    """Say how far runs of the largest and of the smallest width are from the limit at the end."""
    told: dict[str, tuple[float, float]] = {}
    for row in approach.rows:
        if row.random:
            continue
        group = {"kernel": "feature kernels", "distribution": "distributions"}.get(row.kind, "")
        group = group or ("the loss" if row.name == "loss" else "outputs")
        if row.step == max(other.step for other in approach.rows if (other.kind, other.name) == (row.kind, row.name)):
            near, far = row.distance[-1], row.distance[0]
            told[group] = max(told.get(group, (0.0, 0.0)), (near, far))
    if not told:
        return "all values stay random in the limit: there is no distance from it"
    small, large = approach.widths[0], approach.widths[-1]
    first, *others = sorted(told, key=["the loss", "outputs", "feature kernels", "distributions"].index)
    pairs = {name: tuple(map(_percent, told[name])) for name in told}
    text = f"at width {large} you are {pairs[first][0]} from the limit, at {small} it is {pairs[first][1]} ({first}"
    return text + "".join(f"; {name} {pairs[name][0]}, {pairs[name][1]}" for name in others) + ")"


def counted(claims: Sequence[Beside]) -> str:
    """Say how many claims of each kind hold, fail and are undecided."""
    words = {"value": "value", "fluctuation": "fluctuation n^-1/2", "bias": "bias 1/n", "law": "law of coordinates"}
    parts = []
    for what, word in words.items():
        some = [claim.verdict for claim in claims if claim.what == what]
        tally = [f"{some.count(verdict)} {verdict}" for verdict in ("holds", "fails", "undecided") if verdict in some]
        if tally:
            parts.append(f"{word}: {', '.join(tally)}")
    return "; ".join(parts)


def to_dict(approach: Approach, claims: Sequence[Beside]) -> dict[str, Any]:
    """Return distances and claims as JSON."""
    return {
        "says": distances(approach),
        "widths": list(approach.widths),
        "seeds": approach.seeds,
        "claims": [asdict(claim) for claim in claims],
    }


def _claims(approach: Approach, row: Row, confidence: float, margin: float) -> list[Beside]:
    place = (row.kind, row.name, row.step)
    samples = approach.samples[place]
    exact = _limit(approach, row)
    picked = np.unique(np.linspace(0, exact.size - 1, min(exact.size, ENTRIES)).astype(int))
    values = np.stack([each.numpy().reshape(len(each), -1)[:, picked] for each in samples])
    whole = [each.numpy().reshape(len(each), -1) for each in samples]
    found = _value(approach, row, values, exact[picked], confidence, margin)
    made = [Beside("law" if row.kind == "distribution" else "value", *place, found.verdict, found.worst)]
    if row.kind != "distribution":
        made.append(Beside("fluctuation", *place, *_fluctuation(row, whole, confidence)))
        made.append(Beside("bias", *place, *_bias(row, confidence)))
    return made


def _limit(approach: Approach, row: Row) -> Array:
    limit = approach.limit
    kinds = {"value": limit.values, "kernel": limit.kernels, "distribution": limit.distributions}
    found: Array = kinds[row.kind][row.name, row.step].value.numpy().ravel()
    return found


def _size(approach: Approach, row: Row) -> float:
    """Return the unit: the largest entry, of quantiles their spread. For a value that starts at zero it is that of other steps."""
    sizes = []
    for other in approach.rows:
        if (other.kind, other.name) == (row.kind, row.name):
            exact = _limit(approach, other)
            spread = exact.std() if row.kind == "distribution" else np.abs(exact).max()
            sizes.append((other.step == row.step, float(spread)))
    own, largest = max(sizes)[1], max(size for _, size in sizes)
    return (own if own > SMALL * largest else largest) or 1.0


def _value(
    approach: Approach, row: Row, values: Array, exact: Array, confidence: float, margin: float
) -> numbers.Evidence:
    scale, allowed = np.full(len(exact), _size(approach, row)), margin + row.resolution
    return numbers.means(row.widths, values, exact, scale, allowed, confidence, crossover=CROSSOVER)


def _fluctuation(row: Row, samples: Sequence[Array], confidence: float) -> tuple[Verdict, str]:
    power = row.fluctuation_power
    if power is None:
        return "undecided", "no scatter is seen at some width"
    centred = samples[-1] - samples[-1].mean(0)
    gram = centred @ centred.T  # its nonzero eigenvalues are those of the covariance
    independent = max(1.0, float(np.trace(gram) ** 2 / (gram**2).sum()))
    logs = np.log(row.widths)
    error = (2 * (row.seeds - 1) * independent * float(((logs - logs.mean()) ** 2).sum())) ** -0.5
    return _power("fluctuation", power, error, confidence)


def _bias(row: Row, confidence: float) -> tuple[Verdict, str]:
    """Take the bias's error as half of what `Row.errors` holds (two standard errors and the limit's own)."""
    bias, errors = np.asarray(row.bias), np.asarray(row.errors) / 2
    seen = bias > 2 * errors
    if seen.sum() < 2:
        most = bias[-1] + 2 * errors[-1]
        return "undecided", f"below its error: at most {_percent(most)} at width {row.widths[-1]}"
    logs, square = np.log(np.asarray(row.widths)[seen]), bias[seen] ** 2 - errors[seen] ** 2
    weights = square / errors[seen] ** 2  # 1 / variance of log bias
    middle = float((weights * logs).sum() / weights.sum())
    spread = float((weights * (logs - middle) ** 2).sum())
    slope = float((weights * (logs - middle) * np.log(square) / 2).sum() / spread)
    return _power("bias", slope, spread**-0.5, confidence)


def _power(what: Literal["fluctuation", "bias"], power: float, error: float, confidence: float) -> tuple[Verdict, str]:
    half = float(stats.norm.ppf(1 - (1 - confidence) / 2)) * error
    claimed = POWERS[what]
    told = f"power {power:+.2f} in [{power - half:+.2f}, {power + half:+.2f}], theory {claimed:+g}"
    if power - half > claimed + LEEWAY[what]:
        return "fails", told
    return "holds" if abs(power - claimed) + half <= REACH[what] else "undecided", told


def _percent(distance: float) -> str:
    return "0 %" if distance < 1e-9 or not math.isfinite(distance) else f"{100 * distance:.2g} %"
