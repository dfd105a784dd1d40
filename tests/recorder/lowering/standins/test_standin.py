"""Mirrors tpdyn/recorder/lowering/standins/standin.py: the kinds are asked in turn, the first that understands reads."""

from __future__ import annotations

from typing import Any

import torch
from aten_tapes import check, draw

from tpdyn.program.program import Origin
from tpdyn.recorder.live.tape import Node
from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.lower import STANDINS
from tpdyn.recorder.lowering.standins.chosen import Chosen
from tpdyn.recorder.lowering.standins.complex_numbers import Complex
from tpdyn.recorder.lowering.standins.standin import Call
from tpdyn.recorder.lowering.values import Handle, Known


def call(op: str, *args: Any, **kwargs: Any) -> Call:
    return Call.of(Node(op, None, args, kwargs, (None,), Origin()), args, kwargs)


def test_a_call_knows_what_lies_inside_of_its_arguments() -> None:
    place = Chosen(Handle(0, (0, 1), (3, 4)))
    inside = call("aten.index.Tensor", Known(torch.ones(4)), [None, place])
    assert inside.name == "index"
    assert inside.holds(Chosen) and not inside.holds(Complex)
    assert not inside.is_known and call("aten.add.Tensor", Known(torch.ones(4)), 2).is_known


def test_options_are_without_layout() -> None:
    assert call("aten.zeros.default", [2], device="cpu", dtype=torch.float32).options == {"dtype": torch.float32}


def test_settling_reaches_every_argument() -> None:
    settled = call("aten.cat.default", [1, (2, 3)], dim=4).settled(LoweredBuilder(), lambda b, x: x + 1)
    assert settled.args == ([2, (3, 4)],) and settled.kwargs == {"dim": 5}


def test_what_is_known_is_asked_before_all_others() -> None:
    assert [standin.name for standin in STANDINS] == ["known", "shifted", "matrices", "apart", "chosen", "complex"]


def test_an_operation_that_meets_no_stand_in_has_its_plain_rule() -> None:
    add = call("aten.add.Tensor", Handle(0, (0,), (4,)), 1)
    assert [standin.read(LoweredBuilder(), add) for standin in STANDINS] == [None] * len(STANDINS)


def test_a_stand_in_that_settles_is_read_by_the_next() -> None:
    """The index of a maximum is carried symbolically; looked up, it is computed, and read as a choice."""
    check(lambda x: x.gather(1, x.max(-1, keepdim=True).indices), [draw(3, 4)])
