"""How does a value move when the width doubles? The table of a verdict: one line a module, fit to the columns there are.

A value of order p is multiplied by 2^p when the width doubles. So x1.00 does not depend on the width, x1.41 is order 1/2.
With `exponents` the orders themselves stand there. Numbers, words and lines of the script are never cut; long names fold in
the middle. What is said elsewhere (whether it grows, the size that was seen at the start) gives way first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import final

from rich.text import Text

from tpdyn.claims.outcome import ReportRow
from tpdyn.claims.statistics import Agreement, OrderEstimate
from tpdyn.exponents import Order, show_order
from tpdyn.program.program import Source

WORDS: dict[Agreement, tuple[str, str]] = {
    "agrees": ("ok", "green"),
    "inconclusive": ("unclear", "yellow"),
    "not measured": ("no runs", "yellow"),
    "not explained": ("odd", "yellow"),
    "disagrees": ("WRONG", "bold red"),
    "diverged": ("NaN", "bold red"),
}
"""A row's verdict in the table, and its colour."""

SHORTEST = 6
"""A name is not folded below so many characters while a column can give way."""


@final
@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table. seen: what was measured, None for a prediction alone."""

    name: str
    size: Order
    change: Order
    at_most: bool
    source: Source
    seen_size: OrderEstimate | None = None
    seen_change: OrderEstimate | None = None
    verdict: Agreement | None = None
    learns: bool | None = None


def line_of(row: ReportRow, learns: bool | None = None) -> Line:
    """Write a row of a report as a line. learns: said of it where that is known, since a unit vector's entries vanish anyway."""
    return Line(
        row.name or "(root)", row.size_order, row.change_order, row.at_most, row.source, row.measured_size_order,
        row.measured_change_order, row.verdict, learns,
    )  # fmt: skip


def folded(lines: Sequence[Line]) -> list[Line]:
    """Fold repeated calls of one module (`norm#1`, `norm#2`, ...) and an output that only repeats a module into one line each.

    Only lines that say the same are folded; their intervals are joined. An output is that of the last module that says so.
    """
    rows: list[tuple[list[str], Line]] = []
    for line in lines:
        last = next((k for k in reversed(range(len(rows))) if _repeats(*rows[k], line)), None)
        if last is None:
            rows.append(([line.name], line))
        else:
            names, other = rows[last]
            rows[last] = (
                [*names, line.name],
                replace(
                    other,
                    seen_size=_hull(other.seen_size, line.seen_size),
                    seen_change=_hull(other.seen_change, line.seen_change),
                ),
            )
    return [replace(line, name=_joined(names)) for names, line in rows]


def _repeats(names: Sequence[str], one: Line, other: Line) -> bool:
    same_claim = (one.size, one.change, one.at_most, one.verdict, one.learns) == (
        other.size, other.change, other.at_most, other.verdict, other.learns,
    )  # fmt: skip
    calls = _stem(names[0]) == _stem(other.name) and one.source == other.source
    output = _stem(other.name) == "output" and (one.seen_size, one.seen_change, one.source) == (
        other.seen_size, other.seen_change, other.source,
    )  # fmt: skip
    return same_claim and (calls or (output and (one.seen_change is not None or one.learns is None)))


def _stem(name: str) -> str:
    return name.partition("#")[0]


def _joined(names: Sequence[str]) -> str:
    others = [name for name in names if _stem(name) == _stem(names[0])]
    first = f"{_stem(names[0])}#{_call(others[0])}..#{_call(others[-1])}" if len(others) > 1 else names[0]
    rest = [name for name in names if _stem(name) != _stem(names[0])]
    return first + (f", {_joined(rest)}" if rest else "")


def _call(name: str) -> str:
    return name.partition("#")[2] or "1"


def _hull(one: OrderEstimate | None, other: OrderEstimate | None) -> OrderEstimate | None:
    if one is None or other is None or one is other:
        return one
    return replace(
        one, estimate=(one.estimate + other.estimate) / 2, low=min(one.low, other.low), high=max(one.high, other.high)
    )


def table(lines: Sequence[Line], width: int, *, exponents: bool = False, step: int | None = None) -> list[Text]:
    """Lay the table out in lines of at most `width` characters, unless a number or source line would be cut.

    step: at which the changes were measured; None for a prediction alone.
    """
    lines = folded(lines)
    files = {line.source.file for line in lines if line.source.file}
    columns = _columns(lines, exponents, measured=step is not None, one_file=len(files) < 2)
    longest = max((len(line.name) for line in lines), default=5)
    room = width - _room(columns)
    for leaving, needed in (("direction", longest), ("size seen", longest), ("interval", min(longest, SHORTEST))):
        if room < needed:
            columns = [column for column in columns if column.name != leaving]
            room = width - _room(columns)
    room = max(min(longest, room), len("layer"))
    head = Text("  " + "layer".ljust(room) + "".join(f" {column.head()}" for column in columns), "dim")
    head.rstrip()
    rows = [head]
    for k, line in enumerate(lines):
        text = Text("  ").append(fold(line.name, room).ljust(room), "bold")
        for column in columns:
            text.append(" ").append(column.cell(k))
        text.rstrip()
        rows.append(text)
    return rows


