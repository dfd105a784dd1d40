"""At which width does a value leave the range of its number format? Orders, and their constants from a ladder of widths.

    print(tpdyn.forecast(tpdyn.record(train, steps=3)).show())

Orders say that a value grows as n^o, not from where. The largest entry at each width is fitted by `n^o (a + b g(n))`, o being
the predicted order. For a vector g is sqrt(2 log n), as the largest of n Gaussian numbers grows. For a number it is n^-1/2, the
next order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

import numpy as np

from tpdyn.exponents import ZERO, show_order
from tpdyn.facts.facts import Facts
from tpdyn.limits.comparison import run_at
from tpdyn.program.instructions import Apply
from tpdyn.program.program import Program, Statement
from tpdyn.readings.orders.reading import read
from tpdyn.readings.sampled.matrix import Matrix
from tpdyn.readings.sampled.rule import Sampled
from tpdyn.readings.sampled.simulate import expect_width

RANGES = {"float8 e4m3": 448.0, "float8 e5m2": 57344.0, "float16": 65504.0, "bfloat16": 3.3895e38}
"""The largest number of each format."""
LOGITS = {"exp in float16": math.log(65504.0), "exp in bfloat16": math.log(3.3895e38)}
"""What goes into a softmax: from there on its exponential is infinite, unless the largest is subtracted first."""
WIDEST = 2.0**40
RESAMPLED = 64


@final
@dataclass(frozen=True)
class Crossing:
    """Where a range is left: the forecast width, and what 80 % of the resampled runs say. Infinite: not below 2^40."""

    width: float
    low: float
    high: float


@final
@dataclass(frozen=True)
class Forecast:
    """One value: its largest entry at each width (mean over runs), its order, and where it leaves each range."""

    name: str
    step: int
    order: Fraction
    widths: tuple[int, ...]
    largest: tuple[float, ...]
    crossings: Mapping[str, Crossing]


@final
@dataclass(frozen=True)
class Forecasts:
    """All named values and inputs of softmax, those first that leave a range first."""

    rows: tuple[Forecast, ...]
    seeds: int

    def row(self, name: str, step: int) -> Forecast:
        """Look up one value; KeyError lists what there is."""
        for row in self.rows:
            if (row.name, row.step) == (name, step):
                return row
        raise KeyError(
            f"no value {name!r} in step {step}; there are: {', '.join(sorted({row.name for row in self.rows}))}"
        )

    def show(self) -> str:
        """Show for each value its largest entry, its order, and the width below 2^40 at which it leaves a range."""
        last: dict[str, Forecast] = {}
        for row in self.rows:
            if row.name not in last or row.step > last[row.name].step:
                last[row.name] = row
        lines = []
        for row in last.values():
            left = [
                f"{name} at n = {_short(c.width)} ({_short(c.low)} to {_short(c.high)})"
                for name, c in row.crossings.items()
                if c.width < WIDEST
            ]
            size = f"{row.largest[-1]:.3g} at n = {row.widths[-1]:,}, order {show_order(row.order)}"
            lines.append(
                f"{row.name or 'the output'}, step {row.step}: {size}; "
                + ("leaves " + ", ".join(left) if left else "stays")
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the same as JSON; a width that is not reached is null."""

        def finite(width: float) -> float | None:
            return width if width < WIDEST else None

        return {
            "seeds": self.seeds,
            "rows": [
                {
                    "name": row.name,
                    "step": row.step,
                    "order": str(row.order),
                    "widths": list(row.widths),
                    "largest": list(row.largest),
                    "leaves": {
                        name: {"width": finite(c.width), "low": finite(c.low), "high": finite(c.high)}
                        for name, c in row.crossings.items()
                    },
                }
                for row in self.rows
            ],
        }


