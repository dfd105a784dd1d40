"""How do powers of the width add, multiply and print?

The sign convention of the whole project is stated here, once. The **order** of a value is the exponent `o` for which
its entries are of typical size `Theta(n^o)`. Here `n` is the width. So order 1/2 means sqrt(n), and order 0 means "does
not depend on the width". A negative order vanishes as the width grows. Papers of the Tensor Programs series often write
`Theta(n^-r)`; then `r = -o`.

Orders are exact rationals (`fractions.Fraction`); an identically zero value has order `None`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Union

from tpdyn.rationals import quick

Order = Union[Fraction, None]
Number = Union[int, float, Fraction]

HALF = quick(Fraction(1, 2))
ONE = quick(Fraction(1))
ZERO = quick(Fraction(0))


@dataclass(frozen=True, slots=True)
class Scaling:
    """A number as a function of the width: `sum_k c_k * n^p_k`, for instance `3*n`, `0.1*n^-1` or `1 - 0.001*n^-1`.

    Dims have exact coefficients (int or Fraction), constants of a script have floats. Terms are sorted by falling power, powers
    differ, and coefficients are not zero. So two scalings are equal exactly if their terms are.
    """

    terms: tuple[tuple[Number, Fraction], ...]

    @staticmethod
    def of(coefficient: Number, power: Number | str = 0) -> Scaling:
        """Return `coefficient * n^power`."""
        return Scaling(((coefficient, ZERO if power == 0 else quick(Fraction(power))),) if coefficient != 0 else ())

    @staticmethod
    def sum(scalings: list[Scaling] | tuple[Scaling, ...]) -> Scaling:
        """Sum several scalings (zero for an empty list)."""
        return Scaling._collected([term for scaling in scalings for term in scaling.terms])

    @staticmethod
    def _collected(terms: list[tuple[Number, Fraction]]) -> Scaling:
        by_power: dict[Fraction, Number] = {}
        for coefficient, power in terms:
            by_power[power] = by_power[power] + coefficient if power in by_power else coefficient
        kept = [(c, p) for p, c in by_power.items() if c != 0]
        return Scaling(tuple(sorted(kept, key=lambda term: -term[1])))

    def __add__(self, other: Scaling) -> Scaling:
        return Scaling._collected([*self.terms, *other.terms])

    def __mul__(self, other: Scaling) -> Scaling:
        return Scaling._collected([(a * b, p + q) for a, p in self.terms for b, q in other.terms])

    def __neg__(self) -> Scaling:
        return Scaling(tuple((-c, p) for c, p in self.terms))

    @property
    def order(self) -> Order:
        """The leading exponent; None for zero."""
        return quick(self.terms[0][1]) if self.terms else None

    @property
    def is_zero(self) -> bool:
        """Whether this is the number 0 at every width."""
        return not self.terms

    @property
    def is_constant(self) -> bool:
        """Whether the width does not enter."""
        return all(power == 0 for _, power in self.terms)

    @property
    def is_wide(self) -> bool:
        """Whether this grows with the width. A dim that does is wide, any other is finite."""
        return bool(self.terms) and self.terms[0][1] > 0

    @property
    def constant(self) -> Number:
        """The value, if it does not depend on the width. Raises ValueError if it does."""
        if not self.is_constant:
            raise ValueError(f"{self} depends on the width; expected a constant")
        return self.terms[0][0] if self.terms else 0

    def at(self, width: int) -> float:
        """Evaluate at one width, as a float."""
        return float(sum(float(c) * float(width) ** float(p) for c, p in self.terms))

    def size_at(self, width: int) -> int:
        """Evaluate the size of a dim at one width. Raises ValueError unless it is a whole number (as `n/8` is not at width 12)."""
        # most dims are whole at any width
        if all(isinstance(c, int) and p.denominator == 1 and p >= 0 for c, p in self.terms):
            return sum(c * width**p.numerator for c, p in self.terms if isinstance(c, int))
        value = sum(
            (
                Fraction(c) * (Fraction(width) ** int(p) if p.denominator == 1 else Fraction(float(width) ** float(p)))
                for c, p in self.terms
            ),
            Fraction(0),
        )
        if value.denominator != 1:
            raise ValueError(f"the dim {self} is {value} at width {width}, not a whole number; try another width")
        return int(value)

    def __str__(self) -> str:
        if not self.terms:
            return "0"
        text = ""
        for index, (coefficient, power) in enumerate(self.terms):
            negative = coefficient < 0
            body = _show_term(-coefficient if negative else coefficient, power)
            text += ("-" if negative else "") + body if index == 0 else (" - " if negative else " + ") + body
        return text


def show_power(power: Fraction) -> str:
    """Write `n^p` as text: '' for p = 0, 'n', 'n^2', 'n^-1/2'."""
    if power == 0:
        return ""
    return "n" if power == 1 else f"n^{power}"


def show_order(order: Order | float) -> str:
    """Show an order: '-1/2', '0', '+1'. None, for identically zero, is shown as 'zero'."""
    if order is None:
        return "zero"
    if order == math.inf:
        return "+inf"
    return f"+{order}" if order > 0 else str(order)


def direction(order: Order) -> str:
    """Name what a value of this order does as the width grows: "grows", "stays", "vanishes"; "zero" if identically zero."""
    if order is None:
        return "zero"
    return "grows" if order > 0 else "stays" if order == 0 else "vanishes"


def _show_term(coefficient: Number, power: Fraction) -> str:
    width = show_power(power)
    if not width:
        return show_number(coefficient)
    if coefficient == 1:
        return width
    if isinstance(coefficient, Fraction) and coefficient.numerator == 1 and power > 0:
        return f"{width}/{coefficient.denominator}"
    return f"{show_number(coefficient)}*{width}"


def show_number(value: Number) -> str:
    """Write a number as short text: '3', '2/3', '0.1', '1e-08'."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)
