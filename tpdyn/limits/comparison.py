"""How far from its limit is a network at width 64, and at 512? Runs at growing widths, beside the limit of infinite width.

    program = tpdyn.record(train, steps=3)
    print(tpdyn.approach(program, widths=(64, 128, 256, 512)).show())

Theory: from run to run a value that has a limit fluctuates by c n^-1/2. Its mean is off by c/n. Each run is the
recorded program at that width: dense up to `DENSE`, and by `simulate` (the same law) above. Data are the same as those
of the limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import linear_regression
from typing import Any, Literal, final

import torch
from torch import Tensor

from tpdyn.limits.limit import Estimate, Limit, Name, limit
from tpdyn.limits.statistics import Statistics
from tpdyn.program.evaluation.leaves import draw
from tpdyn.program.instructions import Leaf
from tpdyn.program.program import Program
from tpdyn.readings.finite import run as dense_run
from tpdyn.readings.interpret import Listener, interpret
from tpdyn.readings.sampled.noise import Independent
from tpdyn.readings.sampled.rule import Sampled
from tpdyn.readings.sampled.simulate import expect_width, rule_for

Kind = Literal["value", "kernel", "distribution"]

DENSE = 1024
"""Up to this width matrices are stored: a check of the limit that shares nothing with its sampler."""
FLUCTUATION = -0.5
SIGMAS, LEEWAY = 3.0, 0.1
"""Powers are those of large widths. At the smallest ones networks that do approach are off by a tenth."""
SMALL = 1e-3
"""A value may be below this part of what it is in other steps (an output that starts at zero). Then it is measured against
those.
"""
NOISE = 2.0
"""A mean may be within so many of its standard errors (and of the limit's) of zero. Then it says nothing about its power.
"""


@final
@dataclass(frozen=True)
class Row:
    """One value at several widths, beside its limit.

    kind: a finite value, a kernel of features, or the quantiles of their coordinates. distance: of one run from the limit,
    root mean square over seeds, relative to the limit's size. fluctuation: of runs around their mean; bias: of the mean from
    the limit; both relative, too. errors: two standard errors of the bias, and the limit's own error. Each has one entry a width.
    resolution: the limit's error, relative: a smaller distance is not seen.
    """

    kind: Kind
    name: str
    step: int
    widths: tuple[int, ...]
    distance: tuple[float, ...]
    fluctuation: tuple[float, ...]
    bias: tuple[float, ...]
    errors: tuple[float, ...]
    resolution: float
    seeds: int
    random: bool = False

    @property
    def fluctuation_power(self) -> float | None:
        """The slope of log fluctuation against log width; theory says -1/2. None where it is too small to be seen."""
        seen = [(w, f) for w, f in zip(self.widths, self.fluctuation, strict=True) if f > 1e-9]
        return _slope(seen) if len(seen) == len(self.widths) else None

    @property
    def bias_power(self) -> float | None:
        """The slope of log bias; theory says -1. None unless the bias is above its error at two widths at least."""
        seen = [
            (w, b) for w, b, e in zip(self.widths, self.bias, self.errors, strict=True) if b > NOISE * e and b > 1e-9
        ]
        return _slope(seen) if len(seen) > 1 else None

    @property
    def comes_close(self) -> bool | None:
        """Whether runs approach the limit as they should; None where it stays random, or nothing is seen.

        The power of the fluctuation is -1/2 within `SIGMAS` of its standard errors and `LEEWAY`. The bias at the
        largest width is within its errors, or at most two thirds of that at the smallest. A power of -1 gives a half
        for twice the width.
        """
        power = self.fluctuation_power
        if self.random or power is None:
            return None
        logs = [math.log(width) for width in self.widths]
        spread = sum((x - sum(logs) / len(logs)) ** 2 for x in logs)
        error = (
            2 * (self.seeds - 1) * spread
        ) ** -0.5  # a standard deviation of k draws is known to 1 / sqrt(2 (k - 1))
        close = self.bias[-1] <= max(NOISE * self.errors[-1], (self.bias[0] + self.errors[0]) * 2 / 3)
        return abs(power - FLUCTUATION) <= SIGMAS * error + LEEWAY and close


@final
@dataclass(frozen=True)
class Approach:
    """Runs at growing widths beside their limit: one row a value.

    samples: what each run gave, by (kind, name, step): a tensor (seeds, ...) for each width.
    """

    rows: tuple[Row, ...]
    widths: tuple[int, ...]
    seeds: int
    limit: Limit = field(repr=False)
    samples: Mapping[tuple[Kind, str, int], tuple[Tensor, ...]] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the same as JSON."""
        kept = ("kind", "name", "step", "random", "distance", "fluctuation", "bias", "errors", "resolution")
        rows = [
            {
                **{key: getattr(row, key) for key in kept},
                "power": row.fluctuation_power,
                "bias_power": row.bias_power,
                "comes_close": row.comes_close,
            }
            for row in self.rows
        ]
        return {"widths": list(self.widths), "seeds": self.seeds, "rows": rows}

    def row(self, name: str, step: int, kind: Kind = "value") -> Row:
        """Look up one row; KeyError lists what there is."""
        for row in self.rows:
            if (row.name, row.step, row.kind) == (name, step, kind):
                return row
        known = ", ".join(f"{row.kind} {row.name!r} (step {row.step})" for row in self.rows)
        raise KeyError(f"no {kind} {name!r} in step {step}; there are: {known}")

    def show(self, *, every: bool = False) -> str:
        """Show distances in percent, one column a width, and the power of falling fluctuations. Losses, and all of the last step.

        every: all steps of all values.
        """
        lines = [("distance from the limit", *(f"n = {width:,}" for width in self.widths), "power")]
        last = max((row.step for row in self.rows), default=0)
        for row in self.rows if every else [row for row in self.rows if row.name == "loss" or row.step == last]:
            what = {"value": "", "kernel": "kernel of ", "distribution": "distribution of "}[row.kind]
            power = row.fluctuation_power
            end = "random" if row.random else "" if power is None else f"{power:+.2f}"
            cells = [_percent(distance, row.resolution) for distance in row.distance]
            lines.append((f"{what}{row.name or 'the output'}, step {row.step}", *cells, end))
        wide = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        table = [
            "  ".join((line[0].ljust(wide[0]), *(c.rjust(w) for c, w in zip(line[1:], wide[1:], strict=True)))).rstrip()
            for line in lines
        ]
        away = [f"{row.name or 'the output'} (step {row.step})" for row in self.rows if row.comes_close is False]
        told = f"not approaching as n^-1/2: {', '.join(away)}" if away else "theory: fluctuations fall with power -1/2"
        return "\n".join([*table, f"{told}; {self.seeds} runs at each width"])


def approach(
    program: Program,
    widths: Sequence[int] = (64, 128, 256, 512),
    seeds: int = 16,
    *,
    beside: Limit | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Approach:
    """Measure how far losses, outputs, kernels and distributions are from their limit, at each width.

    Args:
        program: recorded at several widths (see `tpdyn.record`).
        widths: at least two.
        seeds: runs at each width, at least two.
        beside: the limit, if it was taken already, with the same `seed`; else `tpdyn.limit(program, seed=seed)`.
        seed: of the data that are drawn, the same in all runs and in the limit.
        progress: called with (runs done, runs).

    Raises:
        ValueError: fewer than two widths or seeds, or a width at which a dim is not whole; OutsideTheory: see `tpdyn.limit`.
    """
    asked = tuple(sorted(set(widths)))
    if len(asked) < 2 or seeds < 2:
        raise ValueError(f"widths = {tuple(widths)}, seeds = {seeds}; expected at least two of each")
    for width in asked:
        expect_width(program, width)
    limiting = beside if beside is not None else limit(program, seed=seed)
    runs: dict[int, list[Statistics]] = {width: [] for width in asked}
    for number in range(seeds):
        for width in asked:
            runs[width].append(_run(program, width, seed, 1_000_000 + width * 1_000 + number))
            if progress is not None:
                progress(sum(map(len, runs.values())), seeds * len(asked))
    kinds: tuple[tuple[Kind, str, Mapping[Name, Estimate]], ...] = (
        ("value", "values", limiting.values),
        ("kernel", "kernels", limiting.kernels),
        ("distribution", "quantiles", limiting.distributions),
    )
    first = {(mark.name, mark.step) for mark in program.marks if mark.kind != "module"}
    rows: list[Row] = []
    samples: dict[tuple[Kind, str, int], tuple[Tensor, ...]] = {}
    for kind, kept, estimates in kinds:
        seen: list[Tensor] = []
        for name in sorted(estimates, key=lambda name: name not in first):  # a module that is the output is told once
            if not any(torch.equal(estimates[name].draws, other) for other in seen):
                seen.append(estimates[name].draws)
                draws = {width: [getattr(each, kept)[name] for each in some] for width, some in runs.items()}
                samples[kind, *name] = tuple(torch.stack(draws[width]) for width in asked)
                rows.append(_row(kind, name, estimates[name], estimates, draws))
    return Approach(tuple(rows), asked, seeds, limiting, samples)


def _run(program: Program, width: int, common: int, seed: int) -> Statistics:
    statistics = Statistics(program)
    run_at(program, width, seed, statistics.listen, common=common)
    return statistics


def run_at(program: Program, width: int, seed: int, listen: Listener[Sampled], *, common: int = 0) -> None:
    """Run a program at a width, dense up to `DENSE`. common: the seed of leaves without a wide dim."""
    leaves = _same(program, width, common)
    with torch.no_grad():
        if width <= DENSE:
            dense_run(program, width, vars=(), leaves=leaves, seed=seed, listener=listen)
        else:
            one = torch.ones((), dtype=torch.float64)
            rule = rule_for(program, width, Independent(width, seed, one), one, leaves=leaves, seed=seed)
            interpret(program, rule, vars=(), listener=listen)


def _same(program: Program, width: int, seed: int) -> dict[str, Tensor]:
    """Draw the random leaves without a wide dim: each draw leads to its own limit."""
    pairs = {}
    for statement in program.statements:
        leaf = statement.instruction
        if (
            isinstance(leaf, Leaf)
            and not statement.wide_axes
            and not leaf.law.is_given
            and leaf.name not in program.arrays
        ):
            shape = tuple(dim.size_at(width) for dim in statement.shape)
            pairs[leaf.name] = draw(leaf, shape, width, torch.float64, seed)
    return pairs


def _row(
    kind: Kind,
    name: Name,
    estimate: Estimate,
    estimates: Mapping[Name, Estimate],
    runs: Mapping[int, Sequence[Tensor]],
) -> Row:
    exact = estimate.value
    steps = [_size(kind, each.value) for (other, _), each in estimates.items() if other == name[0]]
    own, largest = _size(kind, exact), max(steps)
    size = (own if own > SMALL * largest else largest) or 1.0
    distance, fluctuation, bias, errors = [], [], [], []
    for some in runs.values():
        draws = torch.stack(list(some))
        mean = draws.mean(0)
        spread = math.sqrt(float((draws - mean).square().sum()) / (len(draws) - 1))
        distance.append(math.sqrt(float((draws - exact).square().sum()) / len(draws)) / size)
        fluctuation.append(spread / size)
        bias.append(_length(mean - exact) / size)
        errors.append((2 * spread / math.sqrt(len(draws)) + _length(estimate.error)) / size)
    return Row(
        kind,
        *name,
        tuple(runs),
        tuple(distance),
        tuple(fluctuation),
        tuple(bias),
        tuple(errors),
        _length(estimate.error) / size,
        len(next(iter(runs.values()))),
        estimate.random,
    )


def _size(kind: Kind, value: Tensor) -> float:
    """Return the unit of distances: the length of a value; for quantiles, which may lie around zero, their spread."""
    return _length(value - value.mean(1, keepdim=True) if kind == "distribution" else value)


def _length(x: Tensor) -> float:
    return float(x.square().sum().sqrt())


def _slope(points: Sequence[tuple[float, float]]) -> float:
    return linear_regression(*([math.log(point[k]) for point in points] for k in (0, 1))).slope


def _percent(distance: float, resolution: float) -> str:
    if distance <= 1e-9:
        return "0 %"
    return f"{'<' if distance < resolution else ''}{100 * max(distance, resolution):.2g} %"
