"""How do exact rationals add and compare in a moment? As whole numbers of one small unit, each made once.

A `Rational` is a `Fraction` that is a multiple of 1/UNIT and knows how many. Sums, differences, halves and comparisons of two
are those of integers. With any other number it does what a `Fraction` does, so that results are equal whatever they are made of.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, final

UNIT = 2**32 * 45045
"""Orders are multiples of 1/UNIT: halves of halves, thirds (roots and powers) and the denominators of scripts."""

_MOST = 1 << 16
_KNOWN: dict[int, Rational] = {}


@final
class Rational(Fraction):
    """A multiple of 1/UNIT, made by `quick` only. It equals the `Fraction`, and hashes and prints like it."""

    __slots__ = ("_hash", "units")

    units: int
    _hash: int

    # -- arithmetic -----------------------------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Any:
        if other.__class__ is Rational:
            return of_units(self.units + other.units)
        if other.__class__ is Fraction:
            units = whole_units(other)
            return Fraction.__add__(self, other) if units is None else of_units(self.units + units)
        return _passed(Fraction.__add__, self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        if other.__class__ is Rational:
            return of_units(self.units - other.units)
        if other.__class__ is Fraction:
            units = whole_units(other)
            return Fraction.__sub__(self, other) if units is None else of_units(self.units - units)
        return _passed(Fraction.__sub__, self, other)

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __neg__(self) -> Rational:
        return of_units(-self.units)

    def __mul__(self, other: Any) -> Any:
        if other.__class__ is int:
            return of_units(self.units * other)
        return _passed(Fraction.__mul__, self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        if other.__class__ is int and other and not self.units % other:
            return of_units(self.units // other)
        return _passed(Fraction.__truediv__, self, other)

    # -- comparisons ----------------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        if other.__class__ is Rational:
            return self.units == other.units
        if other.__class__ is int:
            return self.units == other * UNIT
        return _passed(Fraction.__eq__, self, other)  # type: ignore[no-any-return]

    def __hash__(self) -> int:  # type: ignore[override]
        return self._hash

    def __bool__(self) -> bool:
        return self.units != 0

    def __lt__(self, other: Any) -> bool:
        if other.__class__ is Rational:
            return self.units < other.units
        if other.__class__ is int:
            return self.units < other * UNIT
        return _passed(Fraction.__lt__, self, other)  # type: ignore[no-any-return]

    def __le__(self, other: Any) -> bool:
        if other.__class__ is Rational:
            return self.units <= other.units
        if other.__class__ is int:
            return self.units <= other * UNIT
        return _passed(Fraction.__le__, self, other)  # type: ignore[no-any-return]

    def __gt__(self, other: Any) -> bool:
        if other.__class__ is Rational:
            return self.units > other.units
        if other.__class__ is int:
            return self.units > other * UNIT
        return _passed(Fraction.__gt__, self, other)  # type: ignore[no-any-return]

    def __ge__(self, other: Any) -> bool:
        if other.__class__ is Rational:
            return self.units >= other.units
        if other.__class__ is int:
            return self.units >= other * UNIT
        return _passed(Fraction.__ge__, self, other)  # type: ignore[no-any-return]

    # -- copies and texts -----------------------------------------------------------------------------------------------

    def __reduce__(self) -> Any:
        return quick, (Fraction(self.numerator, self.denominator),)

    def __copy__(self) -> Rational:
        return self

    def __deepcopy__(self, memo: Any) -> Rational:
        return self

    def __repr__(self) -> str:
        return f"Fraction({self.numerator}, {self.denominator})"


def quick(number: Fraction) -> Fraction:
    """Make a number quick to add and compare if it is a multiple of 1/UNIT. Any other, or a linear form, stays as it is."""
    if number.__class__ is not Fraction:
        return number
    units = whole_units(number)
    return number if units is None else of_units(units)


def whole_units(number: Fraction) -> int | None:
    """Return how many times 1/UNIT a number is; None where that is not a whole number."""
    whole, rest = divmod(UNIT, number.denominator)
    return None if rest else number.numerator * whole


def of_units(units: int) -> Rational:
    """Return so many times 1/UNIT."""
    known = _KNOWN.get(units)
    if known is None:
        if len(_KNOWN) >= _MOST:
            _KNOWN.clear()  # equal ones need not be the same object
        common = math.gcd(units, UNIT)
        known = _KNOWN[units] = object.__new__(Rational)
        known._numerator, known._denominator = units // common, UNIT // common  # type: ignore[attr-defined]
        known.units = units
        known._hash = Fraction.__hash__(known)
    return known


def _passed(operation: Any, number: Rational, other: Any) -> Any:
    """Do as a `Fraction` does; ask any other kind of fraction (a linear form) itself."""
    if isinstance(other, Fraction) and other.__class__ is not Fraction and other.__class__ is not Rational:
        return NotImplemented
    if isinstance(other, float):  # a comparison would make a number of this class of it
        return operation(Fraction(number.numerator, number.denominator), other)
    result = operation(number, other)
    return quick(result) if result.__class__ is Fraction else result
