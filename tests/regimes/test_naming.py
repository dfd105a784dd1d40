"""Mirrors tpdyn.regimes.naming.py: parameters of all layers are named at once, and only where all are meant."""

from __future__ import annotations

from tpdyn.regimes.naming import together

NAMES = ("h.0.up.weight", "h.1.up.weight", "h.0.down.weight", "h.1.down.weight", "h2.weight", "out.weight")


def test_a_number_is_left_out_where_all_that_are_then_meant_are_named() -> None:
    assert together(("h.0.up.weight", "h.1.up.weight", "out.weight"), NAMES) == "h.*.up.weight, out.weight"


def test_one_of_two_keeps_its_number() -> None:
    assert together(("h.0.up.weight", "h.1.up.weight", "h.0.down.weight"), NAMES) == "h.*.up.weight, h.0.down.weight"


def test_of_two_numbers_one_is_left_out_where_not_all_of_the_other_are_meant() -> None:
    """Blocks of a norm (0) and a layer (1): all biases and the weights of the norms."""
    names = [f"blocks.{k}.{part}.{what}" for k in range(16) for part in (0, 1) for what in ("weight", "bias")]
    meant = [name for name in names if name.endswith((".0.weight", "bias"))]
    assert together(meant, names) == "blocks.*.0.weight, blocks.*.*.bias"
    assert together(meant[3:], names).startswith("blocks.1.0.weight, blocks.1.*.bias, ")


def test_a_number_inside_of_a_word_is_part_of_it_and_unknown_names_stay() -> None:
    assert together(("h2.weight", "h.9 as a readout"), NAMES) == "h2.weight, h.9 as a readout"
