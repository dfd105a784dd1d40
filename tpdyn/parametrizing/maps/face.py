"""Which exponents are optimal, all of them? The face of the maximal update: cells on which every requirement holds.

Around an optimum the tight requirements leave some directions free. They are the symmetries of multipliers, along which
nothing changes, and others (a bias may start smaller, a readout too). Along those, cells are walked from one to the
next as long as all requirements hold. Each piece is an exact polyhedron. With one or two such directions the walk
covers the plane. With more of them cells are too many. Then each direction is walked alone, the others held at the
optimum (`Face.complete` is false).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import final

from tpdyn.exact.forms import Constraint, Form, Point
from tpdyn.exact.linear import Infeasible, Unbounded, facets, inside, minimise, nullspace
from tpdyn.exponents import ZERO
from tpdyn.facts.own import Own
from tpdyn.regimes.cells import Coordinates, Kind, formula
from tpdyn.regimes.maximal import Maximum, contributions_of, look

_STEP = Fraction(1, 64)
"""How far beyond a facet the next cell is looked for: less than exponents of common scripts differ by."""

_MOST_PIECES, _MOST_JOINT = 100, 2


@final
@dataclass(frozen=True)
class Face:
    """The optima around a point: `point + sum_i t_i * directions[i]`, t in one of the pieces; and any value along `free`.

    names: the symbols ('out.weight:b'); values are relative to the script's own exponents, which are in `base`. pieces:
    constraints on t, strict ones strictly. complete: whether the pieces are all that is connected with the point. If
    not, they are the optima along each direction alone, and there may be more. stopped: whether a walk was given up on
    the way.
    """

    names: tuple[str, ...]
    point: Point
    free: tuple[Point, ...]
    directions: tuple[Point, ...]
    pieces: tuple[tuple[Constraint, ...], ...]
    base: Point
    complete: bool = True
    stopped: bool = False

    @property
    def dimension(self) -> int:
        """In how many directions the optimum is not unique, the symmetries of multipliers among them."""
        size = len(self.directions)
        if self.complete:
            return len(self.free) + max((_dimension(piece, size) for piece in self.pieces), default=0)
        return len(self.free) + sum(1 for low, high in self._intervals() if low is None or low != high)

    def _intervals(self) -> list[tuple[Fraction | None, Fraction | None]]:
        """Find how far the pieces reach along each direction."""
        size = len(self.directions)
        return [_reach(Form(ZERO, _unit(k, size)), self.pieces) for k in range(size)]

    def bounds(self) -> dict[str, tuple[Fraction | None, Fraction | None]]:
        """Find for each exponent its smallest and largest value on the closed pieces; None where it is unbounded."""
        bounds: dict[str, tuple[Fraction | None, Fraction | None]] = {}
        for index, name in enumerate(self.names):
            middle = self.point[index] + self.base[index]
            form = Form(middle, tuple(direction[index] for direction in self.directions))
            if any(direction[index] for direction in self.free):
                bounds[name] = (None, None)
            else:
                bounds[name] = (middle, middle) if form.is_constant else _reach(form, self.pieces)
        return bounds

    def holds(self, point: Sequence[Fraction]) -> bool:
        """Tell whether a point (the symbols, relative to the script) lies in one of the pieces, up to `free`."""
        away = tuple(x - y for x, y in zip(point, self.point, strict=True))
        coordinates = _coordinates((*self.directions, *self.free), away)
        if coordinates is None:
            return False
        t = coordinates[: len(self.directions)]
        return any(all(constraint.holds(t) for constraint in piece) for piece in self.pieces)

    def show(self) -> str:
        """Show one line for each exponent that is not fixed."""
        lines = []
        for name, (low, high) in self.bounds().items():
            if low is None and high is None:
                lines.append(f"{name}: any")
            elif low is None:
                lines.append(f"{name}: at most {high}")
            elif high is None:
                lines.append(f"{name}: at least {low}")
            elif low != high:
                lines.append(f"{name}: {low} to {high}")
        if lines and not self.complete:
            lines.append("(each alone, the others held)")
        if lines and self.stopped:
            lines.append("(the walk was stopped: there may be more)")
        return "\n".join(lines) or ("the optimum is unique" if self.complete else "no exponent can move alone")


def face_of(maximum: Maximum) -> Face:
    """Find the optima that are connected with the point where a search ended (multipliers at sites stay as they are).

    Raises ValueError where requirements were given up, since an optimum is then missing.
    """
    if maximum.unmet:
        raise ValueError(f"requirements contradict each other, so no point is optimal: {maximum.unmet[0]}")
    own = maximum.facts.own
    free, directions = _directions(maximum, own)
    size = len(directions)
    pieces: list[tuple[Constraint, ...]] = []
    if size <= _MOST_JOINT:
        pieces, ended = _Walk(maximum, directions).all()
    else:
        ended = True
        for k, direction in enumerate(directions):
            line, to_its_ends = _Walk(maximum, (direction,)).all()
            pieces += [_on_axis(piece, k, size) for piece in line]
            ended &= to_its_ends
    base = tuple(_base(own, name) for name in maximum.coordinates.names)
    return Face(
        maximum.coordinates.names,
        maximum.point,
        free,
        directions,
        tuple(pieces),
        base,
        complete=ended and size <= _MOST_JOINT,
        stopped=not ended,
    )


def _base(own: Mapping[str, Own], name: str) -> Fraction:
    """Return the script's own exponent behind a symbol; 0 for a multiplier at a site."""
    parameter, _, kind = name.rpartition(":")
    if parameter not in own:
        return ZERO
    return {"a": own[parameter].a, "b": own[parameter].b, "c": own[parameter].c}[kind]


