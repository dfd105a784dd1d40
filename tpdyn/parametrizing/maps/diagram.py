"""Which regimes are there around a script, and where do they meet? Exact phase diagrams of planes of abc-space.

A plane has two coordinates, each moving some exponents. Its cells are found one after the other until they cover it. The edges
and corners between them are phases in their own right: feature learning often lives on them. They are read where no cell says
what holds there. Tensor Programs IV (arXiv 2011.14522) and IVb (2308.01814) draw such pictures for multilayer perceptrons.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, final

from tpdyn.exact.forms import Form
from tpdyn.exact.outlines import Corner, Polygon, Sides, area, between, outlines, polygon, sides
from tpdyn.exact.polytopes import Bound, Polytope, bound, box
from tpdyn.exponents import ZERO
from tpdyn.facts.facts import Facts
from tpdyn.parametrizing.families import families_of
from tpdyn.parametrizing.maps.phase import Label, Phase, PhaseReader, rank, text, words
from tpdyn.parametrizing.maps.planes import Around, Axis, Limits, marks_in, plane_around, plane_through
from tpdyn.parametrizing.maps.sized import Sized, Sizes
from tpdyn.pictures import save
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents
from tpdyn.regimes.cells import Cell, no_search_for_cycles
from tpdyn.regimes.predict import expect_inside

if TYPE_CHECKING:
    from pathlib import Path


@final
@dataclass(frozen=True, slots=True)
class Region:
    """A phase with an interior: `outline` holds its boundary (holes clockwise), `pieces` its convex parts."""

    phase: Phase
    outline: tuple[Polygon, ...]
    pieces: tuple[Polygon, ...]

    @property
    def area(self) -> Fraction:
        """The exact area."""
        return sum((area(piece) for piece in self.pieces), ZERO)


@final
@dataclass(frozen=True, slots=True)
class Edge:
    """A segment without its ends whose phase is not that of both its sides."""

    phase: Phase
    start: Corner
    end: Corner


@final
@dataclass(frozen=True, slots=True)
class Spot:
    """A single point whose phase is not that of an edge or region around it."""

    phase: Phase
    at: Corner


@final
@dataclass(frozen=True)
class PhaseDiagram:
    """An exact phase diagram: open regions, edges and spots. marks: named points ('this script', 'muP').

    readings: how often the program was read. sized: formulas of the orders on every cell: polygons, segments and corners.
    """

    x: Axis
    y: Axis
    regions: tuple[Region, ...]
    edges: tuple[Edge, ...]
    spots: tuple[Spot, ...]
    marks: Mapping[str, Corner]
    readings: int
    sized: tuple[Sized, ...] = ()

    def at(self, x: Fraction | float | str, y: Fraction | float | str) -> Phase:
        """Find the phase at a point; raise ValueError outside of the diagram."""
        point = (Fraction(x), Fraction(y))
        for spot in self.spots:
            if spot.at == point:
                return spot.phase
        for edge in self.edges:
            if between(edge.start, edge.end, [point]):
                return edge.phase
        for region in self.regions:
            for piece in region.pieces:
                if all(_left(start, end, point) >= 0 for start, end in sides(piece)):
                    return region.phase
        raise ValueError(
            f"({point[0]}, {point[1]}) is outside of the diagram: {self.x.label} is {self.x.low} to {self.x.high}, "
            f"{self.y.label} is {self.y.low} to {self.y.high}"
        )

    def where(self, label: Label) -> tuple[tuple[Corner, ...], ...]:
        """Collect every region outline, edge and spot with a label."""
        regions = (loop for region in self.regions if region.phase.label == label for loop in region.outline)
        edges = ((edge.start, edge.end) for edge in self.edges if edge.phase.label == label)
        spots = ((spot.at,) for spot in self.spots if spot.phase.label == label)
        return (*regions, *edges, *spots)

    def to_dict(self) -> dict[str, Any]:
        """Write it as JSON; numbers are exact and therefore strings."""
        names = (self.x.word, self.y.word)

        def phase(of: Phase) -> dict[str, Any]:
            return {"label": of.label, "r": None if of.r is None else of.r.show(names)}

        return {
            "axes": [
                {"moves": a.word, "label": a.label, "script": str(a.own), "low": str(a.low), "high": str(a.high)}
                for a in (self.x, self.y)
            ],
            "regions": [
                {
                    **phase(r.phase),
                    "outline": [[text(corner) for corner in loop] for loop in r.outline],
                    "cells": [[text(corner) for corner in piece] for piece in r.pieces],
                }
                for r in self.regions
            ],
            "edges": [{**phase(e.phase), "from": text(e.start), "to": text(e.end)} for e in self.edges],
            "corners": [{**phase(s.phase), "at": text(s.at)} for s in self.spots],
            "marks": {name: text(corner) for name, corner in self.marks.items()},
            "formulas": self._formulas(names),
        }

    def _formulas(self, names: Sequence[str]) -> dict[str, Any]:
        """Write the formulas of all cells; many cells share a table."""
        tables = {cell.orders: None for cell in self.sized}
        number = {rows: k for k, rows in enumerate(tables)}
        return {
            "tables": [
                [
                    {"of": list(of), "size": size.to_dict(names), "change": change.to_dict(names)}
                    for of, size, change in rows
                ]
                for rows in tables
            ],
            "cells": [
                {"corners": [text(corner) for corner in cell.corners], "table": number[cell.orders]}
                | ({"grows": cell.grows} if cell.grows else {})
                for cell in self.sized
            ],
        }

    def joins(self, edge: Edge) -> tuple[bool, bool]:
        """Tell whether start and end of an edge are of its phase, too (the edge is without them)."""
        around = {spot.at: spot.phase for spot in self.spots}
        start, end = (at in around and around[at].agrees(edge.phase, at) for at in (edge.start, edge.end))
        return start, end

    @property
    def lone_spots(self) -> tuple[Spot, ...]:
        """The spots that do not just end an edge of the same phase."""
        ends = {at for e in self.edges for at, joins in zip((e.start, e.end), self.joins(e), strict=True) if joins}
        return tuple(spot for spot in self.spots if spot.at not in ends)

    def show(self) -> str:
        """Tell the diagram in words: each phase with its corners. '[' or ']': the edge holds that end; '(' or ')': it does not."""
        lines = [f"x: {self.x.label}", f"y: {self.y.label}", ""]
        for region in self.regions:
            lines += [f"region: {region.phase.show('xy')}: {words(loop)}" for loop in region.outline]
        for edge in self.edges:
            start, end = self.joins(edge)
            ends = f"{'[' if start else '('}{words([edge.start])} to {words([edge.end])}{']' if end else ')'}"
            lines.append(f"edge: {edge.phase.show('xy')}: {ends}")
        lines += [f"point: {spot.phase.show('xy')}: {words([spot.at])}" for spot in self.lone_spots]
        if len(self.regions) == 1 and not self.edges and not self.spots:
            lines.append(
                "nothing else is on this plane; try a plane around another point (around='maximal'), or other axes"
            )
        lines += ["", *(f"{name}: {words([corner])}" for name, corner in self.marks.items())]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from tpdyn.parametrizing.maps.picture import svg

        return svg(self)

    def save(self, path: str | Path) -> None:
        """Draw a picture: svg, pdf or png by the ending; needs matplotlib (`pip install 'tpdyn[pictures]'`)."""
        from tpdyn.parametrizing.maps.picture import draw

        save(draw(self), path)


@no_search_for_cycles()
def phase_diagram(
    program: Program,
    x: str = "c",
    y: str = "",
    *,
    around: Around = "script",
    through: Sequence[str] = (),
    x_limits: Limits | None = None,
    y_limits: Limits | None = None,
    marks: Mapping[str, Exponents] | None = None,
    progress: Callable[[int], None] | None = None,
) -> PhaseDiagram:
    """Compute the phases of a program on a plane of its exponents, exactly.

    x, y: what the coordinates move: 'c' (all learning rates), 'out.weight:b' (one initial size), 'blocks.*:c', several with
    commas between (`tpdyn.regimes.cells.moved_by`). Without y the initial size of the readout is taken.

    around: the point that x and y move away from: "script", "maximal" (what `tpdyn.derive` finds) or the name of a family
    ("muP"). Else a derived parametrization, or exponents on top of the script's. Take "maximal" for a script that is far
    from any other phase. through: the plane through three of these names, instead of x, y and around. ("NTP", "muP", "SP")
    is Tensor Programs IV's.

    Limits are -1 to 2, wider where the point lies beyond; -1/2 to 3/2 for `through`. marks: further points to show on the
    plane, up to the symmetries of multipliers. They are extra exponents on top of the script's. Without them the named
    families of `tpdyn.parametrizing.families` are shown. progress: called with the number of readings.

    Weight decay is set aside, as in `tpdyn.derive`: it has to move with the rates. Raises ValueError for what names nothing.

        diagram = tpdyn.phase_diagram(program, x="c", y="out.weight:b")
        diagram.at(0, "1/2").label
    """
    facts, _ = Facts.of(program).without_decay
    expect_inside(facts)
    program, own = facts.program, facts.own
    families = families_of(facts)
    if through:
        plane = plane_through(program, through, families, x_limits, y_limits)
    else:
        plane = plane_around(program, own, x, y, around, families, x_limits, y_limits)
    sizes = Sizes(facts)
    reader = PhaseReader(facts, plane.coordinates, progress, sizes.note)
    mapper = _Mapper(reader, sizes)
    whole = box([(plane.x.low, plane.x.high), (plane.y.low, plane.y.high)])
    cells = mapper.cover(whole)
    regions, edges, spots, sized = mapper.strata(cells)
    placed = marks_in(facts, plane.coordinates, families if marks is None else marks, plane.marks)
    marked = {name: (at[0], at[1]) for name, at in placed.items()}
    return PhaseDiagram(plane.x, plane.y, regions, edges, spots, marked, reader.readings, sized)


@final
@dataclass(frozen=True)
class _Piece:
    phase: Phase
    cell: Cell
    polygon: Polygon


@final
class _Mapper:
    """The cells of a plane, and what lies between them."""

    def __init__(self, reader: PhaseReader, sizes: Sizes) -> None:
        self.reader, self.sizes = reader, sizes
        self.known: list[tuple[Phase, Cell]] = []

    def look(self, point: Corner) -> tuple[Phase, Cell]:
        """Read the phase at a point, and the cell on which it stays."""
        seen = self.reader.look(point)
        self.known.append(seen)
        return seen

    def find(self, point: Corner) -> tuple[Phase, Cell]:
        """Find the phase at a point and a cell that holds it: a known one, or else a new one."""
        return next((one for one in reversed(self.known) if one[1].contains(point)), None) or self.look(point)

    def cover(self, whole: Polytope) -> list[_Piece]:
        """Find cells until nothing of the whole is left but lines between them."""
        draw = random.Random(0)
        pieces: list[_Piece] = []
        left = [whole]
        while left:
            x, y = left[-1].inner([draw.randint(50, 150) for _ in left[-1].corners])
            phase, cell = self.look((x, y))
            part = None if cell.equations else _closed_part(whole, cell)
            if part is None:
                continue  # the point lay on a line where something changes: another one
            pieces.append(_Piece(phase, cell, polygon(part)))
            inside = [Bound(by.form, ">") for by in part.reduced().bounds]
            left = [rest for piece in left for rest in piece.without(inside) if rest.dimension == 2]
        assert sum((area(piece.polygon) for piece in pieces), ZERO) == area(polygon(whole))
        return pieces

    def strata(
        self, cells: list[_Piece]
    ) -> tuple[tuple[Region, ...], tuple[Edge, ...], tuple[Spot, ...], tuple[Sized, ...]]:
        """Merge cells into regions, edges and spots, none of them larger or more than necessary; say the formulas of each."""
        cut = Sides([cell.polygon for cell in cells])
        meeting: dict[tuple[Corner, Corner], list[_Piece]] = {}
        for cell in cells:
            for one, other in cut.parts(cell.polygon):
                meeting.setdefault((min(one, other), max(one, other)), []).append(cell)
        edges: list[tuple[Phase, Corner, Corner, list[_Piece]]] = []
        sized = [self.sizes.on(piece.cell, piece.phase, piece.polygon) for piece in cells]
        for (start, end), around in sorted(meeting.items(), key=lambda item: item[0]):
            for phase, holding, one, other in self.along(start, end, around):
                edges.append((phase, one, other, around))
                sized.append(self.sizes.on(holding, phase, (one, other)))
        spots = []
        for corner in sorted({corner for _, one, other, _ in edges for corner in (one, other)}):
            touching = [edge for edge in edges if corner in (edge[1], edge[2])]
            phase, holding = self.at(corner, [cell for *_, around in touching for cell in around])
            sized.append(self.sizes.on(holding, phase, (corner,)))
            if not all(phase.agrees(there, corner) for there, *_ in touching):
                r = None if phase.r is None else Form(phase.r.at(corner), (ZERO, ZERO))
                spots.append(Spot(Phase(phase.label, r), corner))
        shown = _joined(
            [edge for edge in edges if not all(edge[0].agrees_on(cell.phase, edge[1:3]) for cell in edge[3])]
        )
        left = tuple(spot for spot in spots if not _within(spot, shown))
        return _regions(cells), shown, left, tuple(sized)

    def along(self, start: Corner, end: Corner, around: list[_Piece]) -> Iterable[tuple[Phase, Cell, Corner, Corner]]:
        """Follow the phases along a segment: those of a neighbouring cell that owns it, or what is read there."""
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        for piece in around:
            if piece.cell.contains(middle):
                yield piece.phase, piece.cell, start, end
                return
        phase, cell = self.find(middle)
        low, high = ZERO, Fraction(1)
        for constraint in cell.constraints:
            at_start, at_end = constraint.form.at(start), constraint.form.at(end)
            if constraint.relation == "=" or at_start == at_end:
                if constraint.relation == "=" and (at_start or at_end):
                    low = high = Fraction(1, 2)
                continue
            crossing = at_start / (at_start - at_end)
            if at_end < at_start:
                high = min(high, crossing)
            else:
                low = max(low, crossing)
        one, other = _part(start, end, low), _part(start, end, high)
        if low > 0:
            yield from self.along(start, one, [])
        if low < high:
            yield phase, cell, one, other
        if high < 1:
            yield from self.along(other, end, [])

    def at(self, corner: Corner, around: list[_Piece]) -> tuple[Phase, Cell]:
        """Find the phase at a corner, and a cell that holds it."""
        for piece in around:
            if piece.cell.contains(corner):
                return piece.phase, piece.cell
        return self.find(corner)


def _closed_part(whole: Polytope, cell: Cell) -> Polytope | None:
    """Intersect the whole with the closure of a cell; None if the interior of the result is empty."""
    part: Polytope | None = whole
    for constraint in cell.constraints:
        part = part and part.cut(Bound(bound(constraint).form, ">="))
    return part if part is not None and part.dimension == 2 else None


def _part(start: Corner, end: Corner, t: Fraction) -> Corner:
    return (start[0] + t * (end[0] - start[0]), start[1] + t * (end[1] - start[1]))


def _regions(cells: list[_Piece]) -> tuple[Region, ...]:
    groups: dict[Phase, list[Polygon]] = {}
    for cell in cells:
        groups.setdefault(cell.phase, []).append(cell.polygon)
    regions = [Region(phase, outlines(pieces), tuple(pieces)) for phase, pieces in groups.items()]
    return tuple(sorted(regions, key=lambda region: (rank(region.phase), -region.area)))


def _joined(edges: Sequence[tuple[Phase, Corner, Corner, list[_Piece]]]) -> tuple[Edge, ...]:
    """Join segments of the same phase that go straight on: their common end is not a spot."""
    joined: list[Edge] = []
    for phase, start, end, _ in sorted(edges, key=lambda edge: (edge[1], edge[2])):
        for k, known in enumerate(joined):
            straight = known.end == start and not _left(known.start, known.end, end)
            if straight and known.phase.label == phase.label and known.phase.agrees_on(phase, (start, end)):
                joined[k] = Edge(phase, known.start, end)
                break
        else:
            joined.append(Edge(phase, start, end))
    joined = [Edge(_on_line(edge), edge.start, edge.end) for edge in joined]
    return tuple(sorted(joined, key=lambda edge: (rank(edge.phase), edge.start, edge.end)))


def _on_line(edge: Edge) -> Phase:
    """Return the phase of an edge, r in the one coordinate that varies along it (or constant)."""
    r = edge.phase.r
    if r is None:
        return edge.phase
    low, high = r.at(edge.start), r.at(edge.end)
    axis = 0 if edge.start[0] != edge.end[0] else 1
    slope = (high - low) / (edge.end[axis] - edge.start[axis])
    if slope and edge.start[1 - axis] != edge.end[1 - axis]:
        return edge.phase
    return Phase(edge.phase.label, Form(low - slope * edge.start[axis], (ZERO, slope) if axis else (slope, ZERO)))


def _within(spot: Spot, edges: Sequence[Edge]) -> bool:
    """Tell whether a spot lies inside of an edge that says the same of it."""
    return any(spot.phase.agrees(e.phase, spot.at) for e in edges if between(e.start, e.end, [spot.at]))


def _left(start: Corner, end: Corner, point: Corner) -> Fraction:
    """Return a positive number where the point is to the left of the way from start to end."""
    return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])
