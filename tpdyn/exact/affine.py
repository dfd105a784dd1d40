"""How does an order depend on the exponents? It is a linear form in them, with its value at a point at hand.

The orders reading adds orders, scales them by rationals and asks which of two is larger. Run on `Affine` numbers it does at a
point what it does on plain rationals there. The values at the point answer each question (`tpdyn.exact.compare`). The
`Chart` records the linear inequality behind the answer. All points that satisfy these inequalities take the same way
through the reading. Together they are a **cell**, on which each order is one exact linear formula
(`tpdyn.regimes.cells`).

A form is held as one integer, `sum_i c_i 2^(i SLOT)` with balanced coefficients c_i in units of 1/UNIT (c_0 the constant).
Adding two forms is adding two integers, however many symbols there are.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple, NoReturn, TypeVar, final

from tpdyn.rationals import UNIT, Rational

SLOT = 112
_HALF_SLOT = 1 << (SLOT - 1)
_SLOT_MASK = (1 << SLOT) - 1

T = TypeVar("T")

Relation = str
"""'=', '>' or '>=': how a form compares with 0 on a cell."""


class Conditions(NamedTuple):
    """Forms that are 0, above 0, and not below 0 where a result holds. Also those that were 0, and above 0, where it was found."""

    equal: tuple[int, ...]
    above: tuple[int, ...]
    not_below: tuple[int, ...]
    zero: tuple[int, ...]
    positive: tuple[int, ...]


Memory = dict[Hashable, Any]
"""Results found at points of one slice, by what was asked, each with the conditions under which it holds."""


@final
class Values(dict[int, int]):
    """The value of each packed form at a point, in units of 1/(UNIT fine), worked out when first asked for.

    coordinates: fine, and fine times each coordinate of the point.
    """

    def __init__(self, coordinates: tuple[int, ...]) -> None:
        self.coordinates = coordinates

    def __missing__(self, form: int) -> int:
        parts = _parts(form, len(self.coordinates))
        value = self[form] = sum(c * x for c, x in zip(parts, self.coordinates, strict=True) if c)
        return value


def _parts(packed: int, count: int) -> list[int]:
    found, index = [0] * count, 0
    while packed:
        zeros = ((packed & -packed).bit_length() - 1) // SLOT  # most coefficients are
        index += zeros
        packed >>= SLOT * zeros
        low = packed & _SLOT_MASK
        if low >= _HALF_SLOT:
            low -= 1 << SLOT
        found[index] = low
        index += 1
        packed = (packed - low) >> SLOT
    return found


@final
class Chart:
    """Symbols with their values at one point, and what was asked there of forms in them.

    memory: shared by the charts of one slice (the same names). So one point can look up what another found.
    once: what was found at this point alone, by what was asked. Its conditions are recorded: it serves without a memory only.
    """

    def __init__(self, point: Mapping[str, Fraction], memory: Memory | None = None) -> None:
        self.memory = memory
        self.once: dict[Hashable, Any] = {}
        self.names = tuple(point)
        self.point = tuple(Fraction(value) for value in point.values())
        self.fine = math.lcm(*(value.denominator for value in self.point))
        self.equal: set[int] = set()
        self.above: set[int] = set()
        self.not_below: set[int] = set()
        self._low_bits = sum(1 << (SLOT * index) for index in range(len(self.names) + 1))
        self._middle = sum(_HALF_SLOT << (SLOT * index) for index in range(len(self.names) + 1))
        self.values = Values((self.fine, *(int(value * self.fine) for value in self.point)))

    def symbol(self, name: str) -> Affine:
        """Return the number that a symbol stands for."""
        index = self.names.index(name)
        return _affine(self, UNIT << (SLOT * (index + 1)), int(self.point[index] * self.fine) * UNIT)

    def form(self, packed: int) -> tuple[Fraction, tuple[Fraction, ...]]:
        """Unpack a form: its constant and its coefficients, one a symbol."""
        constant, *coefficients = (Fraction(part, UNIT) for part in self.parts(packed))
        return constant, tuple(coefficients)

    def parts(self, packed: int) -> list[int]:
        """Unpack a form into whole numbers: how many times 1/UNIT each of them is, the constant first."""
        return _parts(packed, len(self.names) + 1)

    def sign(self, x: Any, y: Any) -> tuple[int, int]:
        """Return the form of x - y (0 where it is constant), and a number with its sign at the point.

        One of them at least is an Affine order.
        """
        if x.__class__ is not Affine:
            units = _units(x)
            form, value = units - y._form, units * self.fine - y._value
        elif y.__class__ is not Affine:
            units = _units(y)
            form, value = x._form - units, x._value - units * self.fine
        else:
            form, value = x._form - y._form, x._value - y._value
        return (0 if -_HALF_SLOT < form < _HALF_SLOT else form), value

    def count_on_order(self, larger: int, smaller: int) -> None:
        """Record that a form is not below another one, which is known at the point. Where they differ by a constant, nothing is."""
        ahead = larger - smaller
        if not -_HALF_SLOT < ahead < _HALF_SLOT:
            self.not_below.add(ahead)

    def count_on_leading(self, leading: int, others: Iterable[int]) -> None:
        """Record that a form is not below others, which is known at the point. Where they differ by a constant, nothing is."""
        self.not_below.update([ahead for form in others if not -_HALF_SLOT < (ahead := leading - form) < _HALF_SLOT])

    def count_on_more(self, larger: int, smaller: int) -> None:
        """Record that a form is above another one, which is known at the point. Where they differ by a constant, nothing is."""
        ahead = larger - smaller
        if self.values[ahead] <= 0:
            raise AssertionError(f"{self.order(larger)} is not above {self.order(smaller)} at the point")
        if not -_HALF_SLOT < ahead < _HALF_SLOT:
            self.above.add(ahead)

    def count_ties(self, leading: int, forms: Iterable[int]) -> int:
        """Count how many of some forms equal the leading one at the point, and record each answer."""
        tied = 0
        for form in forms:
            ahead = leading - form
            meets = not self.values[ahead]
            tied += meets
            if not -_HALF_SLOT < ahead < _HALF_SLOT:
                (self.equal if meets else self.above).add(abs(ahead) if meets else ahead)
        return tied

    def order(self, packed: int, value: int | None = None) -> Affine:
        """Return the order with a form, the value of which may be known."""
        return _affine(self, packed, self.values[packed] if value is None else value)

    # -- results with their conditions ----------------------------------------------------------------------------------

    def recorded(self, work: Callable[[], T]) -> tuple[Conditions, T]:
        """Do some work; return its result with the conditions that it recorded (and that are recorded here, too)."""
        outer = self.equal, self.above, self.not_below
        self.equal, self.above, self.not_below = set(), set(), set()
        try:
            made = work()
        finally:
            conditions = self._conditions()
            self.equal, self.above, self.not_below = outer
            self.count_on(conditions)
        return conditions, made

    def _conditions(self) -> Conditions:
        tied = [form for form in self.not_below if not self.values[form]]
        positive = (*self.above, *(form for form in self.not_below if self.values[form]))
        return Conditions(
            tuple(self.equal), tuple(self.above), tuple(self.not_below), (*self.equal, *tied), tuple(positive)
        )

    def recalled(self, memory: Memory, question: Hashable, work: Callable[[], T]) -> T:
        """Recall the result of some work if one is known whose conditions hold here; else do the work.

        The work may depend on nothing but the question and the answers of comparisons. Conditions are recorded either way.
        """
        known = memory.setdefault(question, [])
        for conditions, result in known:
            if self.satisfies(conditions):
                self.count_on(conditions)
                found: T = result
                return found
        conditions, made = self.recorded(work)
        known.append((conditions, made))
        return made

    def satisfies(self, conditions: Conditions) -> bool:
        """Tell whether every comparison comes out as it did, ties included.

        A tie belongs to the cells on both sides of it. Orders are the same there, but the terms need not be.
        """
        values = self.values
        for form in conditions.positive:
            if values[form] <= 0:
                return False
        return not any(map(values.__getitem__, conditions.zero))

    def count_on(self, conditions: Conditions) -> None:
        """Record conditions that hold at the point."""
        if conditions.equal:
            self.equal.update(conditions.equal)
        if conditions.above:
            self.above.update(conditions.above)
        if conditions.not_below:
            self.not_below.update(conditions.not_below)

    def rank(self, order: Any) -> int | float:
        """Return a number that compares as the order does at the point."""
        if order.__class__ is Affine:
            return order._value
        return order if isinstance(order, float) else _units(order) * self.fine

    def findings(self) -> Iterable[tuple[int, Relation]]:
        """Yield each form that was asked about, with its relation to 0."""
        for packed in self.equal:
            yield packed, "="
        for packed in self.above:
            yield packed, ">"
        for packed in self.not_below - self.above:
            yield packed, ">="

    def halved(self, packed: int) -> int:
        """Halve a form; raise ArithmeticError where a coefficient is not a multiple of 2/UNIT."""
        if (packed + self._middle) & self._low_bits:
            raise ArithmeticError(f"an order is halved too often to be held in multiples of 1/{UNIT}")
        return packed >> 1

    def scaled(self, packed: int, factor: Fraction) -> int:
        """Multiply a form by a rational number."""
        if factor.denominator == 1:
            return packed * factor.numerator
        if factor.denominator == 2:
            return self.halved(packed * factor.numerator)
        constant, coefficients = self.form(packed)
        return sum(_units(c * factor) << (SLOT * index) for index, c in enumerate((constant, *coefficients)))


def _units(number: Fraction | int) -> int:
    if number.__class__ is Rational:
        return number.units
    if not number:
        return 0
    whole, rest = divmod(number.numerator * UNIT, number.denominator)
    if rest:
        raise ArithmeticError(f"{number} is not a multiple of 1/{UNIT}; orders are expected to have small denominators")
    return whole


@final
class Affine(Fraction):
    """A linear form in a chart's symbols; `tpdyn.exact.compare` asks how it compares at the chart's point.

    It is a `Fraction` for the type checker and for mixed arithmetic. Whatever would lose the form raises TypeError. So
    do the signs <, <=, > and >=: they would hide that the answer depends on the point. `==` says whether two forms are
    the same everywhere. bool() says whether one is anything but the constant 0. Both serve shortcuts.
    """

    __slots__ = ("_chart", "_form", "_value")

    _chart: Chart
    _form: int
    _value: int

    @property
    def chart(self) -> Chart:
        """The symbols, and the point at which comparisons are decided."""
        return self._chart

    @property
    def packed(self) -> int:
        """The form as one integer (`Chart.form` unpacks it)."""
        return self._form

    @property
    def value(self) -> Fraction:
        """The value at the chart's point."""
        return Fraction(self._value, UNIT * self._chart.fine)

    # -- arithmetic -----------------------------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Any:
        if other.__class__ is Affine:
            return _affine(self._chart, self._form + other._form, self._value + other._value)
        # (to ask isinstance is to ask an abstract base class: slow)
        if other.__class__ is not Rational and other.__class__ is not Fraction:
            if isinstance(other, float):
                return _no_float(other) if math.isfinite(other) else float(other)  # nan: infinity less infinity
            if not isinstance(other, int):
                return NotImplemented
        if not other:
            return self
        units = _units(other)
        return _affine(self._chart, self._form + units, self._value + units * self._chart.fine)

    __radd__ = __add__

    def __neg__(self) -> Affine:
        return _affine(self._chart, -self._form, -self._value)

    def __pos__(self) -> Affine:
        return self

    def __sub__(self, other: Any) -> Any:
        if other.__class__ is Affine:
            return _affine(self._chart, self._form - other._form, self._value - other._value)
        return self + -other

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __mul__(self, other: Any) -> Any:
        if other.__class__ is Affine or not isinstance(other, (int, Fraction)):
            raise TypeError(f"a linear form times {other!r}; expected a rational number, or the product is not linear")
        form = self._chart.scaled(self._form, Fraction(other))
        return _affine(self._chart, form, self._value * other.numerator // other.denominator)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return self * (1 / Fraction(other))

    # -- the same everywhere --------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        if other.__class__ is Affine:
            return self._form == other._form
        if isinstance(other, (int, Fraction)):
            return -_HALF_SLOT < self._form < _HALF_SLOT and Fraction(self._form, UNIT) == other
        return False if isinstance(other, float) else NotImplemented

    def __hash__(self) -> int:  # type: ignore[override]
        constant = -_HALF_SLOT < self._form < _HALF_SLOT
        return hash(Fraction(self._form, UNIT)) if constant else hash(self._form)

    def __bool__(self) -> bool:
        return self._form != 0

    # -- copies: what is pickled with its form keeps its chart ----------------------------------------------------------

    def __reduce__(self) -> Any:
        return _affine, (self._chart, self._form, self._value)

    def __copy__(self) -> Affine:
        return self

    def __deepcopy__(self, memo: Any) -> Affine:
        return _affine(copy.deepcopy(self._chart, memo), self._form, self._value)

    # -- what would lose the form ---------------------------------------------------------------------------------------

    def _lost(self, *_: Any) -> NoReturn:
        raise TypeError("a linear form is not a single number; take `.value` for the one at its point")

    numerator = property(_lost)
    denominator = property(_lost)
    __float__ = __int__ = __trunc__ = __floor__ = __ceil__ = __round__ = _lost  # type: ignore[assignment]
    __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _lost
    __pow__ = __rpow__ = __divmod__ = __rdivmod__ = _lost  # type: ignore[assignment]
    limit_denominator = as_integer_ratio = __abs__ = _lost  # type: ignore[assignment]

    def _asked(self, other: object) -> NoReturn:
        raise TypeError(f"{self} meets {other} in a comparison; ask tpdyn.exact.compare, which records the condition")

    __lt__ = __le__ = __gt__ = __ge__ = _asked

    def __str__(self) -> str:
        return show_form(*self._chart.form(self._form), self._chart.names)

    __repr__ = __str__

    def __format__(self, specification: str) -> str:
        return format(str(self), specification)


def _affine(chart: Chart, form: int, value: int) -> Affine:
    made: Affine = object.__new__(Affine)
    made._chart, made._form, made._value = chart, form, value
    return made


def _no_float(number: float) -> NoReturn:
    raise TypeError(f"an order meets the float {number!r}; orders are exact: expected a Fraction, or infinity")


def show_form(constant: Fraction, coefficients: Iterable[Fraction], names: Iterable[str]) -> str:
    """Write a linear form as text: '1/2 - 2*a + c'."""
    text = str(constant) if constant else ""
    for coefficient, name in zip(coefficients, names, strict=True):
        if coefficient:
            size = abs(coefficient)
            term = name if size == 1 else f"{size}*{name}"
            sign = "-" if coefficient < 0 else "+"
            text = f"{text} {sign} {term}" if text else ("-" if coefficient < 0 else "") + term
    return text or "0"
