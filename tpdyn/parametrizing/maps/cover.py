"""Which regimes are there in a slice of abc-space of any dimension, and which inequalities bound them? All of its cells.

A slice has a symbol for each direction and is a box in them. It falls into convex cells: whole ones, and flat ones
between them, on which feature learning often lives. Each has its regime, r, facets and corners, exact. In two
dimensions `tpdyn.phase_diagram` draws the same as polygons.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

from tpdyn.exact.forms import Constraint, Point
from tpdyn.exact.linear import remainder
from tpdyn.exact.polytopes import Polytope, bound, box
from tpdyn.facts.facts import Facts
from tpdyn.parametrizing.families import families_of
from tpdyn.parametrizing.maps.merging import merged
from tpdyn.parametrizing.maps.phase import Label, Phase, PhaseReader, rank, text, words
from tpdyn.parametrizing.maps.planes import Around, Limits, checked_limits, marks_in, point_named
from tpdyn.parametrizing.maps.symbols import Symbols, coordinates_of, point_of
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents
from tpdyn.regimes.cells import Coordinates, no_search_for_cycles
from tpdyn.regimes.predict import expect_inside

_MOST_SYMBOLS = 8
"""A box has 2^symbols corners, and cells grow in number faster than that."""


@final
@dataclass(frozen=True)
class PhaseCell:
    """A convex set of exponents in one phase. facets: what bounds it within the slice, none of which follows from the others.
    corners: those of its closure. dimension: smaller than that of the slice where it is flat."""

    phase: Phase
    facets: tuple[Constraint, ...]
    corners: tuple[Point, ...]
    dimension: int

    def contains(self, point: Point) -> bool:
        """Tell whether a point of the slice lies in it."""
        return all(facet.holds(point) for facet in self.facets)


@final
@dataclass(frozen=True)
class PhaseCells:
    """All phases of a slice. names: its symbols; limits: where it ends; marks: named points ('this script', 'muP').

    Each point of the slice is in exactly one of `cells`. readings: how often the program was read.
    """

    names: tuple[str, ...]
    limits: tuple[tuple[Fraction, Fraction], ...]
    cells: tuple[PhaseCell, ...]
    marks: Mapping[str, Point]
    readings: int

    def cell(self, values: Mapping[str, Fraction | int | str]) -> PhaseCell:
        """Find the cell of a point; raise ValueError outside of the slice."""
        point = point_of(self.names, values)
        for name, x, (low, high) in zip(self.names, point, self.limits, strict=True):
            if not low <= x <= high:
                raise ValueError(f"{name} = {x} is outside of the slice; expected {low} to {high}")
        return next(cell for cell in self.cells if cell.contains(point))

    def at(self, values: Mapping[str, Fraction | int | str]) -> Phase:
        """Find the phase at a point; raise ValueError outside of the slice."""
        return self.cell(values).phase

    def where(self, label: Label) -> tuple[PhaseCell, ...]:
        """Return the cells with a label, larger ones first."""
        return tuple(cell for cell in self.cells if cell.phase.label == label)

    def to_dict(self) -> dict[str, Any]:
        """Write it as JSON; numbers are exact and therefore strings."""
        return {
            "symbols": {name: text(limits) for name, limits in zip(self.names, self.limits, strict=True)},
            "cells": [
                {
                    "label": cell.phase.label,
                    "r": None if cell.phase.r is None else cell.phase.r.show(self.names),
                    "dimension": cell.dimension,
                    "facets": [facet.show(self.names) for facet in cell.facets],
                    "corners": [text(corner) for corner in cell.corners],
                }
                for cell in self.cells
            ],
            "marks": {name: text(point) for name, point in self.marks.items()},
        }

    def show(self) -> str:
        """Tell the cells in words: phase, dimension, facets, corners."""
        within = (f"{low} <= {name} <= {high}" for name, (low, high) in zip(self.names, self.limits, strict=True))
        lines = [f"in ({', '.join(self.names)}), {', '.join(within)}:"]
        for cell in self.cells:
            facets = ", ".join(facet.show(self.names) for facet in cell.facets) or "everywhere"
            lines += ["", f"{cell.phase.show(self.names)} (dimension {cell.dimension}): {facets}"]
            lines.append(f"  corners: {words(cell.corners)}")
        lines += ["", *(f"{name}: {words([point])}" for name, point in self.marks.items())]
        return "\n".join(lines)


@no_search_for_cycles()
def phase_cells(
    program: Program,
    symbols: Symbols,
    kinds: str = "abc",
    *,
    around: Around = "script",
    limits: Limits | Mapping[str, Limits] = (-1, 2),
    marks: Mapping[str, Exponents] | None = None,
    progress: Callable[[int], None] | None = None,
) -> PhaseCells:
    """Compute the phases of a program on a slice of its exponents, one dimension a symbol, exactly.

    symbols, kinds: as in `tpdyn.formulas`; each direction of a mapping such as {"c": "c", "b": "out.weight:b"} is what
    `tpdyn.phase_diagram` calls x or y. around: the point that symbols move away from, as there. limits: of all symbols, or of
    each (those left out: -1 to 2). marks: further points to show, as extra exponents; without them the named families.
    progress: called with the number of readings, which grows fast with the number of symbols (benchmarks/parametrizations.py).

    Weight decay is set aside, as in `tpdyn.derive`. Raises ValueError for what names nothing.

        cells = tpdyn.phase_cells(program, {"c": "c", "b": "out.weight:b", "a": "out.weight:a"})
        cells.at({"c": 0, "b": "1/2", "a": 0}).label
        [cell.facets for cell in cells.where("feature learning")]
    """
    facts, _ = Facts.of(program).without_decay
    expect_inside(facts)
    program, own = facts.program, facts.own
    families = families_of(facts)
    name, at = point_named(program, around, families)
    coordinates, here = coordinates_of(program, own, symbols, kinds, at)
    if len(coordinates.names) > _MOST_SYMBOLS:
        raise ValueError(
            f"{len(coordinates.names)} symbols ({', '.join(coordinates.names[:3])}, ...). Expected at most {_MOST_SYMBOLS}, "
            "three to be quick. Name fewer, or read one cell in all of them with tpdyn.formulas"
        )
    window = _window(coordinates, limits)
    reader = PhaseReader(facts, coordinates, progress)
    whole = box(window)
    cells = merged(whole, _cover(whole, reader))
    marked = marks_in(facts, coordinates, families if marks is None else marks, {name: here} if name else {})
    shown = [_shown(phase, polytope, whole) for phase, polytope in cells]
    shown.sort(key=lambda cell: (rank(cell.phase), -cell.dimension, cell.corners))
    return PhaseCells(coordinates.names, window, tuple(shown), marked, reader.readings)


def _cover(whole: Polytope, reader: PhaseReader) -> list[tuple[Phase, Polytope]]:
    """Cover the whole by phases and disjoint sets on which they hold."""
    draw = random.Random(0)
    cells: list[tuple[Phase, Polytope]] = []
    left = [whole]
    while left:
        phase, read = reader.look(left[-1].inner([draw.randint(50, 150) for _ in left[-1].corners]))
        bounds = list(map(bound, read.constraints))
        cell: Polytope | None = whole
        for by in bounds:
            assert cell is not None  # the point at which the program was read is in it
            cell = cell.cut(by)
        assert cell is not None
        # Cells may share points, of which they say the same: the first keeps them.
        parts = [cell.reduced()]
        for _, earlier in cells:
            parts = [rest for part in parts for rest in part.without(earlier.bounds)]
        cells += [(phase, part.reduced()) for part in parts]
        left = [rest for piece in left for rest in piece.without(bounds)]
    return cells


def _shown(phase: Phase, polytope: Polytope, whole: Polytope) -> PhaseCell:
    """Drop the walls of the slice from a cell. Where it is flat, write r in the symbols that its equations leave."""
    facets = tuple(by.constraint for by in polytope.bounds if by not in whole.bounds)
    equations = [by.constraint.form for by in polytope.bounds if by.relation == "="]
    r = None if phase.r is None else remainder(phase.r, equations)
    return PhaseCell(Phase(phase.label, r), facets, tuple(sorted(polytope.points)), polytope.dimension)


def _window(coordinates: Coordinates, limits: Limits | Mapping[str, Limits]) -> tuple[tuple[Fraction, Fraction], ...]:
    of_each = limits if isinstance(limits, Mapping) else dict.fromkeys(coordinates.names, limits)
    if unknown := set(of_each) - set(coordinates.names):
        raise ValueError(f"limits of {', '.join(sorted(unknown))}; the symbols are {', '.join(coordinates.names)}")
    return tuple(checked_limits(name, of_each.get(name, (-1, 2))) for name in coordinates.names)