def _directions(maximum: Maximum, own: Mapping[str, Own]) -> tuple[tuple[Point, ...], tuple[Point, ...]]:
    """Find the directions along which tight requirements stay tight: those that change nothing at all, and the others.

    Multipliers at sites, and the initial size of parameters that start at zero, are left out.
    """
    size = len(maximum.point)
    tight = [
        r.form.coefficients
        for r in maximum.requirements
        if r.demand == "starts" and r.form.at(maximum.point) == 0 and not r.form.is_constant
    ]
    for several in contributions_of(maximum.orders).values():
        # Where several contributions are of order 0 (in different steps, say) any one of them is enough.
        tied = {
            form.coefficients for _, order in several if (form := formula(order, size)) and not form.at(maximum.point)
        }
        tight += tied if len(tied) == 1 else ()
    names = maximum.coordinates.names
    held = [_unit(index, size) for index, name in enumerate(names) if name.endswith(":p") or _starts_at_zero(name, own)]
    rows = [c.form.coefficients for c in maximum.cell.constraints] + [r.form.coefficients for r in maximum.requirements]
    starts = [r.form.coefficients for r in maximum.requirements if r.demand == "starts"]
    # An initial size that no representation needs may be free although ties hide it: a readout's.
    loose = [
        _unit(index, size)
        for index, name in enumerate(names)
        if name.endswith(":b") and not _starts_at_zero(name, own) and not any(row[index] for row in starts)
    ]
    free: list[Point] = []
    others: list[Point] = []
    # What changes nothing first, so that the others are as few as can be.
    for direction in dict.fromkeys([*nullspace([*rows, *held], size), *loose, *nullspace([*tight, *held], size)]):
        if nullspace([*free, *others, direction], size) == nullspace([*free, *others], size):
            continue
        moved = any(Form(ZERO, row).at(direction) for row in rows)
        (others if moved else free).append(direction)
    return tuple(free), tuple(others)


def _starts_at_zero(name: str, own: Mapping[str, Own]) -> bool:
    parameter, _, kind = name.rpartition(":")
    return kind == "b" and parameter in own and own[parameter].zero


