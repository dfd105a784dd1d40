"""Mirrors tpdyn/parametrizing/maps/symbols.py: one symbol a parameter, a role, or what the user names."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from tpdyn.claims.theorems import Abc
from tpdyn.facts.facts import Facts
from tpdyn.parametrizing.maps.symbols import coordinates_of
from tpdyn.readings.orders.reading import Exponents
from tpdyn.regimes.cells import Coordinates
from tpdyn.testing.perceptrons import mlp_program

HALF, ZERO, ONE = Fraction(1, 2), Fraction(0), Fraction(1)
POINT = Abc((ZERO,) * 3, (ZERO, HALF, HALF), (ZERO, ONE, ZERO))
PROGRAM = mlp_program(2, "tanh", "sgd", point=POINT)
AS_WRITTEN = Exponents()
OWN = Facts.of(PROGRAM).own
FIRST, SECOND, OUT = OWN


def space(symbols: Any, kinds: str = "abc", at: Exponents = AS_WRITTEN) -> tuple[Coordinates, tuple[Fraction, ...]]:
    return coordinates_of(PROGRAM, OWN, symbols, kinds, at)


def test_a_symbol_for_each_parameter_stands_where_the_script_stands() -> None:
    found, here = space("parameter", "bc")
    values = dict(zip(found.names, here, strict=True))
    assert values == {
        f"{FIRST}:b": ZERO, f"{FIRST}:c": ZERO, f"{SECOND}:b": HALF, f"{SECOND}:c": ONE, f"{OUT}:b": HALF, f"{OUT}:c": ZERO,
    }  # fmt: skip


def test_at_its_own_values_the_space_is_the_script() -> None:
    for symbols in ("parameter", "role", {"rate": "c"}):
        found, here = space(symbols)
        at = found.at(here)
        assert not any((*at.multiplier.values(), *at.initial.values(), *at.rate.values()))


def test_roles_that_share_an_exponent_stand_there() -> None:
    found, here = space("role", "c")
    assert dict(zip(found.names, here, strict=True)) == {"input-like:c": ZERO, "hidden:c": ONE, "output-like:c": ZERO}


def test_a_symbol_for_exponents_that_differ_is_what_is_added() -> None:
    found, here = space({"c": "c"})
    assert found.names == ("c",) and here == (ZERO,)  # rates of the script: n^0, n^-1, n^0


@pytest.mark.parametrize(
    ("symbols", "kinds", "message"),
    [
        ({}, "abc", "there are no symbols; expected 'parameter', 'role', or a mapping"),
        ("role", "", "kinds = ''; expected letters of a"),
        ("role", "bd", "kinds = 'bd'; expected letters of a"),
        ("layer", "c", "symbols = 'layer'; expected 'parameter', 'role', or a mapping"),
    ],
)
def test_words_that_name_nothing_are_refused(symbols: Any, kinds: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        space(symbols, kinds)
