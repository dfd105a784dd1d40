"""Mirrors tpdyn/regimes/prediction.py: the order of a name is that of its module first, sizes at the start, changes at most."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from tpdyn.exponents import Order
from tpdyn.program.program import Program, Source
from tpdyn.regimes.prediction import Prediction, Reason, Regime, Row

HALF, ZERO = Fraction(1, 2), Fraction(0)


def row(kind: Any, name: str, step: int, size: Order, change: Order) -> Row:
    return Row(kind, name, step, size, change, Source("", 0, ""), 0)


TABLE = (
    row("module", "fc", 0, ZERO, None),
    row("module", "fc", 1, ZERO, -HALF),
    row("module", "fc", 2, ZERO, ZERO),
    row("parameter", "fc", 0, -HALF, HALF),
    row("parameter", "fc.weight", 1, -HALF, -HALF),
    row("gradient", "g", 1, ZERO, ZERO),
)
FOUND = Prediction(Program((), (), ()), Regime.KERNEL, (), TABLE, (), ())


def test_a_change_is_the_largest_over_the_steps_or_that_of_one() -> None:
    assert FOUND.order("fc") == ZERO
    assert FOUND.order("fc", step=1) == -HALF
    assert FOUND.order("fc", step=0) is None
    assert FOUND.order("fc", "size") == ZERO  # the module, not the parameter of that name
    assert FOUND.order("fc.weight", "size") == -HALF


def test_an_unknown_name_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(KeyError, match=r"no module or parameter 'fc2'; there are: fc, fc\.weight, g"):
        FOUND.order("fc2")
    with pytest.raises(KeyError, match="no module or parameter 'g'"):  # a gradient is neither
        FOUND.order("g")
    with pytest.raises(ValueError, match="what = 'sizes'; expected 'size' or 'change'"):
        FOUND.order("fc", "sizes")  # type: ignore[arg-type]


def test_a_reason_is_told_with_its_place_and_remedy_where_it_has_them() -> None:
    assert Reason("It grows.", "h", "fc", Source("a.py", 3, "")).told() == f"It grows. [{Source('a.py', 3, '')}]"
    assert Reason("It grows.", "h", "fc", Source("", 0, ""), "Halve it.").told() == "It grows. Fix: Halve it."
