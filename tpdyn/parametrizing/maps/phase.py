"""In which regime is a program at given exponents, with which r? One label for a point, or for the cell around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, final

from tpdyn.exact.affine import Memory
from tpdyn.exact.compare import exceeds
from tpdyn.exact.forms import Form, Point
from tpdyn.exponents import ZERO, Order
from tpdyn.facts.facts import Facts
from tpdyn.program.program import Program, Statement
from tpdyn.readings.orders.reading import Exponents, Orders, read
from tpdyn.readings.orders.terms import Value
from tpdyn.regimes.cells import Cell, Coordinates, formula, on_cell
from tpdyn.regimes.judgement import judge, largest_change
from tpdyn.regimes.prediction import Regime

Label = Literal["unstable at initialisation", "unstable", "trivial", "kernel", "feature learning"]
LABELS: tuple[Label, ...] = ("unstable at initialisation", "unstable", "trivial", "kernel", "feature learning")


@final
@dataclass(frozen=True, slots=True)
class Phase:
    """A regime, and r as a linear form of the coordinates: hidden representations change by n^-r. None: not at all, or
    not asked for (an unstable or trivial network)."""

    label: Label
    r: Form | None = None

    def show(self, names: Sequence[str]) -> str:
        """Write it as text, r in the names of the coordinates."""
        if self.r is None or (self.r.is_constant and not self.r.constant):
            return self.label
        return f"{self.label}, r = {self.r.show(names)}"

    def agrees(self, other: Phase, at: Point) -> bool:
        """Tell whether another phase says the same of a point."""
        if self.label != other.label or (self.r is None) != (other.r is None):
            return False
        return self.r is None or other.r is None or self.r.at(at) == other.r.at(at)

    def agrees_on(self, other: Phase, corners: Iterable[Point]) -> bool:
        """Tell whether another phase says the same of all points between some corners."""
        return all(self.agrees(other, corner) for corner in corners)


def phase_of(program: Program | Facts, exponents: Exponents) -> tuple[Label, Order, Orders]:
    """Read the label, r, and the orders as far as they tell, at some exponents (plain rationals, or linear forms).

    The reading ends at the first value that grows, or with the last one that counts. In step 0 nothing has changed yet, and
    later steps have the same base. So a value that is too large at initialisation is met before any that changes too much.
    """
    facts = Facts.of(program)
    last = max(facts.counting, default=-1)
    met: list[Label] = []

    def grows(position: int, statement: Statement, value: Value) -> bool:
        value = value.times(facts.unit_lengths.get(position, ZERO))
        if value.size is not None and exceeds(value.size, 0):
            met.append("unstable at initialisation")
        elif value.moved is not None and exceeds(value.moved, 0):
            met.append("unstable")
        return bool(met) or position == last

    orders = read(facts, exponents, until=grows, asked=frozenset(facts.counting), contributions=False)
    if met:
        return met[0], None, orders
    judgement = judge(orders)
    match judgement.regime:
        case Regime.UNSTABLE:
            return "unstable", None, orders
        case Regime.TRIVIAL:
            return "trivial", None, orders
        case Regime.KERNEL:
            moved = largest_change(orders, orders.facts.hidden)
            return "kernel", None if moved is None else -moved, orders
        case Regime.FEATURE_LEARNING:
            return "feature learning", ZERO, orders


@final
class PhaseReader:
    """Reads the phases of a program at points.

    progress is told how often it has read. noted is told each cell, its label and its orders.
    """

    def __init__(
        self,
        facts: Facts,
        coordinates: Coordinates,
        progress: Callable[[int], None] | None = None,
        noted: Callable[[Cell, Label, Orders], None] | None = None,
    ) -> None:
        self.facts, self.coordinates = facts, coordinates
        self.progress, self.noted = progress, noted
        self.readings = 0
        self._memory: Memory = {}

    def look(self, point: Point) -> tuple[Phase, Cell]:
        """Read the phase at a point, and the cell on which it stays."""
        (label, r, orders), cell = on_cell(
            self.coordinates, point, lambda exponents: phase_of(self.facts, exponents), self._memory
        )
        self.readings += 1
        if self.noted is not None:
            self.noted(cell, label, orders)
        if self.progress is not None:
            self.progress(self.readings)
        return Phase(label, formula(r, len(self.coordinates.names))), cell


def rank(phase: Phase) -> int:
    """Return a key that sorts phases from the most unstable to feature learning."""
    return LABELS.index(phase.label)


def text(point: Iterable[Fraction]) -> list[str]:
    """Write a point for JSON: numbers are exact and therefore strings."""
    return [str(x) for x in point]


def words(points: Iterable[Iterable[Fraction]]) -> str:
    """Write points to be read: '(0, 1/2) (1, 1/2)'."""
    return " ".join(f"({', '.join(map(str, point))})" for point in points)
