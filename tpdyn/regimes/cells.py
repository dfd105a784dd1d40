"""On which set of exponents do the orders of a program have these formulas? Polyhedral cells around points.

`on_cell` runs any work on orders (the reading, the judgement) with symbols for exponents. The numbers in its result are linear
forms. The cell consists of the linear equations and inequalities that decided the comparisons on the way. At every point of
the cell, the same work on plain rationals gives the values of these forms. `tests/regimes/test_cells.py` checks this
property. Cells are convex, neither open nor closed. They cover the space: each point lies in exactly one.

What a reading makes is free of cycles, and counting references frees it. So Python's search for cycles rests meanwhile. In
a memory that grows it took more than a third of a phase diagram's time.
"""

from __future__ import annotations

import fnmatch
import gc
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal, TypeVar, final

from tpdyn.exact.affine import Affine, Chart, Memory, Relation
from tpdyn.exact.forms import Constraint, Form, Point
from tpdyn.exponents import ZERO, Order
from tpdyn.facts.sites import Site
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents

T = TypeVar("T")

Kind = Literal["a", "b", "c", "p"]
"""Which exponent: of a parameter's multiplier a, its initial entries b, its learning rate c. Or p of a site's multiplier.
"""

KINDS: tuple[Kind, ...] = ("a", "b", "c")


@final
@dataclass(frozen=True)
class Cell:
    """The points at which every comparison comes out as it does at `point` (parallel constraints: the tightest only)."""

    names: tuple[str, ...]
    point: Point
    constraints: tuple[Constraint, ...]

    def contains(self, point: Sequence[Fraction]) -> bool:
        """Tell whether a point lies in the cell."""
        return all(constraint.holds(point) for constraint in self.constraints)

    @property
    def equations(self) -> tuple[Form, ...]:
        """The forms that are 0 on the whole cell; empty if the cell has an interior."""
        return tuple(c.form for c in self.constraints if c.relation == "=")

    def show(self) -> str:
        """Write one constraint a line."""
        return "\n".join(constraint.show(self.names) for constraint in self.constraints)


