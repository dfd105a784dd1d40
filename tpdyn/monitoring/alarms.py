"""What in a history calls for a person? Each rule is a function of what was seen; an alarm is raised once, until it clears.

* not finite: a module's output has NaN or Inf.
* logits exceed: the numbers that a softmax takes are spaced by 1 or more in their format (128 for bfloat16). Then
  probabilities are wrong by a factor e. Or they exceed what the user set.
* out of range: an output exceeds a narrower format, or soon will at the growth of the last looks.
* stopped learning: for three looks, the last update of a weight is zero or below the rounding of its format.
* dead: more than half of the units of an activation are flat for all examples.
* outside the band: for three looks, a value is outside of what a twin and the theory make expected.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch

from tpdyn.monitoring.expected import Band
from tpdyn.monitoring.history import History
from tpdyn.monitoring.probe import Key

IN_A_ROW = 3
DEAD = 0.5
SOON = 3.0
"""A forecast reaches to three times the steps done: a power law seen over the past says little beyond."""

FORMATS: Mapping[str, float] = {"fp8 e4m3": 448.0, "float16": 65504.0, "bfloat16": 3.3895313892515355e38}
"""Largest finite values (OCP 8-bit floating point, revision 1.0, table 1, for e4m3; torch.finfo for the others)."""


@final
@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm: which rule, which module, at which step, in words, and the line that calls the module."""

    rule: str
    name: str
    step: int
    text: str
    source: str = ""

    def told(self) -> str:
        """Write one line."""
        return f"step {self.step}: {self.text}" + (f" [{self.source}]" if self.source else "")


@final
@dataclass(frozen=True, slots=True)
class Limits:
    """What counts as too large. logits: None for what their format allows. formats: those whose range is watched."""

    logits: float | None = None
    formats: tuple[str, ...] = ("fp8 e4m3", "float16")

    def __post_init__(self) -> None:
        unknown = [each for each in self.formats if each not in FORMATS]
        if unknown:
            raise ValueError(f"no number format {unknown[0]!r} is known; there are: {', '.join(FORMATS)}")


def alarms(history: History, bands: Mapping[Key, Band], limits: Limits) -> list[Alarm]:
    """Return everything that calls for a person at the last look."""
    if not history.looks:
        return []
    step = history.steps[-1]
    rules = (_not_finite(history), _logits(history, limits), _range(history, limits), _stopped(history), _dead(history))
    told = [pair for rule in rules for pair in rule]
    told += _outside(history, bands)
    return [Alarm(rule, name, step, text, _line(history, name)) for rule, name, text in told]


Found = Iterator[tuple[str, str, str]]


def _not_finite(history: History) -> Found:
    for (what, name), value in history.looks[-1].items():
        if what == "size" and not math.isfinite(value):
            yield "not finite", name, f"the output of {name} is not finite"
            return  # what comes after it is only infected


def _logits(history: History, limits: Limits) -> Found:
    for (what, name), value in history.looks[-1].items():
        if what != "logits":
            continue
        most = limits.logits if limits.logits is not None else 1 / _epsilon(history.dtypes.get(name, "float32"))
        if value > most:
            yield "logits exceed", name, f"the largest logit of {name} is {value:.4g}, above {most:.4g}"


def _range(history: History, limits: Limits) -> Found:
    """Yield for each output only the first format that it leaves: a narrower one says more."""
    formats = sorted(limits.formats, key=lambda each: FORMATS[each])
    last = history.looks[-2] if len(history.looks) > 1 else {}
    for (what, name), value in history.looks[-1].items():
        if what != "largest" or not math.isfinite(value):
            continue
        grows = value > last.get((what, name), math.inf)
        steps, values = _recent(history, what, name) if grows else ([], [])
        for kind in formats:
            limit = f"{kind} ({FORMATS[kind]:g})"
            if value > FORMATS[kind]:
                yield f"out of {kind}", name, f"the output of {name} reaches {value:.4g}, beyond {limit}"
                break
            when = crossing(steps, values, FORMATS[kind])
            if when is not None:
                text = f"the output of {name} ({value:.4g} now) leaves {limit} at about step {when} if it grows on"
                yield f"out of {kind}", name, text
                break


def _recent(history: History, what: str, name: str) -> tuple[list[int], list[float]]:
    """Return the last five looks at a number: a history is long, and each look asks."""
    values = [look.get((what, name), math.nan) for look in history.looks[-5:]]
    return history.steps[-5:], values


def crossing(steps: Sequence[float], values: Sequence[float], bound: float) -> int | None:
    """Return the step at which a power law through the last five looks crosses a bound; None if not soon.

    Needs five looks after step 0, each larger than the one before: a value that wavers is not forecast.
    """
    steps, values = steps[-5:], values[-5:]
    if len(steps) < 5 or steps[0] < 1 or not all(math.isfinite(value) and value > 0 for value in values):
        return None
    if any(later <= value for value, later in pairwise(values)):
        return None
    x, y = ([math.log(float(each)) for each in some] for some in (steps, values))
    middle, level = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - middle) * (b - level) for a, b in zip(x, y, strict=True)) / sum((a - middle) ** 2 for a in x)
    when = math.exp(min(middle + (math.log(bound) - level) / slope, 50.0))
    return round(when) if steps[-1] < when <= SOON * steps[-1] else None


def _stopped(history: History) -> Found:
    """Yield weights that stopped learning, if the last looks all saw an update: a frozen weight has no `step`."""
    if len(history.looks) < IN_A_ROW:
        return
    for what, name in history.looks[-1]:
        if what != "step":
            continue
        recent = [(look.get(("step", name)), look.get(("weight", name))) for look in history.looks[-IN_A_ROW:]]
        rounding = _epsilon(history.dtypes.get(name, "float32")) / 2
        if all(s is not None and w is not None and s <= rounding * w and w > 0 for s, w in recent):
            yield (
                "stopped learning",
                name,
                f"{name} has stopped learning: its updates are lost in rounding ({recent[-1][0]:.2g})",
            )


def _dead(history: History) -> Found:
    for (what, name), value in history.looks[-1].items():
        if what == "dead" and value > DEAD:
            yield "dead", name, f"{value:.0%} of the units of {name} are dead: no example of the batch reaches them"


def _outside(history: History, bands: Mapping[Key, Band]) -> Found:
    for (what, name), band in bands.items():
        recent = list(zip(history.steps, history.looks, strict=True))[-IN_A_ROW:]
        sides = [_side(look.get((what, name)), band.at(step)) for step, look in recent]
        if len(sides) == IN_A_ROW and sides[0] and len(set(sides)) == 1:
            low, high = band.at(history.steps[-1]) or (math.nan, math.nan)
            value = history.looks[-1][what, name]
            yield (
                f"{what} outside the band",
                name,
                f"the {what} of {name} is {value:.3g}, {sides[0]} the expected {low:.3g} to {high:.3g}",
            )


def _side(value: float | None, expected: tuple[float, float] | None) -> str:
    if value is None or expected is None or math.isnan(value):
        return ""
    return "below" if value < expected[0] else "above" if value > expected[1] else ""


def _epsilon(dtype: str) -> float:
    kind = getattr(torch, dtype, torch.float32)
    return float(torch.finfo(kind).eps) if isinstance(kind, torch.dtype) and kind.is_floating_point else 0.0


def _line(history: History, name: str) -> str:
    """Return the source line of a module, or of the module that a parameter belongs to."""
    while name and name not in history.sources:
        name = name.rpartition(".")[0]
    return history.sources.get(name, "")
