"""Which plane of abc-space does a phase diagram show? A point, and two directions away from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import final

from tpdyn.exact.forms import Point
from tpdyn.exact.linear import nullspace, solve
from tpdyn.exact.outlines import Corner
from tpdyn.exponents import ZERO
from tpdyn.facts.facts import Facts
from tpdyn.facts.own import Own
from tpdyn.parametrizing.derive import expect_steps, symmetries
from tpdyn.parametrizing.parametrization import Parametrization
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents
from tpdyn.regimes.cells import KINDS, Coordinates, Kind, moved_by
from tpdyn.regimes.remedy import nearest_maximum

Limits = tuple[Fraction | int, Fraction | int]
Around = str | Exponents | Parametrization
Moves = Mapping[tuple[Kind, str], Fraction]

SCRIPT, MAXIMAL = "script", "maximal"
HALF = Fraction(1, 2)


@final
@dataclass(frozen=True, slots=True)
class Axis:
    """A coordinate: the word that names what it moves, how it is labelled, where it begins and ends.

    own: the value at the point around which the plane lies. absolute: whether the coordinate is the exponent itself, since
    all that it moves have the same value there. Else it is what is added (then `own` is 0).
    """

    word: str
    label: str
    own: Fraction
    absolute: bool
    low: Fraction
    high: Fraction


@final
@dataclass(frozen=True)
class Plane:
    """Two coordinates, what they mean, and the points by which the plane was asked for."""

    x: Axis
    y: Axis
    coordinates: Coordinates
    marks: Mapping[str, Corner]


def plane_around(
    program: Program,
    own: Mapping[str, Own],
    x: str,
    y: str,
    around: Around,
    families: Mapping[str, Exponents],
    x_limits: Limits | None = None,
    y_limits: Limits | None = None,
) -> Plane:
    """Span a plane at a point: x and y move the exponents that their words name (`moved_by`)."""
    y = y or f"{_readout(own)}:b"
    name, point = point_named(program, around, families)
    moves = [moved_by(program, word) for word in (x, y)]
    if _parallel(*moves):
        raise ValueError(f"x and y are {x!r} and {y!r}, which move the same; expected two different directions")
    axes = [
        _axis(word, letter, moved, standing_for(own, point, moved, moves), len(own), limits)
        for word, letter, moved, limits in zip((x, y), "xy", moves, (x_limits, y_limits), strict=True)
    ]
    # The origin of the coordinates is where absolute ones are 0.
    coordinates = Coordinates(dict(zip("xy", moves, strict=True)), point).seen_from([-axis.own for axis in axes])
    return Plane(axes[0], axes[1], coordinates, {name: (axes[0].own, axes[1].own)} if name else {})


def plane_through(
    program: Program,
    names: Sequence[str],
    families: Mapping[str, Exponents],
    x_limits: Limits | None = None,
    y_limits: Limits | None = None,
) -> Plane:
    """Span the plane through three named points: at (0, 0), (1, 0) and (0, 1)."""
    if len(names) != 3 or len(set(names)) < 3:
        raise ValueError(f"through = {', '.join(names)}; expected three different names, e.g. NTP, muP, SP")
    said, points = zip(*(point_named(program, name, families) for name in names), strict=True)
    at = {site.name: site.positions for site in Facts.of(program).shared_sites}
    moves = [_difference(points[0], point, at) for point in points[1:]]
    if _parallel(*moves):
        raise ValueError(f"{', '.join(names)} lie on one line for this script; expected three points of a plane")
    axes = []
    for name, limits in zip(said[1:], (x_limits, y_limits), strict=True):
        low, high = checked_limits(name, limits or (-HALF, 3 * HALF))
        axes.append(Axis(f"{said[0]} to {name}", f"from {said[0]} (0) to {name} (1)", ZERO, False, low, high))
    corners = ((ZERO, ZERO), (Fraction(1), ZERO), (ZERO, Fraction(1)))
    coordinates = Coordinates(dict(zip("xy", moves, strict=True)), points[0], at)
    return Plane(axes[0], axes[1], coordinates, dict(zip(said, corners, strict=True)))


def marks_in(
    facts: Facts, coordinates: Coordinates, marks: Mapping[str, Exponents], known: Mapping[str, Point]
) -> dict[str, Point]:
    """Add the script and further marks to the known ones, where they lie in these coordinates. The first of a name counts."""
    placed = dict(known)
    for name, extra in {"this script": Exponents(), **marks}.items():
        lies = locate(facts.program, facts.own, coordinates, extra)
        if lies is not None:
            placed.setdefault(name, lies)
    return placed


def locate(program: Program, own: Mapping[str, Own], coordinates: Coordinates, extra: Exponents) -> Point | None:
    """Locate extra exponents in these coordinates, up to the symmetries of multipliers; None where they do not lie in them."""
    symbols = len(coordinates.names)
    apart = {
        (kind, name): row
        for kind in KINDS
        for name, row in zip(own, _apart(own, coordinates, extra, kind), strict=True)
        if not (kind == "b" and own[name].zero)
    }
    at_sites = _sites_apart(coordinates, extra)
    # What a symmetry adds to a, it takes from b: if their sums do not meet, no symmetry helps, and none has to be found.
    sums = [
        tuple(x + y for x, y in zip(apart["a", name], apart["b", name], strict=True))
        for name in own
        if not own[name].zero
    ]
    if solve([*sums, *at_sites], symbols) is None:
        return None
    symmetric = symmetries(program, extra)
    rows = [(*row[:-1], *(ZERO for _ in own), row[-1]) for row in at_sites]
    for (kind, name), row in apart.items():
        k = symmetric[name]
        along = ZERO if k is None else {"a": Fraction(1), "b": Fraction(-1), "c": -k}[kind]
        rows.append((*row[:-1], *(along if other == name else ZERO for other in own), row[-1]))
    solution = solve(rows, symbols + len(own))
    return None if solution is None else solution[:symbols]


Row = tuple[Fraction, ...]
"""How an exponent moves with each symbol, and how much the origin of the coordinates is above the point, there."""


def _apart(own: Mapping[str, Own], coordinates: Coordinates, extra: Exponents, kind: Kind) -> list[Row]:
    """Return a row for the exponent of this kind of each parameter."""
    here, there = _by_kind(coordinates.origin)[kind], _by_kind(extra)[kind]
    return [
        (
            *(moved.get((kind, name), ZERO) for moved in coordinates.moves.values()),
            here.get(name, ZERO) - there.get(name, ZERO),
        )
        for name in own
    ]


def _sites_apart(coordinates: Coordinates, extra: Exponents) -> list[Row]:
    """Return a row for each product with a multiplier."""
    rows = []
    for position in dict.fromkeys(
        (*coordinates.origin.site, *extra.site, *(at for each in coordinates.sites.values() for at in each))
    ):
        steps = (
            sum((c for (kind, of), c in moved.items() if kind == "p" and position in coordinates.sites[of]), ZERO)
            for moved in coordinates.moves.values()
        )
        rows.append((*steps, coordinates.origin.site.get(position, ZERO) - extra.site.get(position, ZERO)))
    return rows


def point_named(program: Program, around: Around, families: Mapping[str, Exponents]) -> tuple[str, Exponents]:
    """Look up a point: its name (none for exponents) and what it adds to the script's exponents."""
    if isinstance(around, Exponents):
        return "", around
    if around == SCRIPT:
        return "this script", Exponents()
    if around == MAXIMAL:
        expect_steps(program)
        facts, _ = Facts.of(program).without_decay
        return "maximal update", nearest_maximum(facts).exponents
    if isinstance(around, Parametrization):
        if around.maximum is None:
            raise ValueError(
                "a parametrization that was read from a file cannot be put on a plane; derive it: tpdyn.derive(program)"
            )
        return "maximal update", around.maximum.exponents
    if around not in families:
        known = ", ".join((SCRIPT, MAXIMAL, *families))
        reason = "" if families else " (no family is written down for its optimizer)"
        raise ValueError(f"{around!r} is not a known point of this script; expected one of: {known}{reason}")
    return around, families[around]


