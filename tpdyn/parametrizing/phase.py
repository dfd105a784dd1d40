"""Which regimes are there around a script, and where do they meet? Exact phase diagrams of slices of abc-space.

A slice has two coordinates, each moving some exponents. Its cells are found one after the other until they cover the slice;
the edges and corners between them are phases in their own right (feature learning often lives on them), and are read where
no cell says what holds there. Tensor Programs IV (arXiv 2011.14522) and IVb (2308.01814) draw such pictures for multilayer
perceptrons.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, final

from tpdyn.exponents import ZERO, Order
from tpdyn.parametrizing.derive import symmetries
from tpdyn.parametrizing.families import families_of
from tpdyn.parametrizing.polygons import Corner, Polygon, Sides, area, between, box, clipped, inner, outlines, without
from tpdyn.program.program import Program, Statement
from tpdyn.readings.orders.cells import Cell, Form, Kind, Space, formula, moved_by, on_cell
from tpdyn.readings.orders.linear import solve
from tpdyn.readings.orders.own import Own, own_exponents
from tpdyn.readings.orders.prediction import Regime
from tpdyn.readings.orders.reading import Exponents, read
from tpdyn.readings.orders.structure import Structure, structure
from tpdyn.readings.orders.terms import Value
from tpdyn.readings.orders.verdict import counting, judge, largest_change

if TYPE_CHECKING:
    from pathlib import Path

Label = Literal["unstable at initialisation", "unstable", "trivial", "kernel", "feature learning"]
LABELS: tuple[Label, ...] = ("unstable at initialisation", "unstable", "trivial", "kernel", "feature learning")
Limits = tuple[Fraction | int, Fraction | int]


@final
@dataclass(frozen=True, slots=True)
class Phase:
    """A regime, and r as a linear form of the coordinates: hidden representations change by n^-r (None: not at all, or
    not asked for: where the network is unstable or trivial)."""

    label: Label
    r: Form | None = None


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
@dataclass(frozen=True, slots=True)
class Axis:
    """A coordinate: the word that names what it moves, how it is labelled, where it begins and ends.

    absolute: whether it is the exponent itself (all that it moves have the same value in the script, `own`) or what is added
    to the script's exponents (then `own` is 0).
    """

    word: str
    label: str
    own: Fraction
    absolute: bool
    low: Fraction
    high: Fraction


@final
@dataclass(frozen=True)
class PhaseDiagram:
    """An exact phase diagram: open regions, edges and spots. marks: named points ('this script', 'muP').

    readings: how often the program was read.
    """

    x: Axis
    y: Axis
    regions: tuple[Region, ...]
    edges: tuple[Edge, ...]
    spots: tuple[Spot, ...]
    marks: Mapping[str, Corner]
    readings: int

    def at(self, x: Fraction | float | str, y: Fraction | float | str) -> Phase:
        """The phase at a point; raises ValueError outside of the diagram."""
        point = (Fraction(x), Fraction(y))
        for spot in self.spots:
            if spot.at == point:
                return spot.phase
        for edge in self.edges:
            if between(edge.start, edge.end, [point]):
                return edge.phase
        for region in self.regions:
            for piece in region.pieces:
                sides = zip(piece, [*piece[1:], piece[0]], strict=True)
                if all(_left(start, end, point) >= 0 for start, end in sides):
                    return region.phase
        raise ValueError(
            f"({point[0]}, {point[1]}) is outside of the diagram: {self.x.label} is {self.x.low} to {self.x.high}, "
            f"{self.y.label} is {self.y.low} to {self.y.high}"
        )

    def where(self, label: Label) -> tuple[tuple[Corner, ...], ...]:
        """Every region outline, edge and spot with a label."""
        regions = (loop for region in self.regions if region.phase.label == label for loop in region.outline)
        edges = ((edge.start, edge.end) for edge in self.edges if edge.phase.label == label)
        spots = ((spot.at,) for spot in self.spots if spot.phase.label == label)
        return (*regions, *edges, *spots)

    def to_dict(self) -> dict[str, Any]:
        """As JSON; numbers are exact and therefore strings."""
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
                    "outline": [_texts(loop) for loop in r.outline],
                    "cells": [_texts(piece) for piece in r.pieces],
                }
                for r in self.regions
            ],
            "edges": [{**phase(e.phase), "from": _text(e.start), "to": _text(e.end)} for e in self.edges],
            "corners": [{**phase(s.phase), "at": _text(s.at)} for s in self.spots],
            "marks": {name: _text(corner) for name, corner in self.marks.items()},
        }

    def show(self) -> str:
        """The diagram in words: each phase with its corners."""
        names = (self.x.label, self.y.label)
        lines = [f"x: {names[0]}, y: {names[1]}"]
        for phase, what, corners in (
            *((r.phase, "region", loop) for r in self.regions for loop in r.outline),
            *((e.phase, "edge", (e.start, e.end)) for e in self.edges),
            *((s.phase, "point", (s.at,)) for s in self.spots),
        ):
            r = "" if phase.r is None else f", r = {phase.r.show(('x', 'y'))}"
            lines.append(f"{what}: {phase.label}{r}: {' '.join(f'({x}, {y})' for x, y in corners)}")
        lines += [f"{name}: ({x}, {y})" for name, (x, y) in self.marks.items()]
        return "\n".join(lines)

    def save(self, path: str | Path) -> None:
        """A picture: svg, pdf or png by the ending; needs matplotlib (`pip install 'tpdyn[pictures]'`)."""
        from tpdyn.parametrizing.picture import save

        save(self, path)


def phase_diagram(
    program: Program,
    x: str = "c",
    y: str = "",
    *,
    exponents: Exponents | None = None,
    x_limits: Limits | None = None,
    y_limits: Limits | None = None,
    marks: Mapping[str, Exponents] | None = None,
    progress: Callable[[int], None] | None = None,
) -> PhaseDiagram:
    """The phases of a program on a slice through its script (moved by `exponents`), exact.

    x, y: what the coordinates move: 'c' (all learning rates), 'out.weight:b' (one initial size), 'blocks.*:c', several with
    commas between (`tpdyn.readings.orders.cells.moved_by`). Without y the initial size of the readout is taken. Limits are -1
    to 2, wider where the script lies beyond. marks: points to show where they lie on the slice (up to the symmetries of
    multipliers), as extra exponents on top of the script's; without them the named families of
    `tpdyn.parametrizing.families`. progress: called with the number of readings.

        diagram = tpdyn.phase_diagram(program, x="c", y="out.weight:b")
        diagram.at(0, "1/2").label
    """
    found = structure(program)
    own = own_exponents(program, found)
    y = y or f"{_readout(own)}:b"
    axes, moves = [], []
    for word, limits in ((x, x_limits), (y, y_limits)):
        moved = moved_by(program, word)
        axes.append(_axis(word, moved, own, limits))
        moves.append(moved)
    base = _shifted(exponents or Exponents(), moves, axes)
    space = Space({"x": moves[0], "y": moves[1]} if x != y else {}, base)
    if x == y:
        raise ValueError(f"x and y are both {x!r}; expected two different directions")
    mapper = _Mapper(program, found, space, progress)
    cells = mapper.cover(box((axes[0].low, axes[1].low), (axes[0].high, axes[1].high)))
    regions, edges, spots = mapper.strata(cells)
    script = (axes[0].own, axes[1].own)
    marked = {"this script": script} if exponents is None else {}
    for name, extra in (families_of(program, own) if marks is None else marks).items():
        lies = locate(program, space, extra)
        if lies is not None:
            marked[name] = lies
    return PhaseDiagram(axes[0], axes[1], regions, edges, spots, marked, mapper.readings)


def _readout(own: Mapping[str, Own]) -> str:
    names = [name for name, o in own.items() if "output-like" in o.role]
    if not names:
        raise ValueError("no parameter reads out from the width; give y, e.g. y='fc1.weight:b'")
    return names[-1]


def _axis(word: str, moved: Mapping[tuple[Kind, str], Fraction], own: Mapping[str, Own], limits: Limits | None) -> Axis:
    values = {{"a": own[name].a, "b": own[name].b, "c": own[name].c}[kind] for kind, name in moved}
    plain = set(moved.values()) == {Fraction(1)} and len({kind for kind, _ in moved}) == 1
    absolute = plain and len(values) == 1
    here = values.pop() if absolute else ZERO
    low, high = limits if limits is not None else (min(Fraction(-1), here - 1), max(Fraction(2), here + 1))
    if not low < high:
        raise ValueError(f"limits {low} to {high} of {word!r}; expected the smaller one first")
    return Axis(word, word if absolute else f"{word} + ...", here, absolute, Fraction(low), Fraction(high))


def _shifted(
    exponents: Exponents, moves: Sequence[Mapping[tuple[Kind, str], Fraction]], axes: Sequence[Axis]
) -> Exponents:
    """The origin of the coordinates: where absolute ones are 0."""
    found = {"a": dict(exponents.multiplier), "b": dict(exponents.initial), "c": dict(exponents.rate)}
    for moved, axis in zip(moves, axes, strict=True):
        for (kind, name), coefficient in moved.items():
            found[kind][name] = found[kind].get(name, ZERO) - coefficient * axis.own
    return replace(exponents, multiplier=found["a"], initial=found["b"], rate=found["c"])


class _Unstable(Exception):
    """Raised at the first value that grows: nothing later can change the verdict."""

    def __init__(self, label: Label) -> None:
        super().__init__(label)
        self.label: Label = label


def phase_of(program: Program, found: Structure, exponents: Exponents) -> tuple[Label, Order]:
    """The label and r at some exponents (plain rationals, or linear forms).

    The reading ends at the first value that grows. In step 0 nothing has changed yet, and later steps have the same base:
    so a value that is too large at initialisation is met before any that changes too much.
    """
    decisive = frozenset(counting(found))

    def watch(position: int, statement: Statement, value: Value) -> None:
        if position in decisive:
            if value.size is not None and value.size > 0:
                raise _Unstable("unstable at initialisation")
            if value.moved is not None and value.moved > 0:
                raise _Unstable("unstable")

    try:
        orders = read(program, exponents, folded=found.folded, listener=watch)
    except _Unstable as unstable:
        return unstable.label, None
    verdict = judge(program, found, orders, exponents)
    match verdict.regime:
        case Regime.UNSTABLE:
            return "unstable", None
        case Regime.TRIVIAL:
            return "trivial", None
        case Regime.KERNEL:
            moved = largest_change(orders.values, verdict.hidden)
            return "kernel", None if moved is None else -moved
        case Regime.FEATURE_LEARNING:
            return "feature learning", ZERO


@final
@dataclass(frozen=True)
class _Piece:
    phase: Phase
    cell: Cell
    polygon: Polygon


@final
class _Mapper:
    """Reads a program at points of a slice."""

    def __init__(
        self, program: Program, found: Structure, space: Space, progress: Callable[[int], None] | None
    ) -> None:
        self.program, self.found, self.space = program, found, space
        self.progress = progress
        self.readings = 0
        self.known: list[tuple[Phase, Cell]] = []

    def look(self, point: Corner) -> tuple[Phase, Cell]:
        """The phase at a point, and the cell on which it stays."""
        (label, r), cell = on_cell(self.space, point, lambda exponents: phase_of(self.program, self.found, exponents))
        self.readings += 1
        if self.progress is not None:
            self.progress(self.readings)
        phase = Phase(label, formula(r, 2))
        self.known.append((phase, cell))
        return phase, cell

    def find(self, point: Corner) -> tuple[Phase, Cell]:
        """The phase at a point and a cell that holds it: one that is known, or else a new one."""
        return next((one for one in reversed(self.known) if one[1].contains(point)), None) or self.look(point)

    def cover(self, whole: Polygon) -> list[_Piece]:
        """Cells until nothing of the whole is left."""
        draw = random.Random(0)
        found: list[_Piece] = []
        left = [whole]
        while left:
            polygon = left[-1]
            phase, cell = self.look(inner(polygon, [draw.randint(50, 150) for _ in polygon]))
            if cell.equations:
                continue  # the point lay on a line where something changes: another one
            forms = [constraint.form for constraint in cell.constraints]
            part = whole
            for form in forms:
                part = clipped(part, form)
            if not part:
                continue  # two inequalities that leave a line: the same
            found.append(_Piece(phase, cell, part))
            bounding = [form for form in forms if sum(form.at(corner) == 0 for corner in part) > 1]
            left = [rest for polygon in left for rest in without(polygon, bounding)]
        assert sum((area(piece.polygon) for piece in found), ZERO) == area(whole)
        return found

    def strata(self, cells: list[_Piece]) -> tuple[tuple[Region, ...], tuple[Edge, ...], tuple[Spot, ...]]:
        """Regions, edges and spots, none of them larger or more than necessary."""
        cut = Sides([cell.polygon for cell in cells])
        sides: dict[tuple[Corner, Corner], list[_Piece]] = {}
        for cell in cells:
            for one, other in cut.parts(cell.polygon):
                sides.setdefault((min(one, other), max(one, other)), []).append(cell)
        edges: list[tuple[Phase, Corner, Corner, list[_Piece]]] = []
        for (start, end), around in sorted(sides.items(), key=lambda item: item[0]):
            edges += [(phase, one, other, around) for phase, one, other in self.along(start, end, around)]
        spots = []
        for corner in sorted({corner for _, one, other, _ in edges for corner in (one, other)}):
            touching = [edge for edge in edges if corner in (edge[1], edge[2])]
            phase = self.at(corner, [cell for *_, around in touching for cell in around])
            if not all(_same(phase, there, corner) for there, *_ in touching):
                spots.append(Spot(phase, corner))
        shown = _joined(
            [edge for edge in edges if not all(_agree(edge[0], cell.phase, edge[1], edge[2]) for cell in edge[3])]
        )
        return _regions(cells), shown, tuple(spot for spot in spots if not _within(spot, shown))

    def along(self, start: Corner, end: Corner, around: list[_Piece]) -> Iterable[tuple[Phase, Corner, Corner]]:
        """The phases along a segment: those of a neighbouring cell that owns it, or what is read there."""
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        for piece in around:
            if piece.cell.contains(middle):
                yield piece.phase, start, end
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
            yield phase, one, other
        if high < 1:
            yield from self.along(other, end, [])

    def at(self, corner: Corner, around: list[_Piece]) -> Phase:
        """The phase at a corner."""
        for piece in around:
            if piece.cell.contains(corner):
                return piece.phase
        return self.find(corner)[0]


def _part(start: Corner, end: Corner, t: Fraction) -> Corner:
    return (start[0] + t * (end[0] - start[0]), start[1] + t * (end[1] - start[1]))


def _same(one: Phase, other: Phase, at: Corner) -> bool:
    """Whether two phases say the same of a point."""
    if one.label != other.label or (one.r is None) != (other.r is None):
        return False
    return one.r is None or other.r is None or one.r.at(at) == other.r.at(at)


def _agree(one: Phase, other: Phase, start: Corner, end: Corner) -> bool:
    return _same(one, other, start) and _same(one, other, end)


def _regions(cells: list[_Piece]) -> tuple[Region, ...]:
    groups: dict[Phase, list[Polygon]] = {}
    for cell in cells:
        groups.setdefault(cell.phase, []).append(cell.polygon)
    made = [Region(phase, outlines(pieces), tuple(pieces)) for phase, pieces in groups.items()]
    return tuple(sorted(made, key=lambda region: (LABELS.index(region.phase.label), -region.area)))


def _joined(edges: Sequence[tuple[Phase, Corner, Corner, list[_Piece]]]) -> tuple[Edge, ...]:
    """Segments of the same phase that go straight on from each other, as one (their common end has no spot of its own)."""
    found: list[Edge] = []
    for phase, start, end, _ in sorted(edges, key=lambda edge: (edge[1], edge[2])):
        for k, known in enumerate(found):
            straight = known.end == start and not _left(known.start, known.end, end)
            if straight and known.phase.label == phase.label and _agree(known.phase, phase, start, end):
                found[k] = Edge(phase, known.start, end)
                break
        else:
            found.append(Edge(phase, start, end))
    return tuple(sorted(found, key=lambda edge: (LABELS.index(edge.phase.label), edge.start, edge.end)))


def _within(spot: Spot, edges: Sequence[Edge]) -> bool:
    """Whether a spot lies inside of an edge that says the same of it."""
    return any(_same(spot.phase, e.phase, spot.at) for e in edges if between(e.start, e.end, [spot.at]))


def _left(start: Corner, end: Corner, point: Corner) -> Fraction:
    """Positive where the point is to the left of the way from start to end."""
    return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])


def _text(corner: Corner) -> list[str]:
    return [str(corner[0]), str(corner[1])]


def _texts(corners: Iterable[Corner]) -> list[list[str]]:
    return [_text(corner) for corner in corners]


def locate(program: Program, space: Space, extra: Exponents) -> Corner | None:
    """Where extra exponents lie on a slice, up to the symmetries of multipliers; None where they do not."""
    symmetric = symmetries(program, extra)
    own = own_exponents(program)
    here = {"a": space.origin.multiplier, "b": space.origin.initial, "c": space.origin.rate}
    there = {"a": extra.multiplier, "b": extra.initial, "c": extra.rate}
    rows = []
    size = 2 + len(own)
    for index, name in enumerate(own):
        k = symmetric[name]
        for kind, along in (("a", 1), ("b", -1), ("c", -(k or ZERO))):
            if kind == "b" and own[name].zero:
                continue
            row = [ZERO] * (size + 1)
            for axis, moved in enumerate(space.moves.values()):
                row[axis] = next((c for (which, of), c in moved.items() if (which, of) == (kind, name)), ZERO)
            if k is not None:
                row[2 + index] = Fraction(along)
            row[size] = here[kind].get(name, ZERO) - there[kind].get(name, ZERO)
            rows.append(tuple(row))
    solution = solve(rows, size)
    return None if solution is None else (solution[0], solution[1])
