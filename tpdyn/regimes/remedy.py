"""What would make this script learn features at every width? A remedy that is tried out before it is proposed.

The reading is repeated with changed exponents (learning rates, initial sizes), until no update contributes too much and, if
possible, every update contributes at order 0. What is proposed is what was found to help, with the regime it leads to;
it need not be the only remedy. (All of them, as a polyhedron of exponents, are another question.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import final

from tpdyn.exponents import ZERO, show_power
from tpdyn.program.errors import OutsideTheory
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents, Orders
from tpdyn.regimes.prediction import Regime
from tpdyn.regimes.verdict import judge

_LARGEST_PROGRAM = 6000
"""Statements; above it a remedy would take longer than a person wants to wait."""


@final
@dataclass(frozen=True, slots=True)
class Remedy:
    """Factors by which to multiply parameters' initial entries and learning rates, and the regime that results."""

    initial: Mapping[str, Fraction]
    rate: Mapping[str, Fraction]
    regime: Regime

    def __str__(self) -> str:
        parts = []
        for what, factors in (("initial entries", self.initial), ("learning rates", self.rate)):
            by_power: dict[Fraction, list[str]] = {}
            for name, power in factors.items():
                by_power.setdefault(-power, []).append(name)
            for power, names in sorted(by_power.items()):
                parts.append(f"{what} of {_listed(names)} by {show_power(power)}")
        return f"multiply {'; '.join(parts)} (then: {self.regime.value})"


def _listed(names: list[str]) -> str:
    """A few names, and how many more."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def find_remedy(orders: Orders) -> Remedy | None:
    """The first of a few candidates that leads to feature learning (or at least to stability); None if none does.

    Candidates: equalise the learning rates; the same with the parameters that feed the output initialised smaller by
    n^-1/2 or n^-1.
    """
    program, exponents = orders.program, orders.exponents
    if len(program) > _LARGEST_PROGRAM:
        return None
    readouts = sorted(
        {
            c.parameter
            for c in orders.contributions
            if not program.statements[c.position].wide_axes and _is_vector(program, c.parameter)
        }
    )
    start = dict.fromkeys(readouts, ZERO)
    best: Remedy | None = None
    for shift in (Fraction(0), Fraction(1, 2), Fraction(1)):
        candidate = replace(
            exponents, initial=_added(exponents.initial, {name: power + shift for name, power in start.items()})
        )
        if shift and not readouts:
            break
        try:
            rates, found = _equalised(orders, candidate)
        except OutsideTheory:
            continue
        regime = judge(found).regime
        remedy = Remedy(dict.fromkeys(readouts, shift) if shift else {}, rates, regime)
        if regime == Regime.FEATURE_LEARNING:
            return remedy if remedy.initial or remedy.rate else None
        if best is None and regime in (Regime.KERNEL, Regime.TRIVIAL) and (remedy.initial or remedy.rate):
            best = remedy
    return best if best is not None and best.regime == Regime.KERNEL else None


def _equalised(orders: Orders, exponents: Exponents) -> tuple[dict[str, Fraction], Orders]:
    """Learning-rate exponents under which each parameter's own change contributes at order 0."""
    rates: dict[str, Fraction] = {}
    for _ in range(6):
        orders = orders.again(replace(exponents, rate=_added(exponents.rate, rates)))
        largest: dict[str, Fraction] = {}
        for c in orders.contributions:
            if c.alone is not None:
                largest[c.parameter] = max(largest.get(c.parameter, c.alone), c.alone)
        off = {name: order for name, order in largest.items() if order != 0}
        if not off:
            break
        for name, order in off.items():
            rates[name] = rates.get(name, ZERO) + order
    return {name: power for name, power in rates.items() if power}, orders


def _added(one: Mapping[str, Fraction], other: Mapping[str, Fraction]) -> dict[str, Fraction]:
    return {name: one.get(name, ZERO) + other.get(name, ZERO) for name in {**one, **other}}


def _is_vector(program: Program, name: str) -> bool:
    """Whether a parameter has one wide axis: readouts have, biases of the output have none."""
    return len(program.statements[program.parameter(name).versions[0].var].wide_axes) == 1