def _readout(own: Mapping[str, Own]) -> str:
    names = [name for name, o in own.items() if "output-like" in o.role]
    if not names:
        raise ValueError("no parameter reads out from the width; give y, e.g. y='fc1.weight:b'")
    return names[-1]


def _axis(
    word: str, letter: str, moved: Moves, stands: Fraction | None, parameters: int, limits: Limits | None
) -> Axis:
    absolute, here = stands is not None, stands or ZERO
    low, high = checked_limits(word, limits or (min(Fraction(-1), here - 1), max(Fraction(2), here + 1)))
    label = _label(word, letter, moved, absolute, parameters) if _plain(moved) else f"{letter} moves {word}"
    return Axis(word, label, here, absolute, low, high)


def _label(word: str, letter: str, moved: Moves, absolute: bool, parameters: int) -> str:
    kind = next(iter(moved))[0]
    one, all_of = {
        "a": ("multiplier", "all multipliers"),
        "b": ("initial entries", "all initial entries"),
        "c": ("learning rate", "all learning rates"),
    }[kind]
    what = all_of if len(moved) == parameters else f"{one} of {word.replace(f':{kind}', '')}"
    return f"{what} {'~' if absolute else 'times'} n^-{letter}"


def standing_for(own: Mapping[str, Own], point: Exponents, moved: Moves, several: Iterable[Moves]) -> Fraction | None:
    """Return the exponent, at a point, that a symbol may stand for. It alone moves one kind, and all of these share it."""
    extra = _by_kind(point)
    values = {_own(own, kind, name) + extra[kind].get(name, ZERO) for kind, name in moved}
    shared = any(moved.keys() & other.keys() for other in several if other is not moved)
    return values.pop() if _plain(moved) and not shared and len(values) == 1 else None


