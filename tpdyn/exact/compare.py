"""Which of two orders is larger, and on which condition does that stay so? Asked here, in words, and nowhere else.

On plain rationals (and infinities) these are the usual comparisons. On `Affine` orders the values at the point decide, and the
chart records the linear inequality behind the answer. So the calculus reads as mathematics. Where it calls a function
of this module, a cell of exponents may end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import TypeVar, cast

from tpdyn.exact.affine import Affine, Chart
from tpdyn.rationals import Rational, quick

T = TypeVar("T")
Number = Fraction | int


def exceeds(x: Number, y: Number) -> bool:
    """Tell whether x > y."""
    if x.__class__ is Rational and y.__class__ is Rational:
        return x.units > y.units
    chart = chart_of((x, y))
    if chart is None:
        return x > y
    if isinstance(x, float) or isinstance(y, float):
        return (isinstance(x, float) and x > 0) or (isinstance(y, float) and y < 0)
    form, sign = chart.sign(x, y)
    if form and sign > 0:
        chart.above.add(form)
    elif form:
        chart.not_below.add(-form)
    return sign > 0


def reaches(x: Number, y: Number) -> bool:
    """Tell whether x >= y."""
    return not exceeds(y, x)


def meets(x: Number, y: Number) -> bool:
    """Tell whether x = y."""
    if x.__class__ is Rational and y.__class__ is Rational:
        return x.units == y.units
    chart = chart_of((x, y))
    if chart is None:
        return x == y
    if isinstance(x, float) or isinstance(y, float):
        return False
    form, sign = chart.sign(x, y)
    if form and sign:
        chart.above.add(form if sign > 0 else -form)
    elif form:
        chart.equal.add(abs(form))
    return not sign


def counts_on(larger: Number, smaller: Number) -> None:
    """Record that what follows counts on larger >= smaller, which is known at the point."""
    if larger.__class__ is Rational and smaller.__class__ is Rational and larger.units >= smaller.units:
        return
    if larger.__class__ is Affine and smaller.__class__ is Affine:  # most are: in one step
        chart = larger._chart
        form, sign = chart.sign(larger, smaller)
        if sign >= 0:
            if form:
                chart.not_below.add(form)
            return
    assert reaches(larger, smaller), f"{larger} is not below {smaller} at the point"


def largest(orders: Sequence[Fraction]) -> Fraction:
    """Return the largest order. It is compared with each other one, and a tie belongs to both cells around it."""
    if len(orders) == 1:
        return orders[0]
    chart = chart_of(orders)
    if chart is None:
        values = _plain(orders)
        return orders[values.index(max(values))]
    leading = max(orders, key=chart.rank)
    if isinstance(leading, float):
        return leading
    forms = [form_of(order) for order in orders]
    if None not in forms:
        chart.count_on_leading(cast("int", form_of(leading)), cast("list[int]", forms))
        return leading
    for order in orders:
        if not isinstance(order, float) and (leading.__class__ is Affine or order.__class__ is Affine):
            form, _ = chart.sign(leading, order)
            if form:
                chart.not_below.add(form)
    return leading


def smallest(orders: Sequence[Fraction]) -> Fraction:
    """Return the smallest order."""
    return leader(orders, lambda order: -order)


def leader(items: Iterable[T], order: Callable[[T], Fraction]) -> T:
    """Return the first item with the largest order."""
    best, *others = items
    for item in others:
        if exceeds(order(item), order(best)):
            best = item
    return best


def ranks(orders: Sequence[Fraction]) -> Sequence[Number | float]:
    """Return numbers to sort orders of one reading by. They compare as the orders do at the point; nothing is recorded."""
    chart = chart_of(orders)
    return _plain(orders) if chart is None else list(map(chart.rank, orders))


def _plain(orders: Sequence[Fraction]) -> Sequence[Number | float]:
    try:
        return [order.units for order in orders]  # type: ignore[attr-defined]
    except AttributeError:
        return orders


def key(order: Fraction) -> object:
    """Return a dictionary key: equal for two orders exactly when they are the same form, or the same number."""
    if order.__class__ is not Rational:
        order = quick(order)
    if order.__class__ is Rational:
        return order.units
    if order.__class__ is Affine:
        return (order._form,)
    return (order.numerator, order.denominator) if isinstance(order, Fraction) else order


def form_of(order: Fraction) -> int | None:
    """Pack an order as a form: a linear one, or a constant (in units); None where it has none."""
    if order.__class__ is Affine:
        return order._form
    return order.units if order.__class__ is Rational else None


def chart_of(orders: Iterable[Number]) -> Chart | None:
    """Return the chart of the first linear form; None where there is none."""
    for order in orders:
        if order.__class__ is Affine:
            return order._chart
    return None
