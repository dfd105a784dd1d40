"""What is a linear form, and what does it bound? Exact rational coefficients, by the order of the symbols."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import final

from tpdyn.exact.affine import Relation, show_form

Point = tuple[Fraction, ...]


@final
@dataclass(frozen=True, slots=True)
class Form:
    """The linear form `constant + sum_i coefficients[i] * symbol_i`."""

    constant: Fraction
    coefficients: Point

    def at(self, point: Sequence[Fraction]) -> Fraction:
        """Evaluate at a point."""
        return sum((c * x for c, x in zip(self.coefficients, point, strict=True) if c), self.constant)

    @property
    def is_constant(self) -> bool:
        """Whether it is free of symbols."""
        return not any(self.coefficients)

    def primitive(self) -> Form:
        """Return a positive multiple of it, with coprime integers as coefficients; itself where it is constant."""
        if self.is_constant:
            return self
        whole = math.lcm(*(c.denominator for c in self.coefficients))
        scale = Fraction(whole, math.gcd(*(int(c * whole) for c in self.coefficients)))
        return Form(self.constant * scale, tuple(c * scale for c in self.coefficients))

    def __neg__(self) -> Form:
        return Form(-self.constant, tuple(-c for c in self.coefficients))

    def show(self, names: Sequence[str]) -> str:
        """Write it as text, with the names of the symbols."""
        return show_form(self.constant, self.coefficients, names)


@final
@dataclass(frozen=True, slots=True)
class Constraint:
    """`form = 0`, `form > 0` or `form >= 0`."""

    form: Form
    relation: Relation

    def holds(self, point: Sequence[Fraction]) -> bool:
        """Tell whether a point satisfies it."""
        value = self.form.at(point)
        return value == 0 if self.relation == "=" else value > 0 if self.relation == ">" else value >= 0

    def show(self, names: Sequence[str]) -> str:
        """Write it as text."""
        return f"{self.form.show(names)} {self.relation} 0"
