"""What is the boundary of a union of convex polygons, exactly? Corners are pairs of rationals, counterclockwise.

Sets are cut and joined in any number of dimensions (`tpdyn.exact.polytopes`); only a picture needs the order of corners.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import final

from tpdyn.exact.polytopes import Polytope
from tpdyn.exponents import ZERO

Corner = tuple[Fraction, Fraction]
Polygon = tuple[Corner, ...]


def polygon(polytope: Polytope) -> Polygon:
    """Return the corners of a set with two dimensions, counterclockwise."""
    corners = sorted((x, y) for x, y in polytope.points)
    low, high = corners[0], corners[-1]
    (x, y), dx, dy = low, high[0] - low[0], high[1] - low[1]
    above = [corner for corner in corners[1:-1] if (corner[1] - y) * dx > (corner[0] - x) * dy]
    below = [corner for corner in corners[1:-1] if corner not in above]
    return (low, *below, high, *reversed(above))


def area(polygon: Sequence[Corner]) -> Fraction:
    """Return the area; negative for clockwise corners."""
    return sum((x * v - u * y for (x, y), (u, v) in sides(polygon)), ZERO) / 2


def between(start: Corner, end: Corner, corners: Iterable[Corner]) -> list[Corner]:
    """Return the corners strictly between two points, in order."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = dx * dx + dy * dy
    inner = []
    for x, y in corners:
        if (x - start[0]) * dy == (y - start[1]) * dx:
            along = (x - start[0]) * dx + (y - start[1]) * dy
            if 0 < along < length:
                inner.append((along, (x, y)))
    return [corner for _, corner in sorted(inner)]


@final
class Sides:
    """The sides of polygons without common interior, each cut at the corners that other sides along it have."""

    def __init__(self, polygons: Sequence[Polygon]) -> None:
        self._along: dict[tuple[Fraction, ...], set[Corner]] = {}
        for polygon in polygons:
            for start, end in sides(polygon):
                self._along.setdefault(_line(start, end), set()).update((start, end))

    def parts(self, polygon: Polygon) -> Iterable[tuple[Corner, Corner]]:
        """Cut the sides of one of the polygons at the corners of all; return the parts, counterclockwise."""
        for start, end in sides(polygon):
            on_line = self._along[_line(start, end)]
            yield from pairwise([start, *between(start, end, on_line), end])


def sides(polygon: Sequence[Corner]) -> Iterable[tuple[Corner, Corner]]:
    """Start and end of each side, counterclockwise."""
    return zip(polygon, [*polygon[1:], polygon[0]], strict=True)


def _line(start: Corner, end: Corner) -> tuple[Fraction, ...]:
    """Return the line that two points are on: where it meets an axis, and its slope."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    if dx == 0:
        return (start[0],)
    slope = dy / dx
    return slope, start[1] - slope * start[0]


def outlines(polygons: Sequence[Polygon]) -> tuple[Polygon, ...]:
    """Trace the boundary of a union of interior-disjoint polygons: outer loops counterclockwise, holes clockwise."""
    cut = Sides(polygons)
    edges: set[tuple[Corner, Corner]] = set()
    for polygon in polygons:
        for one, other in cut.parts(polygon):
            if (other, one) in edges:
                edges.discard((other, one))  # inside of the union
            else:
                edges.add((one, other))
    following: dict[Corner, list[Corner]] = {}
    for start, end in sorted(edges):
        following.setdefault(start, []).append(end)
    loops = []
    while following:
        first = min(following)
        loop = [first]
        while True:
            ways = following[loop[-1]]
            # Where loops touch in a corner, turn left as far as possible: the loops stay apart.
            way = ways[0] if len(loop) < 2 or len(ways) == 1 else min(ways, key=lambda w: _turn(loop[-2], loop[-1], w))
            ways.remove(way)
            if not ways:
                del following[loop[-1]]
            if way == first:
                break
            loop.append(way)
        loops.append(_straightened(loop))
    return tuple(sorted(loops, key=lambda loop: -abs(area(loop))))


def _turn(before: Corner, here: Corner, after: Corner) -> tuple[int, Fraction]:
    """Sort the ways on from a corner: left turns first."""
    u, v = here[0] - before[0], here[1] - before[1]
    p, q = after[0] - here[0], after[1] - here[1]
    cross = u * q - v * p
    return (0 if cross > 0 else 1 if cross == 0 else 2, -cross)


def _straightened(loop: Sequence[Corner]) -> Polygon:
    """Drop the corners at which a loop goes straight on."""
    kept = []
    for k, (x, y) in enumerate(loop):
        (a, b), (c, d) = loop[k - 1], loop[(k + 1) % len(loop)]
        if (x - a) * (d - b) != (y - b) * (c - a):
            kept.append((x, y))
    return tuple(kept)