def fold(name: str, room: int) -> str:
    """Fold a name to at most `room` characters: long ones lose their middle.

    Example:
        >>> fold("encoder.layers.11.attention.output", 20)
        'encoder.l..on.output'
    """
    if len(name) <= room:
        return name
    left = (room - 2 + 1) // 2
    return f"{name[:left]}..{name[len(name) - (room - 2 - left) :]}"


@final
@dataclass(frozen=True)
class _Column:
    name: str
    title: str
    cells: tuple[Text, ...]
    left: bool = False

    def head(self) -> str:
        return self.title.ljust(_width(self)) if self.left else self.title.rjust(_width(self))

    def cell(self, k: int) -> Text:
        cell, width = self.cells[k].copy(), _width(self)
        if self.left:
            cell.pad_right(width - len(cell))
        else:
            cell.pad_left(width - len(cell))
        return cell


def _width(column: _Column) -> int:
    return max(len(column.title), *(len(cell) for cell in column.cells), 0)


def _room(columns: Sequence[_Column]) -> int:
    return 2 + sum(_width(column) + 1 for column in columns)


def _columns(lines: Sequence[Line], exponents: bool, *, measured: bool, one_file: bool) -> list[_Column]:
    def column(name: str, title: str, cells: Sequence[Text | str], left: bool = False) -> _Column:
        return _Column(name, title, tuple(Text(each) if isinstance(each, str) else each for each in cells), left)

    size = column("size", "at init", [moved(line.size, False, exponents) for line in lines])
    theory = [_coloured(line.change, moved(line.change, line.at_most, exponents)) for line in lines]
    directions = [_direction(line) for line in lines]
    locations = column("location", "line", [Text(location(line.source, one_file), "dim") for line in lines], left=True)
    if not measured:
        return [
            size, column("change", "change", theory), column("direction", "", directions, left=True), locations,
        ]  # fmt: skip
    return [
        size,
        column("size seen", "seen", [seen(line.seen_size, exponents) for line in lines]),
        column("change", "change", theory),
        column("seen", "seen", [seen(line.seen_change, exponents) for line in lines]),
        column("interval", "interval", [interval(line.seen_change, exponents) for line in lines], left=True),
        column("verdict", "", [Text(*WORDS[line.verdict or "not measured"]) for line in lines], left=True),
        column("direction", "", directions, left=True),
        locations,
    ]


def moved(order: Order, at_most: bool, exponents: bool) -> str:
    """Write 'x1.41', or with `exponents` '+1/2'; 'zero' for what is identically zero."""
    if order is None:
        return "zero"
    text = show_order(order) if exponents else factor(float(order))
    return ("<=" if at_most else "") + text


def factor(order: float) -> str:
    """Write by what a value is multiplied when the width doubles: 'x1.41' for order 1/2."""
    value = 2.0**order if order < 60 else float("inf")
    return f"x{value:.2f}" if value < 99.995 else f"x{value:.3g}"


def seen(estimate: OrderEstimate | None, exponents: bool) -> str:
    """Write the measured order or factor; empty where there is none."""
    if estimate is None:
        return ""
    return f"{estimate.estimate:+.2f}" if exponents else factor(estimate.estimate)


def interval(estimate: OrderEstimate | None, exponents: bool) -> str:
    """Write '[1.12, 1.69]', or with `exponents` '[+0.16, +0.76]'."""
    if estimate is None:
        return ""
    if exponents:
        return f"[{estimate.low:+.2f}, {estimate.high:+.2f}]"
    low, high = (factor(max(-60.0, end)).removeprefix("x") for end in (estimate.low, estimate.high))
    return f"[{low}, {high}]"


def _coloured(order: Order, text: str) -> Text:
    if order is None or order == 0:
        return Text(text)
    return Text(text, "red" if order > 0 else "cyan")


def _direction(line: Line) -> Text:
    if line.change is not None and line.change > 0:
        return Text("GROWS", "bold red")
    if line.change is None:
        return Text("")
    if line.learns:
        return Text("learns", "green")
    return Text("vanishes", "cyan") if line.change < 0 else Text("stays")


def location(source: Source, short: bool = False) -> str:
    """Write 'net.py:12', or ':12' if there is one file only."""
    if not source.file:
        return ""
    return f":{source.line}" if short else f"{PurePath(source.file).name}:{source.line}"


def without_control(text: str) -> str:
    """Put text of a script on one line, without control characters."""
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text).strip()
