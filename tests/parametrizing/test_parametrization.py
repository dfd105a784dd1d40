"""Mirrors tpdyn/parametrizing/parametrization.py: gauges write one thing in several ways, and JSON gives it back."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import pytest

from tpdyn.exponents import Scaling
from tpdyn.facts.own import Own
from tpdyn.parametrizing.parametrization import GAUGES, ParameterFacts, Parametrization, Shift
from tpdyn.program.instructions import Law
from tpdyn.regimes.prediction import Regime

HALF, ZERO, ONE = Fraction(1, 2), Fraction(0), Fraction(1)
N = Scaling.of(1, 1)

SCRIPT = {
    "in": Own(ZERO, ZERO, ZERO, False, "input-like"),
    "hidden": Own(ZERO, HALF, ZERO, False, "hidden"),
    "out": Own(ZERO, ZERO, ZERO, True, "output-like"),
}
MUP = Parametrization(  # Adam's, from a script whose readout starts at zero
    exponents={"in": (ZERO, ZERO, ZERO), "hidden": (ZERO, HALF, ONE), "out": (ZERO, ZERO, ONE)},
    multipliers={"attention (net.py:7)": HALF},
    own=SCRIPT,
    rate_per_multiplier={"in": ONE, "hidden": ONE, "out": ONE},
    regime=Regime.FEATURE_LEARNING,
    facts={"hidden": ParameterFacts((N, N), Law("normal", Scaling(()), Scaling.of(0.5, "-1/2")), -ONE, HALF)},
)


def test_the_three_gauges_of_mup_for_adam() -> None:
    assert MUP.in_gauge("no multipliers").exponents == MUP.exponents
    assert MUP.in_gauge("same rate").exponents == {
        "in": (ZERO, ZERO, ZERO),
        "hidden": (ONE, -HALF, ZERO),
        "out": (ONE, ZERO, ZERO),  # starts at zero: no initial size to move
    }
    assert MUP.in_gauge("unit initial entries").exponents["hidden"] == (HALF, ZERO, HALF)


def test_a_gauge_is_a_way_of_writing_it() -> None:
    """`(a + s, b - s, c - k s)` for SGD, k = 2: there and back is the same. So is what to change about the script."""
    sgd = replace(MUP, rate_per_multiplier=dict.fromkeys(SCRIPT, Fraction(2)))
    for gauge in GAUGES:
        moved = sgd.in_gauge(gauge)
        assert moved.in_gauge("no multipliers").exponents == sgd.exponents
        assert moved.shifts() == sgd.shifts() and moved.edits() == sgd.edits()
    assert sgd.in_gauge("same rate", ONE).exponents["in"] == (-HALF, HALF, ONE)


def test_a_parameter_without_the_symmetry_stays_where_it_is_or_is_refused() -> None:
    none = replace(MUP, rate_per_multiplier={"in": None, "hidden": None, "out": None})
    assert none.in_gauge("no multipliers").exponents == MUP.exponents
    with pytest.raises(ValueError, match="hidden cannot be written with same rate: no symmetry"):
        none.in_gauge("same rate")
    with pytest.raises(ValueError, match="gauge = 'mup'; expected one of 'no multipliers'"):
        MUP.in_gauge("mup")  # type: ignore[arg-type]


def test_updates_in_proportion_to_the_parameter_have_rates_that_no_multiplier_moves() -> None:
    scaled = replace(MUP, rate_per_multiplier=dict.fromkeys(SCRIPT, ZERO))
    assert scaled.in_gauge("unit initial entries").exponents["hidden"] == (HALF, ZERO, ONE)
    with pytest.raises(ValueError, match="hidden cannot be written with same rate"):
        scaled.in_gauge("same rate")


def test_shifts_are_relative_to_the_script_and_a_decay_keeps_its_product_with_the_rate() -> None:
    assert MUP.shifts() == {
        "in": Shift(),
        "hidden": Shift(rate=-ONE, decay=HALF, guard=-ONE),
        "out": Shift(rate=-ONE, decay=ONE),
    }


def test_edits_say_what_to_multiply_by_what() -> None:
    assert MUP.edits() == (
        "multiply the learning rate of hidden, out by n^-1",
        "multiply the result of attention (net.py:7) by n^-1/2",
    )
    several = replace(MUP, multipliers={f"blocks.{k}.attention:7": HALF for k in range(3)} | {"head:9": ONE})
    assert several.products() == (
        "multiply the result of blocks.*.attention:7 by n^-1/2",
        "multiply the result of head:9 by n^-1",
    )
    smaller = replace(MUP, exponents={**MUP.exponents, "hidden": (ZERO, ONE, ZERO)}, multipliers={})
    assert smaller.edits()[0] == "multiply the initial entries of hidden by n^-1/2"


def test_layers_that_have_the_same_are_one_row() -> None:
    names = {"layers.0": "hidden", "layers.1": "hidden", "layers.2": "hidden", "out": "out"}
    deep = replace(
        MUP, exponents={name: MUP.exponents[like] for name, like in names.items()}, multipliers={}, facts={},
        own={name: SCRIPT[like] for name, like in names.items()}, rate_per_multiplier=dict.fromkeys(names, ONE),
    )  # fmt: skip
    assert [line.split()[0] for line in deep.show().splitlines()[2:4]] == ["layers.*", "out"]
    odd = replace(deep, exponents=deep.exponents | {"layers.1": (ZERO, ONE, ONE)})
    assert [line.split()[0] for line in odd.show().splitlines()[2:6]] == ["layers.0", "layers.1", "layers.2", "out"]


def test_what_is_given_up_is_not_maximal_and_is_shown() -> None:
    short = replace(MUP, given_up=(("in learns", HALF),), conflicts=(("in learns", "the loss is stable"),))
    assert MUP.maximal and not short.maximal
    assert "given up: in learns (missing: n^1/2)" in short.show()
    assert "these contradict each other:\n  - in learns\n  - the loss is stable" in short.show()
    assert MUP.show().splitlines()[0].startswith("maximal update: entries enter as n^-a w")
    assert MUP.show().splitlines()[4].split() == ["out", "output-like", "0", "zero", "1", "0", "zero", "0"]


def test_parts_of_a_complex_parameter_are_joined_where_a_model_has_it() -> None:
    parts = {"in": "in", "hidden": "turn.real", "out": "turn.imag"}
    exponents = {**dict.fromkeys(parts.values(), (ZERO, HALF, ONE)), "in": MUP.exponents["in"]}
    two = replace(
        MUP, exponents=exponents, own={parts[name]: own for name, own in SCRIPT.items()}, multipliers={}, facts={},
        rate_per_multiplier=dict.fromkeys(parts.values(), ONE),
    )  # fmt: skip
    one = two.joined(["in", "turn"])
    assert one.exponents == {"in": MUP.exponents["in"], "turn": (ZERO, HALF, ONE)}
    assert one.own.keys() == one.rate_per_multiplier.keys() == one.shifts().keys() == {"in", "turn"}
    assert two.joined(["in", "turn.real", "turn.imag"]) == two  # a module with two real ones of these names
    with pytest.raises(ValueError, match="the parts of turn have exponents of their own"):
        replace(two, exponents=exponents | {"turn.imag": (ZERO, ONE, ONE)}).joined(["turn"])


def test_json_gives_it_back_exactly() -> None:
    again = Parametrization.from_dict(json.loads(json.dumps(MUP.to_dict())))
    assert again == replace(MUP, own=again.own) and again.own == SCRIPT
    with pytest.raises(ValueError, match="this is not a parametrization that `to_dict` wrote: KeyError"):
        Parametrization.from_dict({"regime": "kernel"})


def test_only_a_derived_one_has_a_face() -> None:
    with pytest.raises(ValueError, match="a face belongs to a derived parametrization"):
        MUP.face()