@final
@dataclass(frozen=True)
class Coordinates:
    """Which exponents move with which symbol: `exponent = origin + sum of coefficient * symbol`.

    moves[symbol] gives the coefficient of (kind, parameter or name of a site); symbols are in the order of the mapping.
    sites: the statements that a site's multiplier acts on, by its name.
    """

    moves: Mapping[str, Mapping[tuple[Kind, str], Fraction]]
    origin: Exponents = Exponents()
    sites: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The symbols."""
        return tuple(self.moves)

    def at(self, values: Sequence[Fraction]) -> Exponents:
        """Return the exponents at a point (plain rationals or linear forms)."""
        origin = {"a": self.origin.multiplier, "b": self.origin.initial, "c": self.origin.rate}
        exponents = {kind: dict(given) for kind, given in origin.items()}
        site = dict(self.origin.site)
        for move, value in zip(self.moves.values(), values, strict=True):
            for (kind, parameter), coefficient in move.items():
                part = value if coefficient == 1 else coefficient * value
                if kind == "p":
                    site |= {position: site.get(position, ZERO) + part for position in self.sites[parameter]}
                else:
                    exponents[kind][parameter] = exponents[kind].get(parameter, ZERO) + part
        return Exponents(exponents["a"], exponents["b"], exponents["c"], self.origin.frozen, site)

    def seen_from(self, values: Sequence[Fraction]) -> Coordinates:
        """Return the same symbols with their origin at a point."""
        return replace(self, origin=self.at(values))


def every_exponent(
    program: Program, kinds: Sequence[Kind] = KINDS, origin: Exponents | None = None, at: Sequence[Site] = ()
) -> Coordinates:
    """Give each exponent of each parameter a symbol, 'fc1.weight:b', and each site the symbol of its multiplier."""
    moves: dict[str, Mapping[tuple[Kind, str], Fraction]] = {
        f"{parameter.name}:{kind}": {(kind, parameter.name): Fraction(1)}
        for parameter in program.parameters
        for kind in kinds
    }
    moves |= {f"{site.name}:p": {("p", site.name): Fraction(1)} for site in at}
    return Coordinates(moves, origin or Exponents(), {site.name: site.positions for site in at})


def moved_by(program: Program, word: str) -> dict[tuple[Kind, str], Fraction]:
    """List what a symbol such as 'c' (all learning rates), 'out.weight:b' or 'blocks.*:c' moves, with coefficient 1.

    Words with commas between them move together. A '-' or a rational in front is a coefficient: 'out.weight:a,-out.weight:b'.
    Raises ValueError if a name fits none of the parameters, or if the word moves nothing.
    """
    moves: dict[tuple[Kind, str], Fraction] = {}
    names = [parameter.name for parameter in program.parameters]
    for part in word.split(","):
        text, coefficient = part.strip(), Fraction(1)
        if "*" in text and text.partition("*")[0].lstrip("-").replace("/", "").isdigit():
            number, _, text = text.partition("*")
            try:
                coefficient = Fraction(number)
            except (ValueError, ZeroDivisionError):
                raise ValueError(f"{part.strip()!r} begins with {number}; expected a rational, e.g. 1/2*c") from None
        elif text.startswith("-"):
            text, coefficient = text[1:], Fraction(-1)
        pattern, _, letter = text.rpartition(":")
        kind = next((k for k in KINDS if k == letter), None)
        fitting = fnmatch.filter(names, pattern or "*")
        if kind is None or not fitting:
            raise ValueError(
                f"{part.strip()!r} names no exponent; expected a (multiplier), b (initial size) or c (learning rate). It is of all "
                f"parameters or behind a name: 'c', 'out.weight:b', 'blocks.*:c'. Parameters: {', '.join(names)}"
            )
        for name in fitting:
            moves[kind, name] = moves.get((kind, name), ZERO) + coefficient
    moves = {key: coefficient for key, coefficient in moves.items() if coefficient}
    if not moves:
        raise ValueError(f"{word!r} moves nothing; expected coefficients that are not zero, e.g. c or 1/2*c")
    return moves


def on_cell(
    coordinates: Coordinates, point: Sequence[Fraction], work: Callable[[Exponents], T], memory: Memory | None = None
) -> tuple[T, Cell]:
    """Run `work` at a point, with linear forms as exponents. Return its result and the cell on which that result holds.

    memory: what was found at other points in these coordinates, to be looked up and added to.
    """
    if len(point) != len(coordinates.names):
        raise ValueError(
            f"{len(point)} coordinates for the {len(coordinates.names)} symbols {', '.join(coordinates.names)}"
        )
    chart = Chart(dict(zip(coordinates.names, point, strict=True)), memory)
    with no_search_for_cycles():
        result = work(coordinates.at([chart.symbol(name) for name in coordinates.names]))
        chart.once.clear()
        return result, Cell(chart.names, chart.point, _tightest(chart))


@contextmanager
def no_search_for_cycles() -> Iterator[None]:
    """Rest the garbage collector, if it runs, and start it again whatever happens (see the module docstring)."""
    runs = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if runs:
            if (
                not gc.get_freeze_count()
            ):  # what was made here is old at once: to look through it takes a tenth of a reading
                gc.freeze()
                gc.unfreeze()
            gc.enable()


def formula(order: Order, symbols: int) -> Form | None:
    """Write an order from `on_cell` as a linear form in so many symbols; None for identically zero."""
    if order is None:
        return None
    if isinstance(order, Affine):
        return Form(*order.chart.form(order.packed))
    return Form(order, (ZERO,) * symbols)


def plain(order: Order) -> Order:
    """Return the value of an order at the point of its reading."""
    return order.value if isinstance(order, Affine) else order


def _tightest(chart: Chart) -> tuple[Constraint, ...]:
    """Return the constraints of a chart with coprime coefficients; of parallel ones, only the tightest."""
    found: dict[tuple[int, ...], tuple[Fraction, int, Relation]] = {}
    for packed, relation in chart.findings():
        constant, *coefficients = chart.parts(packed)
        common = math.gcd(*coefficients)
        if relation == "=" and next(c for c in coefficients if c) < 0:
            common = -common
        direction, offset = tuple(c // common for c in coefficients), Fraction(constant, common)
        tightness = (-offset, _STRICTNESS[relation])
        if direction not in found or tightness > (-found[direction][0], found[direction][1]):
            found[direction] = (offset, _STRICTNESS[relation], relation)
    for direction, (offset, _, relation) in list(found.items()):
        opposite = tuple(-c for c in direction)
        if relation == ">=" and opposite in found and found[opposite][::2] == (-offset, ">="):
            first = next(c for c in direction if c) > 0  # at least 0 and at most 0
            found.pop(opposite if first else direction)
            found[direction if first else opposite] = (offset if first else -offset, _STRICTNESS["="], "=")
    whole = {c: Fraction(c) for c in set[int]().union(*found)}  # few numbers, in many places
    return tuple(
        Constraint(Form(offset, tuple(map(whole.__getitem__, direction))), relation)
        for direction, (offset, _, relation) in sorted(found.items())
        if relation == "=" or not _on_equation(direction, found)
    )


_STRICTNESS = {">=": 0, ">": 1, "=": 2}


def _on_equation(direction: tuple[int, ...], found: Mapping[tuple[int, ...], tuple[Fraction, int, Relation]]) -> bool:
    """Tell whether an equation already fixes this form, or its negative."""
    opposite = tuple(-c for c in direction)
    return opposite in found and found[opposite][2] == "="
