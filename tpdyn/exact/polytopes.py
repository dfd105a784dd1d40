"""How are convex sets cut and joined, exactly, in any number of dimensions? By their bounds and corners.

Its bounds (`= 0`, `> 0`, `>= 0`) say which parts of the boundary belong to a set. It may be flat. So a space falls into
such sets without anything left between them. Corners are found by double description. A cut keeps those on its side,
and adds one on each side of the polytope that it crosses. Two corners span a side when a third one never lies on all the
bounds that both lie on. All numbers are integers: a corner is (d, d x, d y, ...) with d > 0, a bound's form (constant,
...).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import NamedTuple, final

from tpdyn.exact.affine import Relation
from tpdyn.exact.forms import Constraint, Form, Point
from tpdyn.exact.linear import independent, nullspace, remainder

Integers = tuple[int, ...]


class Bound(NamedTuple):
    """`form = 0`, `form > 0` or `form >= 0`; the form's constant comes first."""

    form: Integers
    relation: Relation

    def at(self, corner: Integers) -> int:
        """Return a number with the sign of the form at a corner."""
        return sum(c * x for c, x in zip(self.form, corner, strict=True))

    @property
    def constraint(self) -> Constraint:
        """The same in rationals."""
        return Constraint(_form(self.form), self.relation)

    @property
    def otherwise(self) -> tuple[Bound, ...]:
        """Where it does not hold."""
        opposite = tuple(-c for c in self.form)
        if self.relation == "=":
            return Bound(self.form, ">"), Bound(opposite, ">")
        return (Bound(opposite, ">" if self.relation == ">=" else ">="),)


def bound(constraint: Constraint) -> Bound:
    """Write a constraint in integers."""
    return Bound(_coprime((constraint.form.constant, *constraint.form.coefficients)), constraint.relation)


@final
@dataclass(frozen=True)
class Polytope:
    """The points at which all bounds hold; never empty. corners: those of its closure, each with the bounds (positions) that are
    0 there. Every set here is part of a box, so that it has corners, and they span it."""

    bounds: tuple[Bound, ...]
    corners: Mapping[Integers, frozenset[int]]

    @property
    def points(self) -> tuple[Point, ...]:
        """The corners as rationals."""
        return tuple(_point(corner) for corner in self.corners)

    @property
    def dimension(self) -> int:
        """0 for a point, 1 for a segment, ..."""
        return _dimension(self.corners)

    def cut(self, by: Bound) -> Polytope | None:
        """Keep the part where another bound holds, too; None where it is empty."""
        values = {corner: by.at(corner) for corner in self.corners}
        if by.relation != "=" and min(values.values()) > 0:
            return self
        new = len(self.bounds)
        corners = {
            corner: tight if values[corner] else tight | {new}
            for corner, tight in self.corners.items()
            if values[corner] == 0 or (values[corner] > 0 and by.relation != "=")
        }
        above = [item for item in self.corners.items() if values[item[0]] > 0]
        below = [item for item in self.corners.items() if values[item[0]] < 0]
        for (one, on_one), (other, on_other) in product(above, below):
            common = on_one & on_other
            if self._span(one, other, common):
                p, q = values[one], -values[other]
                corners[_coprime([q * x + p * y for x, y in zip(one, other, strict=True)])] = common | {new}
        return _made((*self.bounds, by), corners)

    def _span(self, one: Integers, other: Integers, common: frozenset[int]) -> bool:
        """Tell whether two corners are the ends of a side."""
        return not any(common <= on for corner, on in self.corners.items() if corner not in (one, other))

    def without(self, bounds: Sequence[Bound]) -> list[Polytope]:
        """Take off the points at which some bounds hold; return the rest in pieces (one, itself, if these are none)."""
        if any(self._misses(by) for by in bounds):
            return [self]
        pieces = []
        rest: Polytope | None = self
        for by in bounds:
            assert rest is not None
            pieces += [piece for other in by.otherwise if (piece := rest.cut(other)) is not None]
            rest = rest.cut(by)
            if rest is None:
                return [self]
        return pieces

    def _misses(self, by: Bound) -> bool:
        """Tell whether a bound holds nowhere, seen at the corners."""
        values = [by.at(corner) for corner in self.corners]
        high = max(values)
        return high < 0 or (high == 0 and by.relation == ">") or (by.relation == "=" and min(values) > 0)

    def within(self, by: Bound) -> bool:
        """Tell whether a bound holds at all points."""
        return all(self.cut(other) is None for other in by.otherwise)

    def inner(self, weights: Sequence[int]) -> Point:
        """Return a point of the relative interior: the mean of the corners with positive weights."""
        total = sum(weights)
        several = zip(*self.points, strict=True)
        return tuple(sum((w * x for w, x in zip(weights, xs, strict=True)), Fraction(0)) / total for xs in several)

    def reduced(self) -> Polytope:
        """Write the same set by as few bounds as possible: equations in echelon form, the others reduced by them."""
        flat = frozenset.intersection(*self.corners.values())
        equations = [_form(self.bounds[position].form) for position in sorted(flat)]
        size = self.dimension
        faces: dict[int, frozenset[Integers]] = {}
        # Larger faces first; of bounds with the same face the strict one. One that is not strict counts for a facet only.
        for position in sorted(
            set(range(len(self.bounds))) - flat,
            key=lambda k: (-sum(k in on for on in self.corners.values()), self.bounds[k].relation == ">="),
        ):
            face = frozenset(corner for corner, on in self.corners.items() if position in on)
            strict = self.bounds[position].relation == ">"
            if any(face <= other and (not strict or self.bounds[k].relation == ">") for k, other in faces.items()):
                continue
            if strict or _dimension(face) == size - 1:
                faces[position] = face
        kept = [bound(Constraint(form, "=")) for form in independent(equations)]
        for k in faces:
            kept.append(bound(Constraint(remainder(_form(self.bounds[k].form), equations), self.bounds[k].relation)))
        return _of_corners(kept, self.corners)

    def joined(self, other: Polytope) -> Polytope | None:
        """Join two disjoint, reduced sets if their union is convex; None if it is not.

        None also where no bounds of this kind describe the union (a triangle with one of its corners, say).
        """
        for mine, theirs in product(self.bounds, other.bounds):
            if theirs not in mine.otherwise and mine not in theirs.otherwise:
                continue
            of_mine = [by for by in self.bounds if by is not mine]
            of_theirs = [by for by in other.bounds if by is not theirs]
            if mine.relation == "=" or theirs.relation == "=":
                flat, full, side = (self, other, theirs) if mine.relation == "=" else (other, self, mine)
                beside = of_theirs if mine.relation == "=" else of_mine
                # The flat one has to be the whole side of the larger one that this does not hold itself.
                closed = _of_corners([*beside, Bound(side.form, ">=")], full.corners)
                missing = closed.cut(Bound(side.form, "="))
                if missing is not None and all(map(missing.within, flat.bounds)) and all(map(flat.within, beside)):
                    return closed
            elif all(map(other.within, of_mine)) and all(map(self.within, of_theirs)):
                return _of_corners([*of_mine, *of_theirs], (*self.corners, *other.corners)).reduced()
        return None


