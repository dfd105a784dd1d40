"""Does a plane go through the points that it names, and is what holds there known from the papers?"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Literal

import pytest

from tpdyn.claims.theorems import Abc
from tpdyn.parametrizing.derive import derive
from tpdyn.parametrizing.maps.diagram import PhaseDiagram, phase_diagram
from tpdyn.parametrizing.parametrization import Parametrization
from tpdyn.program.program import Program
from tpdyn.readings.orders.reading import Exponents
from tpdyn.testing.perceptrons import mlp_program

HALF, ZERO, ONE = Fraction(1, 2), Fraction(0), Fraction(1)


@cache
def standard(optimizer: Literal["sgd", "adam"] = "sgd") -> Program:
    """Two hidden layers as torch does them: SP."""
    return mlp_program(2, "tanh", optimizer, point=Abc((ZERO,) * 3, (ZERO, HALF, HALF), (ZERO,) * 3))


@cache
def plane(optimizer: Literal["sgd", "adam"]) -> PhaseDiagram:
    return phase_diagram(standard(optimizer), through=("NTP", "muP", "SP"))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_plane_through_ntp_mup_and_sp_shows_each_in_its_regime(optimizer: Literal["sgd", "adam"]) -> None:
    drawn = plane(optimizer)
    marks = {"NTP": (ZERO, ZERO), "muP": (ONE, ZERO), "MFP": (ONE, ZERO), "SP": (ZERO, ONE), "this script": (ZERO, ONE)}
    assert drawn.marks == marks
    assert drawn.at(*marks["NTP"]).label == "kernel"
    assert drawn.at(*marks["muP"]).label == "feature learning"
    assert drawn.at(*marks["SP"]).label == "unstable"
    for k in range(8):  # Yaida's line between: r = (1 - s)/2
        phase = drawn.at(Fraction(k, 8), 0)
        assert phase.label == "kernel" and phase.r is not None
        assert phase.r.at((Fraction(k, 8), ZERO)) == (1 - Fraction(k, 8)) / 2


def test_around_a_family_its_coordinates_are_those_of_the_family() -> None:
    drawn = phase_diagram(standard(), "W1:c", "out:b", around="muP")
    assert drawn.marks["muP"] == (drawn.x.own, drawn.y.own)
    assert drawn.at(*drawn.marks["muP"]).label == "feature learning"
    assert (drawn.x.label, drawn.y.label) == ("learning rate of W1 ~ n^-x", "initial entries of out ~ n^-y")
    assert "this script" not in drawn.marks


def test_around_the_maximal_update_what_is_derived_learns_features() -> None:
    made = standard("adam")
    drawn = phase_diagram(made, "c", "out:b", around="maximal")
    assert drawn.x.label == "all learning rates times n^-x" and not drawn.x.absolute
    assert drawn.marks["maximal update"] == (0, 1) == drawn.marks["muP"]
    assert drawn.at(0, 1).label == "feature learning"
    assert drawn.at("1/4", 1).label == "trivial" and drawn.at("-1/4", 1).label == "unstable"
    assert phase_diagram(made, "c", "out:b", around=derive(made)) == drawn


def test_a_coordinate_is_an_exponent_itself_only_where_no_other_moves_it() -> None:
    drawn = phase_diagram(standard(), "c", "out:c", x_limits=(0, 1), y_limits=(0, 1))
    assert not drawn.x.absolute and not drawn.y.absolute
    assert drawn.y.label == "learning rate of out times n^-y"
    assert drawn.marks["this script"] == (0, 0)


def test_limits_are_those_that_are_given() -> None:
    drawn = phase_diagram(standard(), "c", "out:b", x_limits=(Fraction(3, 4), Fraction(5, 4)), y_limits=(1, 2))
    assert {corner for r in drawn.regions for loop in r.outline for corner in loop} >= {
        (Fraction(3, 4), 1),
        (Fraction(5, 4), 2),
    }
    with pytest.raises(ValueError, match=r"is outside of the diagram: all learning rates ~ n\^-x is 3/4 to 5/4"):
        drawn.at(0, 1)


def test_where_nothing_else_is_it_is_said_what_to_try() -> None:
    drawn = phase_diagram(standard(), "c", "out:b", y_limits=(-1, 0))
    assert "nothing else is on this plane; try a plane around another point" in drawn.show()


def test_an_edge_shows_which_ends_it_holds() -> None:
    shown = plane("sgd").show()
    assert "edge: feature learning: [(1, -1/2) to (1, 0)]" in shown
    assert "region: kernel, r = 1/2 - 1/2*x: " in shown
    assert "point:" not in shown


class TestRefusals:
    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            (
                {"around": "nowhere"},
                "'nowhere' is not a known point of this script; expected one of: script, maximal, SP",
            ),
            ({"through": ("NTP", "muP")}, "through = NTP, muP; expected three different names"),
            ({"through": ("NTP", "muP", "muP")}, "expected three different names"),
            ({"through": ("script", "SP", "muP")}, "lie on one line for this script"),
            ({"x": "c", "y": "W*:c,out:c"}, "which move the same; expected two different directions"),
            ({"x": "c,-c"}, "'c,-c' moves nothing"),
            ({"x_limits": (0, float("inf"))}, "of 'c'; expected two finite numbers"),
            ({"x_limits": (1, 1)}, "limits 1 to 1 of 'c'; expected the smaller one first"),
        ],
    )
    def test_what_is_not_a_plane(self, asked: dict[str, object], said: str) -> None:
        with pytest.raises(ValueError, match=said.replace("*", r"\*")):
            phase_diagram(standard(), **asked)  # type: ignore[arg-type]

    def test_a_parametrization_from_a_file_has_no_place(self) -> None:
        read = Parametrization.from_dict(derive(standard()).to_dict())
        with pytest.raises(ValueError, match=r"derive it: tpdyn\.derive"):
            phase_diagram(standard(), around=read)

    def test_exponents_may_be_given_instead(self) -> None:
        drawn = phase_diagram(
            standard(), "c", "out:b", around=Exponents(rate={"W1": -ONE}), x_limits=(0, 1), y_limits=(0, 1)
        )
        assert "this script" not in drawn.marks and not drawn.x.absolute