def forecast(
    program: Program,
    widths: Sequence[int] = (128, 256, 512, 1024),
    seeds: int = 4,
    *,
    ranges: Mapping[str, float] = RANGES,
    logits: Mapping[str, float] = LOGITS,
    progress: Callable[[int, int], None] | None = None,
) -> Forecasts:
    """Forecast the width at which activations, outputs and logits leave the range of their number format.

    Args:
        program: recorded at several widths (see `tpdyn.record`); it may be unstable.
        widths: at least three; where it is extrapolated from.
        seeds: runs at each width, at least two.
        ranges: the largest number of each format. logits: the same for what goes into a softmax.
        progress: called with (runs done, runs).

    Raises:
        ValueError: too few widths or seeds, or a width at which a dim is not whole. OutsideTheory: orders that are not
        known.
    """
    asked = tuple(sorted(set(widths)))
    if len(asked) < 3 or seeds < 2:
        raise ValueError(f"widths = {tuple(widths)}, seeds = {seeds}; expected at least three widths and two seeds")
    for width in asked:
        expect_width(program, width)
    facts = Facts.of(program)
    orders = read(facts)
    named = _named(program)
    seen: dict[tuple[str, int], np.ndarray[Any, Any]] = {key: np.zeros((len(asked), seeds)) for key in named}
    for column in range(seeds):
        for row, width in enumerate(asked):
            heard = _largest(
                program, width, 1_000_000 + width * 1_000 + column, {p for some in named.values() for p in some}
            )
            for key, positions in named.items():
                seen[key][row, column] = max(heard.get(position, 0.0) for position in positions)
            if progress is not None:
                progress(column * len(asked) + row + 1, seeds * len(asked))
    rows = []
    for (name, step), positions in named.items():
        sizes = [(orders.values[p].size, orders.values[p].moved, facts.folded.get(p, ZERO)) for p in positions]
        powers = [order + power for size, moved, power in sizes for order in (size, moved) if order is not None]
        if not powers or not seen[name, step].all():
            continue  # zero
        wide = any(program.statements[p].wide_axes for p in positions)
        kinds = logits if name.startswith(SOFTMAX) else ranges
        crossings = _crossings(asked, seen[name, step], float(max(powers)), wide, kinds)
        largest = tuple(float(size) for size in seen[name, step].mean(1))
        rows.append(Forecast(name, step, max(powers), asked, largest, crossings))
    rows.sort(key=lambda row: min(crossing.width for crossing in row.crossings.values()))
    return Forecasts(tuple(rows), seeds)


SOFTMAX = "logits of softmax"


def _named(program: Program) -> dict[tuple[str, int], list[int]]:
    """Map (name, step) to the positions of named values and of what goes into a softmax."""
    positions: dict[tuple[str, int], list[int]] = {}
    for mark in program.marks:
        if mark.kind != "loss":
            positions.setdefault((mark.name, mark.step), []).extend(mark.view.pieces)
    for statement in program.statements:
        instruction = statement.instruction
        if isinstance(instruction, Apply) and "softmax" in instruction.function and statement.origin.phase == "forward":
            name = f"{SOFTMAX} in {statement.origin.module or statement.origin.source}"
            positions.setdefault((name, statement.origin.step), []).append(instruction.operands[0].var)
    return positions


def _largest(program: Program, width: int, seed: int, wanted: set[int]) -> dict[int, float]:
    largest: dict[int, float] = {}

    def listen(position: int, statement: Statement, value: Sampled) -> None:
        if position in wanted and not isinstance(value, Matrix) and value.numel():
            proper = value[value.isfinite()]  # -inf marks what a mask leaves out
            largest[position] = float(proper.abs().max()) if proper.numel() else 0.0

    run_at(program, width, seed, listen)
    return largest


def _crossings(
    widths: Sequence[int], seen: np.ndarray[Any, Any], order: float, wide: bool, ranges: Mapping[str, float]
) -> dict[str, Crossing]:
    generator = np.random.default_rng(0)
    draws = [seen.mean(1)]
    draws += [seen[:, generator.integers(seen.shape[1], size=seen.shape[1])].mean(1) for _ in range(RESAMPLED)]
    fits = [_fit(widths, each, order, wide) for each in draws]
    crossings = {}
    for name, bound in ranges.items():
        first, *rest = [_reached(fit, order, wide, bound, widths[0]) for fit in fits]
        low, high = (float(number) for number in np.quantile(rest, (0.1, 0.9), method="nearest"))
        crossings[name] = Crossing(first, min(low, first), max(high, first))
    return crossings


def _growth(width: float, wide: bool) -> float:
    return math.sqrt(2 * math.log(width)) if wide else width**-0.5


def _fit(widths: Sequence[int], sizes: np.ndarray[Any, Any], order: float, wide: bool) -> tuple[float, float]:
    """Fit a and b of `n^order (a + b g(n))`, relative errors counted alike; a maximum grows with the width, so b >= 0."""
    scaled = sizes / np.array(widths, float) ** order
    design = np.stack([np.ones(len(widths)), [_growth(width, wide) for width in widths]], 1) / scaled[:, None]
    a, b = np.linalg.lstsq(design, np.ones(len(widths)), rcond=None)[0]
    if (wide and b < 0) or (a < 0 and not wide):
        return float(1 / np.mean(1 / scaled)), 0.0
    return float(a), float(b)


def _reached(fit: tuple[float, float], order: float, wide: bool, bound: float, start: float) -> float:
    """Find the smallest width, from the first that was run, at which the fit exceeds the bound."""

    def above(log: float) -> bool:
        width = math.exp(log)
        return bool((fit[0] + fit[1] * _growth(width, wide)) * width**order > bound)

    low, high = math.log(start), math.log(WIDEST)
    if above(low):
        return start
    if not above(high):
        return math.inf
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if above(middle) else (middle, high)
    return math.exp(high)


def _short(width: float) -> str:
    return "more" if width >= WIDEST else f"{float(f'{width:.2g}'):,.0f}"