def _plain(moved: Moves) -> bool:
    return set(moved.values()) == {Fraction(1)} and len({kind for kind, _ in moved}) == 1


def checked_limits(word: str, limits: Limits) -> tuple[Fraction, Fraction]:
    """Check where a coordinate begins and ends, exactly; raise ValueError for anything but two finite numbers, in order."""
    try:
        low, high = map(Fraction, limits)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        raise ValueError(f"limits {limits!r} of {word!r}; expected two finite numbers, e.g. (-1, 2)") from None
    if not low < high:
        raise ValueError(f"limits {low} to {high} of {word!r}; expected the smaller one first")
    return low, high


def _by_kind(exponents: Exponents) -> dict[str, Mapping[str, Fraction]]:
    return {"a": exponents.multiplier, "b": exponents.initial, "c": exponents.rate}


def _own(own: Mapping[str, Own], kind: Kind, name: str) -> Fraction:
    return {"a": own[name].a, "b": own[name].b, "c": own[name].c}[kind]


def _difference(start: Exponents, end: Exponents, at: Mapping[str, tuple[int, ...]]) -> Moves:
    """Subtract one point from another, in exponents of parameters and of sites."""
    one, other = _by_kind(start), _by_kind(end)
    names = dict.fromkeys(name for kind in KINDS for name in (*one[kind], *other[kind]))
    steps: dict[tuple[Kind, str], Fraction] = {
        (kind, name): other[kind].get(name, ZERO) - one[kind].get(name, ZERO) for kind in KINDS for name in names
    }
    for name, positions in at.items():
        steps["p", name] = end.site.get(positions[0], ZERO) - start.site.get(positions[0], ZERO)
    return {key: step for key, step in steps.items() if step}


def _parallel(one: Moves, other: Moves) -> bool:
    keys = list(dict.fromkeys((*one, *other)))
    rows = [tuple(moves.get(key, ZERO) for key in keys) for moves in (one, other)]
    return len(nullspace(rows, len(keys))) > len(keys) - 2