def box(limits: Sequence[tuple[Fraction, Fraction]]) -> Polytope:
    """Return the closed box between lower and upper limits."""
    walls = []
    for axis, (low, high) in enumerate(limits):
        unit = tuple(Fraction(int(k == axis)) for k in range(len(limits)))
        walls += [Constraint(Form(-low, unit), ">="), Constraint(Form(high, tuple(-x for x in unit)), ">=")]
    corners = {
        _coprime((Fraction(1), *point)): frozenset(2 * axis + side for axis, side in enumerate(sides))
        for sides in product((0, 1), repeat=len(limits))
        for point in [[limits[axis][side] for axis, side in enumerate(sides)]]
    }
    return Polytope(tuple(map(bound, walls)), corners)


def _made(bounds: tuple[Bound, ...], corners: Mapping[Integers, frozenset[int]]) -> Polytope | None:
    """Make a set from its bounds and the corners of its closure; None where it is empty."""
    if not corners:
        return None
    everywhere = frozenset.intersection(*corners.values())
    if any(bounds[position].relation == ">" for position in everywhere):
        return None
    met = sorted(frozenset.union(*corners.values()))  # what touches no corner holds anyway
    where = {old: new for new, old in enumerate(met)}
    return Polytope(
        tuple(bounds[position] for position in met),
        {corner: frozenset(where[position] for position in on) for corner, on in corners.items()},
    )


def _of_corners(bounds: Iterable[Bound], points: Iterable[Integers]) -> Polytope:
    """Make a set from its bounds and points that span its closure: keep those that are corners."""
    several = tuple(dict.fromkeys(bounds))
    corners = {}
    for point in points:
        tight = frozenset(k for k, by in enumerate(several) if by.at(point) == 0)
        if _rank([several[k].form[1:] for k in tight]) == len(point) - 1:
            corners[point] = tight
    return Polytope(several, corners)


def _dimension(corners: Iterable[Integers]) -> int:
    """Return the dimension of the flat space through some corners."""
    return _rank(list(corners)) - 1


def _rank(rows: list[Integers]) -> int:
    return len(rows[0]) - len(nullspace([tuple(map(Fraction, row)) for row in rows], len(rows[0]))) if rows else 0


def _coprime(numbers: Sequence[Fraction | int]) -> Integers:
    """Return the positive multiple that consists of coprime integers."""
    scale = math.lcm(*(x.denominator for x in numbers))
    integers = [int(x * scale) for x in numbers]
    common = math.gcd(*integers) or 1
    return tuple(x // common for x in integers)


def _form(integers: Integers) -> Form:
    return Form(Fraction(integers[0]), tuple(map(Fraction, integers[1:]))).primitive()


def _point(corner: Integers) -> Point:
    return tuple(Fraction(x, corner[0]) for x in corner[1:])
