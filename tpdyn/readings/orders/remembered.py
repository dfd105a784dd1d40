"""What was a statement found to be at another point of the slice? It is that here, too, where the same conditions hold.

A value is a function of the operands (as linear forms), of answers of comparisons, and of the sources' names. So a
statement is known by its position and its operands. With each value found there stand the conditions it depends on, and
what was asked of the sources. Neighbouring cells differ in few statements; all others are looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple, final, overload

from tpdyn.exact.affine import Chart, Conditions, Memory
from tpdyn.exact.compare import chart_of
from tpdyn.readings.orders.parity import Sources, Touched
from tpdyn.readings.orders.terms import Shifts, Value, within, without


class _Content(NamedTuple):
    """A value as forms, without a point."""

    base: Shifts
    change: Shifts
    whole: Shifts | None
    wide: int
    at_most: bool


@final
class _Known(NamedTuple):
    """What a statement was found to be."""

    conditions: Conditions
    touched: Touched
    value: _Content


@final
class Remembered(Sequence[Value]):
    """The values of one reading, in order, those of other readings with its chart's memory being looked up.

    reading: what else values depend on. Those that nobody asks for are left as forms.
    """

    def __init__(self, chart: Chart, memory: Memory, reading: Hashable) -> None:
        self.chart, self.memory = chart, memory
        self._statements: dict[Hashable, list[_Known]] = memory.setdefault(("statements", reading), {})
        self._found: list[_Content | None] = []
        self._values: dict[int, Value] = {}

    @staticmethod
    def of(exponents: Iterable[Mapping[Any, Fraction]], reading: Hashable) -> Remembered | None:
        """Find the memory for a reading at exponents that are linear forms, if their chart has one."""
        chart = chart_of(order for several in exponents for order in several.values())
        return None if chart is None or chart.memory is None else Remembered(chart, chart.memory, reading)

    def add(self, reads: Sequence[int], sources: Sources, rule: Callable[[], Value]) -> None:
        """Add the next statement, which depends on some values before it: as it is known, or by its rule."""
        position = len(self._found)
        operands = [self._found[read] for read in reads]
        if None in operands:  # of an order that is not a linear form
            self._values[position] = rule()
            self._found.append(None)
            return
        asked = (position, *map(id, operands))
        entries = self._statements.get(asked)
        if entries is None:
            entries = self._statements[asked] = []
        for conditions, touched, known in entries:
            if sources.unchanged(touched) and self.chart.satisfies(conditions):
                self.chart.count_on(conditions)
                sources.repeat(touched)
                self._found.append(known)
                return
        conditions, (touched, value) = self.chart.recorded(lambda: sources.traced(rule))
        content = _content(value)
        if content is not None:  # the same object for equal contents, so that they are told apart by identity
            content = self.memory.setdefault(content, content)
            entries.append(_Known(conditions, touched, content))
        self._values[position] = value
        self._found.append(content)

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, position: int) -> Value: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[Value]: ...
    def __getitem__(self, position: int | slice) -> Value | Sequence[Value]:
        """Look up a value at the point of the chart."""
        if isinstance(position, slice):
            return [self[k] for k in range(*position.indices(len(self)))]
        value = self._values.get(position)
        if value is None:
            content = self._found[position]
            assert content is not None
            value = self._values[position] = self._here(content)
        return value

    def _here(self, content: _Content) -> Value:
        base, change = within(self.chart, 0, 0, content.base), within(self.chart, 0, 0, content.change)
        whole = None if content.whole is None else within(self.chart, 0, 0, content.whole)
        return Value(base, change, whole, content.wide, content.at_most)


def _content(value: Value) -> _Content | None:
    """Write a value in forms; None where an order has no form."""
    base, change = without(0, value.base), without(0, value.change)
    whole = None if value.whole is None else without(0, value.whole)
    if base is None or change is None or (whole is None and value.whole is not None):
        return None
    return _Content(base, change, whole, value.wide, value.at_most)
