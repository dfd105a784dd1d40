"""Which exponents move with which symbol of the user's, and where does the script stand in these symbols?

One symbol for each parameter ('fc1.weight:b'), one for each role ('hidden:c'), or what the user names ({'c': 'c'}).
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Literal

from tpdyn.exact.forms import Point
from tpdyn.exponents import ZERO
from tpdyn.facts.own import Own
from tpdyn.parametrizing.maps.planes import Moves, standing_for
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents
from tpdyn.regimes.cells import KINDS, Coordinates, Kind, moved_by

Symbols = Literal["parameter", "role"] | Mapping[str, str]


def coordinates_of(
    program: Program, own: Mapping[str, Own], symbols: Symbols, kinds: str, at: Exponents
) -> tuple[Coordinates, Point]:
    """Return the coordinates that some symbols name, and their values at a point (extra exponents, on top of the script's).

    A value is the exponent itself if all that a symbol moves share it, and no other symbol moves these. Else the value is
    0, and the symbol is what is added. Raises ValueError for words that name nothing.
    """
    moves = _moves(program, own, symbols, kinds)
    here = tuple(standing_for(own, at, moved, moves.values()) or ZERO for moved in moves.values())
    return Coordinates(moves, at).seen_from([-x for x in here]), here


def point_of(names: tuple[str, ...], values: Mapping[str, Fraction | int | str]) -> Point:
    """Return the values of some symbols, in order; raise ValueError unless each has one, and no other."""
    if set(values) != set(names):
        raise ValueError(f"values for {', '.join(values) or 'nothing'}; expected one for each of {', '.join(names)}")
    return tuple(Fraction(values[name]) for name in names)


def _moves(program: Program, own: Mapping[str, Own], symbols: Symbols, kinds: str) -> dict[str, Moves]:
    if not isinstance(symbols, str):
        if not symbols:
            raise ValueError("there are no symbols; expected 'parameter', 'role', or a mapping such as {'c': 'c'}")
        return {symbol: moved_by(program, word) for symbol, word in symbols.items()}
    wanted = [kind for kind in KINDS if kind in kinds]
    if not wanted or set(kinds) - set(KINDS):
        raise ValueError(f"kinds = {kinds!r}; expected letters of a (multiplier), b (initial size), c (learning rate)")
    if symbols not in ("parameter", "role"):
        raise ValueError(f"symbols = {symbols!r}; expected 'parameter', 'role', or a mapping such as {{'c': 'c'}}")
    moves: dict[str, dict[tuple[Kind, str], Fraction]] = {}
    for name, mine in own.items():
        for kind in wanted:
            if kind == "b" and mine.zero:
                continue  # what starts at zero has no initial size
            moves.setdefault(f"{name if symbols == 'parameter' else mine.role}:{kind}", {})[kind, name] = Fraction(1)
    return dict(moves)
