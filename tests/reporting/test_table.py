"""Mirrors tpdyn/reporting/table.py: factors, folded rows and names, columns that give way."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from tpdyn.claims.statistics import OrderEstimate
from tpdyn.program.program import Source
from tpdyn.reporting.table import Line, factor, fold, folded, interval, moved, table

PLACE = Source("deep/model.py", 12, "x = self.norm(x)")
FOUND = OrderEstimate(0.0, -0.1, 0.1, 4, 8, 0.01, 0.01)
ZERO, HALF = Fraction(0), Fraction(1, 2)
LINE = Line("norm", ZERO, ZERO, False, PLACE, FOUND, FOUND, "agrees")


def texts(lines: list[Line], width: int = 80, **options: bool) -> list[str]:
    return [str(line) for line in table(lines, width, step=2, **options)]


def test_factors_are_those_of_a_doubled_width() -> None:
    assert (factor(0), factor(0.5), factor(-1), factor(1), factor(8)) == ("x1.00", "x1.41", "x0.50", "x2.00", "x256")
    assert (
        moved(None, True, False) == "zero"
        and moved(HALF, True, False) == "<=x1.41"
        and moved(HALF, False, True) == "+1/2"
    )
    assert interval(replace(FOUND, low=-float("inf"), high=float("inf")), False) == "[0.00, inf]"
    assert interval(FOUND, True) == "[-0.10, +0.10]" and interval(None, False) == ""


def test_repeated_calls_fold_into_one_line_with_joined_intervals() -> None:
    calls = [replace(LINE, name="norm" if k == 1 else f"norm#{k}") for k in range(1, 17)]
    calls[3] = replace(calls[3], seen_change=replace(FOUND, high=0.2))
    (only,) = folded(calls)
    assert only.name == "norm#1..#16" and only.seen_change is not None and only.seen_change.high == 0.2
    other = replace(calls[5], verdict="disagrees")
    assert [line.name for line in folded([*calls[:5], other])] == ["norm#1..#5", "norm#6"]


def test_an_output_that_is_a_modules_is_named_beside_it() -> None:
    assert [line.name for line in folded([replace(LINE, name="head"), replace(LINE, name="output")])] == [
        "head, output"
    ]
    modules = [replace(LINE, name=name) for name in ("code", "head", "output")]  # of an autoencoder, called in one loop
    assert [line.name for line in folded(modules)] == ["code", "head, output"]
    different = replace(LINE, name="output", seen_change=replace(FOUND, estimate=0.01))
    assert len(folded([replace(LINE, name="head"), different])) == 2


@pytest.mark.parametrize("room", [5, 11, 20, 33])
def test_a_long_name_loses_its_middle(room: int) -> None:
    name = "encoder.layers.11.attention.output"
    short = fold(name, room)
    assert len(short) == room and short.startswith(name[:1]) and short.endswith(name[-1])
    assert fold(name, len(name)) == name


def test_columns_that_are_said_elsewhere_give_way_to_names_and_the_interval_only_where_none_is_left() -> None:
    line = replace(LINE, name="encoder.layers.11.attention.out", change=HALF)
    row = texts([line])[1]
    assert "GROWS" not in row and "encoder.layers.11.attention.out" in row and row.endswith(":12")
    assert "GROWS" in texts([line], 120)[1]
    narrow = texts([line], 50)[1]
    assert ".." in narrow and "[0.93, 1.07]" in narrow and "x1.41" in narrow and narrow.endswith(":12")
    narrower = texts([line], 40)[1]
    assert "[0.93, 1.07]" not in narrower and "x1.41" in narrower and narrower.endswith(":12") and len(narrower) <= 40


def test_two_files_are_both_named() -> None:
    _, first, second = texts([LINE, replace(LINE, name="other", source=Source("b.py", 3, ""))])
    assert first.endswith("model.py:12") and second.endswith("b.py:3")