@final
class _Walk:
    """Looks at points `point + sum_i t_i directions[i]`; the symbols are the t_i alone, so that cells stay small."""

    def __init__(self, maximum: Maximum, directions: tuple[Point, ...]) -> None:
        self.facts = maximum.facts
        self.size = len(directions)
        moves: dict[str, dict[tuple[Kind, str], Fraction]] = {}
        for number, direction in enumerate(directions):
            moved: dict[tuple[Kind, str], Fraction] = {}
            for coefficient, move in zip(direction, maximum.coordinates.moves.values(), strict=True):
                for key, factor in move.items():
                    if coefficient and factor:
                        moved[key] = moved.get(key, ZERO) + coefficient * factor
            moves[f"t{number}"] = moved
        self.coordinates = Coordinates(moves, maximum.exponents, maximum.coordinates.sites)

    def all(self) -> tuple[list[tuple[Constraint, ...]], bool]:
        """Walk to the pieces that are connected with the optimum; tell whether the walk ended by itself."""
        first = self.look((ZERO,) * self.size)
        assert first is not None
        pieces, queue = [first], [first]
        tried: set[Point] = set()
        while queue:
            for there in self.beyond(queue.pop()):
                if there in tried or any(all(c.holds(there) for c in known) for known in pieces):
                    continue
                tried.add(there)
                if len(pieces) >= _MOST_PIECES:
                    return pieces, False
                new = self.look(there)
                if new is not None:
                    pieces.append(new)
                    queue.append(new)
        return pieces, True

    def look(self, t: Point) -> tuple[Constraint, ...] | None:
        """Write a cell and its requirements as constraints on t, irredundant; None if one does not hold."""
        here = look(self.facts, self.coordinates, t)
        if here.unmet:
            return None
        wanted = [Constraint(r.form, ">=") for r in here.requirements]
        seen: dict[Form, str] = {}
        for constraint in (*here.cell.constraints, *wanted):
            form = constraint.form
            if not form.is_constant:
                seen[form] = max(seen.get(form, ">="), constraint.relation, key=[">=", ">", "="].index)
        for form in [form for form in seen if -form in seen]:
            if form in seen and -form in seen:  # at least 0 and at most 0
                del seen[-form]
                seen[form] = "="
        return facets([Constraint(form, relation) for form, relation in seen.items()], self.size)

    def beyond(self, piece: tuple[Constraint, ...]) -> list[Point]:
        """List points a little outside of each facet; around a piece without interior, to both sides along each direction."""
        size = self.size
        points: list[Point] = []
        tangents = nullspace([c.form.coefficients for c in piece if c.relation == "="], size)
        for constraint in (c for c in piece if c.relation != "="):
            others = [c for c in piece if c is not constraint]
            on = inside([*others, Constraint(constraint.form, "=")], size)
            if on is not None:
                slopes = [Form(ZERO, constraint.form.coefficients).at(tangent) for tangent in tangents]
                outward = (sum((m * t[k] for m, t in zip(slopes, tangents, strict=True)), ZERO) for k in range(size))
                points.append(_step(on, tuple(outward), -1))
                if constraint.relation == ">":
                    points.append(on)
        if any(c.relation == "=" for c in piece):
            middle = inside(piece, size)
            assert middle is not None
            normals = [c.form.coefficients for c in piece if c.relation == "="]
            for along in dict.fromkeys([*(_unit(k, size) for k in range(size)), *normals]):
                points += [_step(middle, along, 1), _step(middle, along, -1)]
        return points


def _on_axis(piece: Sequence[Constraint], index: int, size: int) -> tuple[Constraint, ...]:
    """Restrict constraints to one coordinate among several, the others being 0."""
    ends = [
        Constraint(Form(c.form.constant, tuple(c.form.coefficients[0] * x for x in _unit(index, size))), c.relation)
        for c in piece
    ]
    return (*ends, *(Constraint(Form(ZERO, _unit(k, size)), "=") for k in range(size) if k != index))


def _coordinates(directions: Sequence[Point], away: Point) -> Point | None:
    """Solve `sum_i t_i directions[i] = away` for t; None where there is none."""
    size = len(directions)
    rows = [Form(-y, tuple(d[k] for d in directions)) for k, y in enumerate(away)]
    if any(row.is_constant and row.constant for row in rows):
        return None
    return inside([Constraint(row, "=") for row in rows if not row.is_constant], size)


def _unit(index: int, size: int) -> Point:
    return tuple(Fraction(int(k == index)) for k in range(size))


def _step(start: Point, along: Point, sign: int) -> Point:
    size = sum((abs(c) for c in along), ZERO)
    return tuple(x + sign * _STEP * c / size for x, c in zip(start, along, strict=True))


def _dimension(piece: Sequence[Constraint], size: int) -> int:
    return len(nullspace([c.form.coefficients for c in piece if c.relation == "="], size))


def _reach(form: Form, pieces: Sequence[Sequence[Constraint]]) -> tuple[Fraction | None, Fraction | None]:
    """Find the smallest and the largest value of a form on closed pieces; None where it is unbounded."""
    lows = [_lowest(form, piece) for piece in pieces]
    highs = [_lowest(-form, piece) for piece in pieces]
    low = None if None in lows else min(x for x in lows if x is not None)
    high = None if None in highs else -min(x for x in highs if x is not None)
    return low, high


def _lowest(form: Form, piece: Sequence[Constraint]) -> Fraction | None:
    try:
        lowest = minimise(form, piece)
    except Unbounded:
        return None
    return None if isinstance(lowest, Infeasible) else form.at(lowest)
