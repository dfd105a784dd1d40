"""Mirrors tpdyn/parametrizing/maps/face.py: the face holds optima and nothing else, and only symmetries are free everywhere."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import tpdyn
from tpdyn.claims import theorems
from tpdyn.exact.forms import Point
from tpdyn.exact.linear import nullspace
from tpdyn.parametrizing.maps.face import Face, face_of
from tpdyn.parametrizing.parametrization import Parametrization
from tpdyn.regimes.cells import Coordinates, every_exponent
from tpdyn.regimes.maximal import Maximum, look, maximal_update
from tpdyn.testing.perceptrons import layer_names, mlp_program

Optimizer = Literal["sgd", "sign", "adam"]
OPTIMIZERS: tuple[Optimizer, ...] = ("sgd", "sign", "adam")
HALF, ZERO = Fraction(1, 2), Fraction(0)
quarters = st.integers(-8, 8).map(lambda k: Fraction(k, 4))


@cache
def optimum(layers: int, optimizer: Optimizer) -> tuple[Maximum, Face]:
    """The face around muP, all three exponents of every weight being free."""
    at = theorems.maximal_update(layers) if optimizer == "sgd" else theorems.maximal_update_adam(layers)
    program = mlp_program(layers, "tanh", optimizer, point=at)
    maximum = maximal_update(program, every_exponent(program, "abc"))
    return maximum, face_of(maximum)


def unmet(maximum: Maximum, point: Point) -> bool:
    return bool(look(maximum.program, maximum.coordinates, point).unmet)


def direction(maximum: Maximum, layer: str, a: Fraction | int, b: Fraction | int, c: Fraction | int) -> Point:
    moved = {f"{layer}:a": Fraction(a), f"{layer}:b": Fraction(b), f"{layer}:c": Fraction(c)}
    return tuple(moved.get(name, ZERO) for name in maximum.coordinates.names)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("layers", [1, 2])
def test_what_changes_nothing_are_the_symmetries_of_multipliers_and_no_more(layers: int, optimizer: Optimizer) -> None:
    """`(a + s, b - s, c - 2s)` for SGD, `(a + s, b - s, c - s)` entrywise, layer by layer: found, not put in."""
    maximum, face = optimum(layers, optimizer)
    k = 2 if optimizer == "sgd" else 1
    expected = [direction(maximum, layer, 1, -1, -k) for layer in layer_names(layers)]
    size = len(maximum.coordinates.names)
    assert len(face.free) == len(expected)
    assert nullspace(face.free, size) == nullspace(expected, size)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@given(data=st.data())
@settings(max_examples=10)
def test_points_along_the_symmetries_are_in_the_face_and_optimal(optimizer: Optimizer, data: st.DataObject) -> None:
    maximum, face = optimum(2, optimizer)
    point = list(maximum.point)
    for free in face.free:
        t = data.draw(quarters)
        point = [x + t * d for x, d in zip(point, free, strict=True)]
    assert face.holds(point)
    assert not unmet(maximum, tuple(point))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("layers", [1, 2])
def test_mup_is_unique_up_to_symmetry_once_the_readout_starts_as_large_as_it_may(
    layers: int, optimizer: Optimizer
) -> None:
    """Tensor Programs IV, appendix C.1, and IVb, Remark 2.7.5: it is the unique such stable (and faithful) parametrization.
    Every weight is updated maximally and the output weight is initialised maximally. Of b_out everything from muP's on is
    optimal (a readout may start smaller, or at zero); nothing else is free.
    """
    maximum, face = optimum(layers, optimizer)
    assert face.complete
    place = {name: index for index, name in enumerate(maximum.coordinates.names)}
    for t in (Fraction(0), Fraction(1, 4), Fraction(3)):
        smaller = list(maximum.point)
        smaller[place["out:b"]] += t
        assert face.holds(smaller)
        assert not unmet(maximum, tuple(smaller))
    larger = list(maximum.point)
    larger[place["out:b"]] -= Fraction(1, 4)
    assert not face.holds(larger)
    assert unmet(maximum, tuple(larger))
    for name in maximum.coordinates.names:
        if name not in ("out:b", "out:a"):
            for by in (Fraction(1, 4), -Fraction(1, 4)):
                other = list(maximum.point)
                other[place[name]] += by
                assert not face.holds(other)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@given(data=st.data())
@settings(max_examples=25)
def test_a_point_around_mup_is_optimal_exactly_when_it_is_in_the_face(
    optimizer: Optimizer, data: st.DataObject
) -> None:
    """Around mlps of one hidden layer: a random move of all six exponents, half of them along the face."""
    maximum, face = optimum(1, optimizer)
    point = list(maximum.point)
    for along in (*face.free, *face.directions):
        t = data.draw(quarters)
        point = [x + t * d for x, d in zip(point, along, strict=True)]
    if data.draw(st.booleans()):
        index = data.draw(st.integers(0, len(point) - 1))
        point[index] += data.draw(quarters)
    assert face.holds(point) == (not unmet(maximum, tuple(point)))


def net(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3))


@cache
def derived() -> Parametrization:
    def train(width: int) -> None:
        model = net(width)
        nn.init.zeros_(model[0].bias)  # type: ignore[index, arg-type]
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        x, y = torch.randn(5, 6), torch.randn(5, 3)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()

    return tpdyn.derive(tpdyn.record(train, widths=(16, 24, 40), steps=3))


@cache
def face() -> Face:
    return derived().face()


def test_of_a_script_with_biases_the_biases_may_start_smaller_and_the_readout_too() -> None:
    bounds = face().bounds()
    assert bounds["2.bias:b"] == (0, None)
    assert bounds["4.bias:b"] == (0, None)
    assert bounds["4.weight:b"] == (1, None)
    fixed = {name: low for name, (low, high) in bounds.items() if low is not None and low == high}
    assert fixed["0.weight:b"] == 0 and fixed["2.weight:b"] == HALF
    assert [fixed[f"{name}:c"] for name in ("0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias")] == [
        *(0, 0, 1, 0, 1, 0)
    ]
    assert face().dimension == 3


def test_what_starts_at_zero_has_no_initial_size_that_could_be_free() -> None:
    assert face().bounds()["0.bias:b"] == (0, 0)
    assert "0.bias" not in face().show()


def test_it_is_shown_as_one_line_for_each_exponent_that_is_not_fixed() -> None:
    assert face().show().splitlines() == [
        "2.bias:b: at least 0",
        "4.weight:b: at least 1",
        "4.bias:b: at least 0",
        "(each alone, the others held)",
    ]
    assert not face().complete and not face().stopped


@given(data=st.data())
@settings(max_examples=5)
def test_several_of_its_directions_together_are_optimal_here_too(data: st.DataObject) -> None:
    """More than the face of this script promises (each direction alone): no counterexample is known for MLPs."""
    maximum = derived().maximum
    assert maximum is not None
    point = list(maximum.point)
    above = st.integers(0, 6).map(lambda k: Fraction(k, 4))
    for name, low in {"2.bias:b": 0, "4.weight:b": 1, "4.bias:b": 0}.items():
        index = maximum.coordinates.names.index(name)
        point[index] = low + data.draw(above) - face().base[index]
    assert not unmet(maximum, tuple(point))


def test_nothing_is_optimal_where_requirements_were_given_up() -> None:
    program = mlp_program(1, "tanh", "adam")
    coordinates = every_exponent(program, "bc")
    moves = {name: move for name, move in coordinates.moves.items() if not name.startswith("out")}
    held = Coordinates(moves, coordinates.origin)
    found = maximal_update(program, held)
    assert found.unmet
    with pytest.raises(ValueError, match="contradict each other, so no point is optimal"):
        face_of(found)


def test_a_parametrization_that_was_read_from_a_file_has_no_face() -> None:
    with pytest.raises(ValueError, match="belongs to a derived parametrization"):
        Parametrization.from_dict(derived().to_dict()).face()


def test_an_optimum_that_nothing_moves_is_called_unique_only_where_all_directions_were_walked_together() -> None:
    alone = Face(("x:b",), (ZERO,), (), (), ((),), (ZERO,))
    assert alone.show() == "the optimum is unique" and alone.dimension == 0
    assert replace(alone, complete=False).show() == "no exponent can move alone"
