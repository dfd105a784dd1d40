"""How large is what on the cells of a diagram? The formulas that its own readings leave behind, exact on each whole cell.

A reading compares orders only where its verdict depends on it. Which of `x` and `1/2 - y` is larger may stay open. So a
formula is the largest of some linear forms. Those that another one covers on the whole cell are left out.

Where something grows, the reading ends at the first value that does. What comes before it has its formulas; what comes behind
would be sizes in a network that is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

from tpdyn.exact.forms import Form, Point
from tpdyn.exact.outlines import Polygon
from tpdyn.facts.facts import Facts
from tpdyn.parametrizing.maps.phase import Label, Phase
from tpdyn.readings.orders.reading import Orders
from tpdyn.readings.orders.terms import Terms
from tpdyn.regimes.cells import Cell, formula

SYMBOLS = 2


@final
@dataclass(frozen=True, slots=True)
class Most:
    """An order: the largest of some linear forms on a cell. Without any: identically zero.

    beyond: above every power of n. unread: the reading ended before it came to a step in which anything can have changed.
    """

    forms: tuple[Form, ...] = ()
    beyond: bool = False
    unread: bool = False

    def at(self, point: Point) -> Fraction | None:
        """Evaluate at a point; None for identically zero. Raises ValueError unless given a number."""
        if self.beyond or self.unread:
            raise ValueError("the order is above every power of the width" if self.beyond else "the order was not read")
        return max((form.at(point) for form in self.forms), default=None)

    def show(self, names: Sequence[str]) -> str | None:
        """Write it as text: 'max(x, 1/2 - y)'; None for identically zero, else 'inf' or 'not read'."""
        if self.beyond or not self.forms:
            return "inf" if self.beyond else "not read" if self.unread else None
        told = [form.show(names) for form in self.forms]
        return told[0] if len(told) == 1 else f"max({', '.join(told)})"

    def to_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """Write it as JSON: `text`, and the forms: the constant and one coefficient for each symbol."""
        return {
            "text": self.show(names),
            "forms": [[str(x) for x in (form.constant, *form.coefficients)] for form in self.forms],
        }

    def on(self, corners: Sequence[Point]) -> Most:
        """Leave out forms that are at every corner of a convex set at most as large as another one."""
        if len(self.forms) < 2:
            return self
        values = {form: [form.at(corner) for corner in corners] for form in self.forms}
        kept: list[Form] = []
        for form in sorted(
            self.forms, key=lambda form: (sum(values[form]), form.constant, form.coefficients), reverse=True
        ):
            if not any(all(a >= b for a, b in zip(values[one], values[form], strict=True)) for one in kept):
                kept.append(form)
        return Most(tuple(kept), self.beyond, self.unread)


Rows = tuple[tuple[tuple[str, ...], Most, Most], ...]
"""Names of modules that share their orders, the size at initialisation, and the largest change over the steps."""


@final
@dataclass(frozen=True, slots=True)
class Sized:
    """Formulas of the orders on one cell of a diagram: a convex polygon, a segment or a corner.

    corners: a polygon is meant without its sides, a segment without its ends. grows: what grows first there, in words. It is
    empty where nothing does; else `orders` end with it.
    """

    phase: Phase
    corners: Polygon
    orders: Rows
    grows: str = ""


@final
@dataclass(frozen=True, slots=True)
class _Read:
    orders: tuple[tuple[str, Most, Most], ...]
    grows: str


@final
class Sizes:
    """What the readings of a diagram say of modules and outputs, kept for their cells: `note` each, ask `on` one."""

    def __init__(self, facts: Facts) -> None:
        self._program = facts.program
        self._first: dict[str, int] = {}
        self._marks = [mark for mark in facts.program.marks if mark.kind in ("module", "output")]
        for mark in self._marks:
            self._first[mark.name] = min(mark.step, self._first.get(mark.name, mark.step))
        self._read: dict[Point, _Read] = {}

    def note(self, cell: Cell, label: Label, orders: Orders) -> None:
        """Keep what a reading found, which ended at the first value that grows if there is one."""
        values, reached = orders.values, len(orders.values)
        sizes: dict[str, list[Terms]] = {}
        changes: dict[str, list[Terms]] = {}
        grows = label.startswith("unstable")
        later: set[str] = set()
        for mark in self._marks:
            if max(mark.view.pieces) < reached:
                found = [values[var] for var in mark.view.pieces]
                changes.setdefault(mark.name, []).extend(value.change for value in found)
                if mark.step == self._first[mark.name]:
                    sizes[mark.name] = [value.base for value in found]
                else:
                    later.add(mark.name)
        unread = Most(unread=True)
        rows = tuple(
            (name, _most(sizes[name]), unread if grows and name not in later else _most(changes[name]))
            for name in sizes
        )
        self._read[cell.point] = _Read(rows, self._told(reached - 1) if grows else "")

    def on(self, cell: Cell, phase: Phase, corners: Polygon) -> Sized:
        """Return the formulas on a part of a cell that was noted, which has these corners."""
        read = self._read[cell.point]
        groups: dict[tuple[Most, Most], list[str]] = {}
        for name, size, change in read.orders:
            groups.setdefault((size.on(corners), change.on(corners)), []).append(name)
        return Sized(phase, corners, tuple((tuple(of), *most) for most, of in groups.items()), read.grows)

    def _told(self, position: int) -> str:
        name = next((mark.name for mark in self._marks if position in mark.view.pieces), "")
        statement = self._program.statements[position]
        if not name:
            name = statement.name + (f" of {statement.origin.module}" if statement.origin.module else "")
        return f"{name} in step {statement.origin.step}"


def _most(several: Iterable[Terms]) -> Most:
    orders = [term.mean_order for terms in several for term in terms]
    exact = [order for order in orders if not isinstance(order, float)]
    forms = dict.fromkeys(form for order in exact if (form := formula(order, SYMBOLS)) is not None)
    return Most(tuple(forms), beyond=any(isinstance(order, float) and order > 0 for order in orders))
