"""Mirrors tpdyn/recorder/lowering/symmetry.py: symmetric by construction, whatever the numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aten_tapes import draw

from tpdyn.program.instructions import Law, Leaf
from tpdyn.recorder.lowering.builder import LoweredBuilder
from tpdyn.recorder.lowering.symmetry import is_square_sum, is_symmetric
from tpdyn.recorder.lowering.values import Handle


def gram(b: LoweredBuilder, g: Any) -> Any:
    return b.contract("ij", (g, "ik"), (g, "jk"))


MADE: dict[str, tuple[Callable[[LoweredBuilder, Handle], Any], bool, bool]] = {
    "G": (lambda b, g: g, False, False),
    "G G^T": (gram, True, True),
    "G G": (lambda b, g: b.contract("ij", (g, "ik"), (g, "kj")), False, False),
    "-G G^T": (lambda b, g: b.contract("ij", (g, "ik"), (g, "jk"), scale=-1), True, False),
    "an average of squares": (
        lambda b, g: b.combine([(0.9, gram(b, g)), (0.1, gram(b, b.transpose(g, 0, 1)))]),
        True,
        True,
    ),
    "a difference of squares": (
        lambda b, g: b.combine([(1, gram(b, g)), (-1, gram(b, b.transpose(g, 0, 1)))]),
        True,
        False,
    ),
    "A + A^T": (lambda b, g: b.combine([(1, g), (1, b.transpose(g, 0, 1))]), True, False),
    "A - A^T": (lambda b, g: b.combine([(1, g), (-1, b.transpose(g, 0, 1))]), False, False),
    "entrywise": (lambda b, g: b.apply("tanh", gram(b, g)), True, False),
    "a square of a square": (lambda b, g: gram(b, gram(b, g)), True, True),
}


@pytest.mark.parametrize("name", MADE)
def test_symmetry_is_read_off_what_makes_a_matrix(name: str) -> None:
    make, symmetric, square = MADE[name]
    b = LoweredBuilder()
    made = b.value(make(b, b.leaf(Leaf("data", "g", Law("data")), draw(4, 4))))
    assert (is_symmetric(b, made), is_square_sum(b, made)) == (symmetric, square)
