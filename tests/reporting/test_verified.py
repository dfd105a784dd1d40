"""A run of the proofs as a table."""

from __future__ import annotations

from tpdyn.reporting.verified import Theorem, rows, text


def test_each_theorem_is_a_row_with_its_counts() -> None:
    held = Theorem(
        "test_sums_are_small", "holds", passed=3, known=1, seconds=4.2, expected=(("a::b", "not understood"),)
    )
    left = Theorem("test_nets_are_wide", "left out")
    assert rows([held, left]) == [
        ("sums are small", "holds", "3 passed, 1 known, 1 xfailed", "4"),
        ("nets are wide", "left out", "not in this profile", ""),
    ]
    told = text([held, left], "quick", 5.0)
    assert "a::b: not understood" in told and "profile quick: 1 of 1 theorems hold (5 s)" in told
